"""Batches, waiting and dead letters over the embedded queue, with a worker that does the jobs."""
import json
import os

import sbxtest
from test_85_embedded import EmbeddedCase


class EmbeddedBatch(EmbeddedCase):
    def lines(self, *jobs):
        return "".join(sbxtest.json_of(job) + "\n" for job in jobs)

    def test_a_batch_is_done_and_waited_for(self):
        jobs = [sbxtest.job_of(self.repo, id=f"e{n}", steps=["exit 1"] if n == 3 else [["true"]])
                for n in range(8)]
        journal = os.path.join(self.folder, "embedded.done")
        done = self.submit("batch", "-", "--resume", journal, stdin=self.lines(*jobs))
        self.assert_exit(done, "passed")
        self.start()
        first = self.submit("wait", "-", "--timeout", "60s", stdin=done.stdout)
        self.assert_exit(first, "failed")
        self.assertEqual(sorted(line.split()[:2] for line in first.stdout.splitlines()),
                         sorted(["failed" if n == 3 else "passed", f"e{n}"] for n in range(8)))
        # Now all of them are over, and still found; nothing was taken away.
        again = self.submit("wait", "-", "--timeout", "60s", stdin=done.stdout)
        self.assertEqual(sorted(again.stdout.splitlines()), sorted(first.stdout.splitlines()))
        self.assertEqual(len(self.results()), 8)
        done = self.submit("batch", "-", "--resume", journal, stdin=self.lines(*jobs))
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("8 skipped", done.stderr)
        self.assert_empty()

    def test_jobs_of_several_tenants_are_waited_for(self):
        jobs = [sbxtest.job_of(self.repo, id=f"many-{n}", tenant=f"tenant.{n}", steps=["sleep 1"])
                for n in range(3)]
        done = self.submit("batch", "-", stdin=self.lines(*jobs))
        self.start()
        self.assert_exit(self.submit("wait", "-", "--timeout", "60s", stdin=done.stdout), "passed")

    def test_following_a_job_that_was_sent_before(self):
        self.start()
        job = sbxtest.job_of(self.repo, steps=["sleep 2; echo a-late-line"])
        self.assert_exit(self.send(job), "passed")
        done = self.submit("follow", job["id"], "--timeout", "60s")
        self.assert_exit(done, "passed")
        self.assertIn("a-late-line", done.stdout)
        done = self.submit("follow", job["id"], "--json", "--timeout", "60s")
        self.assert_exit(done, "passed")
        self.assertEqual(json.loads(done.stdout)["job"], job["id"])

    def test_letters_travel_through_a_file(self):
        lines = "".join(f'{{"sbx_dead":1,"id":"d{n:03}","reason":"limit.wall","body":"{n}"}}\n'
                        for n in range(200))
        self.assert_exit(self.submit("dead", "import", "-", stdin=lines), "passed")
        path = os.path.join(self.folder, "letters.jsonl")
        self.assert_exit(self.submit("dead", "export", path, "--reason", "limit.*"), "passed")
        with open(path, encoding="utf-8") as stream:
            self.assertEqual([json.loads(line)["body"] for line in stream],
                             [str(n) for n in range(200)])
        done = self.submit("dead", "purge", "--id", "d1*", "--yes", "--quiet")
        self.assert_exit(done, "passed")
        listed = self.submit("dead", "list", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["id"] for line in listed],
                         [f"d{n:03}" for n in range(100)])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
