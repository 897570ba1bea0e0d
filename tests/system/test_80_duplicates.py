"""The same job twice: one run, the stored result again; another payload is refused."""
import copy
import secrets

import sbxtest


class Duplicates(sbxtest.WorkerCase):
    config = {"commands__allow": "off"}

    def test_a_finished_job_is_not_run_again(self):
        job = sbxtest.job_of(self.repo, steps=["cat /proc/sys/kernel/random/uuid"])
        self.client.publish(job)
        first = self.result_of(job["id"])
        self.assert_verdict(first, "passed")
        self.client.publish(job)
        second = self.client.wait(job["id"], copies=2)
        # A second run would print another random number.
        self.assertEqual(second["steps"][0]["stdout"], first["steps"][0]["stdout"])
        self.assert_one_result(job["id"])

    def test_twice_at_once_is_one_run(self):
        job = sbxtest.job_of(self.repo, steps=["cat /proc/sys/kernel/random/uuid; sleep 1"])
        self.client.publish(job)
        self.client.publish(job)
        self.result_of(job["id"])
        self.assertEqual(self.worker.stop(), 0)
        self.assertEqual(self.client.depth("jobs"), 0)
        outputs = {each["result"]["steps"][0]["stdout"]
                   for each in self.client.results_of(job["id"])}
        self.assertEqual(len(outputs), 1)
        self.assert_one_result(job["id"])
        self.worker.start()

    def test_the_same_id_with_another_payload_is_refused(self):
        job = sbxtest.job_of(self.repo)
        self.client.publish(job)
        self.assert_verdict(self.result_of(job["id"]), "passed")
        other = copy.deepcopy(job)
        other["steps"] = [{"run": ["false"]}]
        self.client.publish(other)
        self.assert_verdict(self.client.wait(job["id"], copies=2), "rejected", "job.id_reused")
        names = [each["message_id"] for each in self.client.results_of(job["id"])]
        self.assertEqual(len(set(names)), 2, "the refusal must not hide the result")

    def test_a_replay_counts_run_up_and_runs_again(self):
        job = sbxtest.job_of(self.repo, steps=["cat /proc/sys/kernel/random/uuid"])
        self.client.publish(job)
        first = self.result_of(job["id"])
        self.client.publish(dict(job, run=2))
        second = self.client.wait(job["id"], copies=2)
        self.assertNotEqual(second["steps"][0]["stdout"], first["steps"][0]["stdout"])
        ids = sorted(each["message_id"] for each in self.client.results[job["id"]])
        self.assertEqual(ids, [f"{job['id']}.1", f"{job['id']}.2"])

    def test_the_memory_of_finished_jobs_outlives_the_worker(self):
        job = sbxtest.job_of(self.repo, steps=["cat /proc/sys/kernel/random/uuid"])
        self.client.publish(job)
        first = self.result_of(job["id"])
        self.assertEqual(self.worker.stop(), 0)
        self.worker.start()
        self.client.publish(job)
        second = self.client.wait(job["id"], copies=2)
        self.assertEqual(second["steps"][0]["stdout"], first["steps"][0]["stdout"])

    def test_rejected_jobs_are_remembered_too(self):
        job = {"v": 1, "id": "t-" + secrets.token_hex(8), "steps": [{"run": ["true"]}],
               "source": {"repo": "/etc", "commit": "main"}}
        self.client.publish(job)
        self.assert_verdict(self.result_of(job["id"]), "rejected", "source.forbidden")
        self.client.publish(job)
        self.assert_verdict(self.client.wait(job["id"], copies=2), "rejected", "source.forbidden")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
