"""Faults of host and network: retried through the wait queues, then dead-lettered with a result."""
import os
import shutil
import signal
import sqlite3
import time

import msgpack

import sbxtest


class Faults(sbxtest.WorkerCase):
    config = {"sources__fetch_timeout": "10s"}

    def setUp(self):
        super().setUp()
        self.away = os.path.join(self.folder, "repos", "away")

    def job(self, **fields):
        return sbxtest.job_of(self.repo, source={"repo": self.away, "commit": self.repo.head()},
                              max_attempts=2, **fields)

    def test_an_unreachable_repository_uses_up_its_attempts(self):
        job = self.job(tenant="acme")
        self.client.publish(job)
        sbxtest.poll(lambda: self.client.depth("wait.5s") == 1, "the job waits for another try")
        self.assertEqual(self.client.results_of(job["id"]), [])
        result = self.result_of(job["id"])
        self.assert_verdict(result, "error", "source.unreachable")
        self.assertEqual((result["attempt"], result["tenant"]), (2, "acme"))
        self.assert_one_result(job["id"])
        letter = self.client.dead_letter()
        self.assertEqual(letter["message_id"], job["id"])
        headers = letter["headers"]
        self.assertEqual(headers["x-sbx-reason"], "source.unreachable")
        self.assertEqual(headers["x-sbx-attempts"], 2)
        self.assertEqual(headers["x-sbx-queue"], self.client.name("jobs"))
        self.assertGreaterEqual(headers["x-sbx-last-at"] - headers["x-sbx-first-at"], 4000)
        self.assertNotIn("x-death", headers)

    def test_a_repository_that_comes_back_in_time(self):
        job = self.job()
        self.client.publish(job)
        sbxtest.poll(lambda: self.client.depth("wait.5s") == 1, "the job waits for another try")
        shutil.copytree(self.repo.path, self.away)
        self.addCleanup(shutil.rmtree, self.away)
        result = self.result_of(job["id"])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["attempt"], 2)

    def test_the_deadline_also_ends_a_wait(self):
        job = self.job(deadline_ms=int((time.time() + 3) * 1000))
        self.client.publish(job)
        self.assert_verdict(self.result_of(job["id"]), "expired", "job.expired")

    def test_other_jobs_go_on_meanwhile(self):
        self.client.publish(self.job())
        self.assert_verdict(self.run_job(timeout=10), "passed")

    def test_a_retry_keeps_the_priority(self):
        job = self.job()
        self.client.publish(job, "high")
        self.assert_verdict(self.result_of(job["id"]), "error", "source.unreachable")
        letter = self.client.dead_letter(
            accept=lambda each: each["message_id"] == job["id"])
        self.assertEqual(letter["headers"]["x-sbx-queue"], self.client.name("jobs.high"))

    def test_headers_of_the_producer_travel_along(self):
        job = self.job()
        self.client.publish_raw(msgpack.packb(job), message_id=job["id"],
                                headers={"traceparent": "00-ab-cd-01", "x-mine": "w\u00e4hlt"})
        self.assert_verdict(self.result_of(job["id"]), "error")
        letter = self.client.dead_letter(accept=lambda each: each["message_id"] == job["id"])
        self.assertEqual(letter["headers"]["traceparent"], "00-ab-cd-01")
        self.assertEqual(letter["headers"]["x-mine"], "w\u00e4hlt")
        self.assertEqual(msgpack.unpackb(letter["body"]), job)

    def letters_of(self, job_id):
        found = []
        while self.client.depth("dead") > 0:
            letter = self.client.dead_letter()
            found += [letter] if letter["message_id"] == job_id else []
        return found

    def test_death_before_the_letter_is_published_loses_and_repeats_nothing(self):
        publisher = self.worker.role("publisher")
        os.kill(publisher, signal.SIGSTOP)
        job = {**self.job(), "max_attempts": 1}
        self.client.publish(job)
        ledger = os.path.join(self.worker.state, "ledger.db")

        def is_stored():
            with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10) as connection:
                return connection.execute("SELECT 1 FROM jobs WHERE id = ? AND letter NOT NULL",
                                          (job["id"],)).fetchone()

        sbxtest.poll(is_stored, "the result in the ledger")
        self.worker.kill()
        os.kill(publisher, signal.SIGKILL)
        self.worker.start()
        self.assert_verdict(self.result_of(job["id"]), "error", "source.unreachable")
        self.assert_one_result(job["id"])
        sbxtest.poll(lambda: not is_stored(), "the confirm")
        [letter] = self.letters_of(job["id"])
        self.assertEqual(letter["headers"]["x-sbx-reason"], "source.unreachable")
        self.assertEqual(letter["headers"]["x-sbx-attempts"], 1)
        self.assertFalse(self.worker.logged(f"attempt failed.*{job['id']}"), "it ran again")

    def test_replay_after_the_fault_is_gone(self):
        job = self.job()
        self.client.publish(job)
        self.assert_verdict(self.result_of(job["id"]), "error", "source.unreachable")
        shutil.copytree(self.repo.path, self.away)
        self.addCleanup(shutil.rmtree, self.away)
        done = self.program("sbx-submit", "replay", job["id"], "--queue", sbxtest.BROKER_URL,
                            "--prefix", self.prefix)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = self.client.wait(job["id"], copies=2)
        self.assert_verdict(result, "passed")
        self.assertEqual(result["run"], 2)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
