"""Faults of host and network: retried through the wait queues, then dead-lettered with a result."""
import os
import shutil
import time

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
