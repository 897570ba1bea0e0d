"""What an operator sees of a worker: its history."""
import json
import os
import secrets
import unittest

import sbxtest


class History(sbxtest.WorkerCase):
    def history(self, *options):
        done = self.program("sbx-worker", "history", "--config", self.worker.config_path,
                            "--json", *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_the_ledger_tells_of_each_job(self):
        diff = self.repo.diff({"README": "one\n2\nthree\n"})
        tenant = "t" + secrets.token_hex(4)
        passed = self.run_job(diff, id="h-" + secrets.token_hex(4), tenant=tenant)
        failed = self.run_job(steps=[["false"]], tenant=tenant)
        self.assert_verdict(passed, "passed")
        self.assert_verdict(failed, "failed")
        rows = sbxtest.poll(lambda: [row for row in [self.history("--tenant", tenant)]
                                     if all(job.get("confirmed") for job in row)],
                            "both confirmed")[0]
        self.assertEqual([(row["id"], row["verdict"]) for row in rows],
                         [(failed["job"], "failed"), (passed["job"], "passed")])
        snapshots = {name: commit for name, commit in passed["snapshots"].items()
                     if name in ("initial", "before_patch", "after_patch", "final")}
        self.assertGreaterEqual(len(snapshots), 3)
        self.assertEqual(rows[1]["snapshots"], snapshots)
        self.assertEqual((rows[1]["starts"], rows[1]["run"]), (1, 1))
        self.assertEqual(self.history("--job", "h-*", "--tenant", tenant), rows[1:])
        self.assertEqual(self.history("--verdict", "failed", "--tenant", tenant), rows[:1])
        self.assertEqual(self.history("--tenant", tenant, "--limit", "1"), rows[:1])
        self.assertEqual(self.history("--tenant", tenant, "--since", "1h"), rows)

    def test_people_read_a_table(self):
        job = self.run_job()
        done = self.program("sbx-worker", "history", "--config", self.worker.config_path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout.splitlines()[0], r"^TIME +VERDICT +REASON +AFTER_PATCH")
        self.assertRegex(done.stdout, rf"(?m)^20\S+Z +passed .* {job['job']}\.1$")

    def test_reading_leaves_the_files_to_the_worker(self):
        self.run_job()
        self.history()
        for name in os.listdir(self.worker.state):
            if name.startswith("ledger.db"):
                stat = os.stat(os.path.join(self.worker.state, name))
                self.assertEqual(stat.st_uid, os.stat(self.worker.state).st_uid, name)
        self.worker.stop()
        self.assertTrue(self.history())
        self.worker.start()
        self.assert_verdict(self.run_job(), "passed")

    def test_the_oldest_go_when_there_are_too_many(self):
        worker = self.worker
        worker.config["worker.history_bytes"] = "1"
        worker.stop()
        worker.start()
        try:
            self.assert_verdict(self.run_job(), "passed")
            sbxtest.poll(lambda: not self.history(), "an empty history")
        finally:
            del worker.config["worker.history_bytes"]
            worker.stop()
            worker.start()

    def test_usage(self):
        for options, said in ((["history", "--verdict", "fine"], "--verdict 'fine'"),
                              (["history", "--since", "long"], "--since 'long'"),
                              (["history", "--limit", "-1"], "--limit '-1'"),
                              (["check", "--job", "x"], "only history has filters")):
            done = self.program("sbx-worker", *options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)
        done = self.program("sbx-worker", "history", "--set",
                            f"worker.state_dir={self.folder}/none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no worker has run", done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
