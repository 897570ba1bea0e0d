"""A broker that was killed right after it had made its first stream never gets it back: neither a
restart nor `rabbitmqctl delete_queue` helps. Jobs go on without it.
"""
import json
import os
import subprocess

import sbxtest
from client import Client

DEFINITIONS = os.path.join(sbxtest.ROOT, "contrib/broker/definitions.json")


class LostStream(sbxtest.Case):
    TRIES = 5  # the time in which it happens is half a second

    def broker(self, *verb):
        return subprocess.run([sbxtest.BROKER, verb[0], self.home, *verb[1:]], check=True,
                              text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE).stdout.strip()

    def declare_all_but_the_stream(self):
        with open(DEFINITIONS, encoding="utf-8") as stream:
            definitions = json.load(stream)
        definitions["queues"] = [each for each in definitions["queues"]
                                 if each["name"] != "sbx.control"]
        definitions["bindings"] = [each for each in definitions["bindings"]
                                   if each["destination"] != "sbx.control"]
        path = os.path.join(self.folder, "definitions.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(definitions, stream)
        self.broker("ctl", "import_definitions", path)
        self.broker("restart")  # which writes down what it knows of them

    def control_is_down(self):
        said = self.broker("ctl", "list_queues", "name", "state")
        return any(line.split() == ["sbx.control", "down"] for line in said.splitlines())

    def lose_stream(self, number):
        self.home = os.path.join(self.folder, f"broker-{number}")
        self.broker("start")
        self.addCleanup(subprocess.run, [sbxtest.BROKER, "stop", self.home], check=True)
        self.declare_all_but_the_stream()
        worker = self.worker_of(f"worker-{number}", queue__url=self.broker("url"),
                                queue__prefix="sbx").start()
        self.broker("kill")
        self.broker("start")
        if self.control_is_down():
            return worker
        self.assertEqual(worker.stop(), 0)
        return None

    def test_jobs_go_on_without_a_stream_that_is_lost(self):
        worker = None
        for number in range(self.TRIES):
            worker = worker or self.lose_stream(number)
        if worker is None:
            self.skipTest("this broker keeps a stream that it has just made")
        client = Client(self.broker("url"), "sbx")
        client.connect()
        self.repo.commit({"README": "x\n"})
        job = sbxtest.job_of(self.repo)
        client.publish(job)
        self.assert_verdict(client.wait(job["id"], 60), "passed")
        self.assertTrue(worker.logged("cancels are not heard"), worker.log()[-3000:])
        # One that starts now, and a producer, do without it as well.
        self.assertEqual(worker.stop(), 0)
        worker.start()
        said = self.program("sbx-submit", "--queue", self.broker("url"), "--repo", self.repo.path,
                            "--commit", "HEAD", "--run", "true", "--wait", timeout=60)
        self.assertEqual(said.returncode, 0, said)
        self.assertEqual(worker.stop(), 0)
        # As the manual has it.
        self.broker("ctl", "eval", 'rabbit_amqqueue:internal_delete(rabbit_misc:r(<<"/">>, queue, '
                    '<<"sbx.control">>), <<"sbx">>).')
        worker.start()
        self.assertFalse(worker.logged("cancels are not heard"), worker.log()[-3000:])
        self.assertFalse(self.control_is_down())
        self.assertEqual(worker.stop(), 0)
        client.connection.close()


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
