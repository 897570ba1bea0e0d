"""An allowed host that takes connections and says nothing costs no slot."""
import socket
import time

import sbxtest


class SilentSource(sbxtest.WorkerCase):
    config = {"worker__slots": 1, "worker__max_attempts": 1}

    @classmethod
    def setUpClass(cls):
        cls.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        cls.server.setblocking(False)
        cls.host = f"127.0.0.1:{cls.server.getsockname()[1]}"
        cls.held = []
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        for connection in [*cls.held, cls.server]:
            connection.close()
        super().tearDownClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.config = {**cls.config, "sources__fetch_timeout": "20s",
                      "sources__allow": f"{cls.folder}/repos/, https://{cls.host}/"}

    def asked(self):
        try:
            connection = self.server.accept()[0]
        except BlockingIOError:
            return False
        self.held.append(connection)
        return True

    def publish_silent(self):
        job = sbxtest.job_of(self.repo, source={"repo": f"https://{self.host}/x",
                                                "commit": "main"})
        self.client.publish(job, "normal")
        sbxtest.poll(self.asked, "the worker to ask the silent host")
        return job["id"]

    def test_others_overtake_who_waits_for_it(self):
        silent = self.publish_silent()
        started = time.monotonic()
        for _ in range(3):
            job = sbxtest.job_of(self.repo)
            self.client.publish(job, "high")
            self.assert_verdict(self.result_of(job["id"], 15), "passed")
        self.assertLess(time.monotonic() - started, 15)
        self.assertNotIn(silent, self.client.results)
        # It ends by itself, as a fault of the source.
        self.assert_verdict(self.result_of(silent, 40), "error", "source.unreachable")

    def test_others_behind_it_in_the_same_queue_come_too(self):
        """The worker holds as many as it has slots, but not for ever the same ones."""
        silent = self.publish_silent()
        job = sbxtest.job_of(self.repo)
        self.client.publish(job, "normal")
        self.assert_verdict(self.result_of(job["id"], 15), "passed")
        self.assertNotIn(silent, self.client.results)
        self.result_of(silent, 60)

    def test_who_stops_a_worker_does_not_wait_for_it(self):
        silent = self.publish_silent()
        started = time.monotonic()
        self.assertEqual(self.worker.stop(), 0)
        self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(self.client.depth("jobs"), 1)
        self.client.purge("jobs")
        self.assertNotIn(silent, self.client.results)
        self.worker.start()

    def test_a_killed_fetch_is_no_crash_of_the_job(self):
        """A worker killed meanwhile has not begun the job: it is not on its way to poison."""
        silent = self.publish_silent()
        for _ in range(4):
            self.worker.kill()
            self.worker.start()
            sbxtest.poll(self.asked, "the next worker to ask")
        self.assert_verdict(self.result_of(silent, 60), "error", "source.unreachable")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
