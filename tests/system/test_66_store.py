"""The store of a worker: what verify finds, and that a running job keeps its checkout."""
import fcntl
import glob
import json
import os
import subprocess

import sbxtest


class Store(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\n", "dir/file": "two\n"})
        cls.state = os.path.join(cls.folder, "state")

    def arguments(self, *steps):
        path = os.path.join(self.folder, "job.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(sbxtest.json_of(sbxtest.job_of(self.repo, steps=list(steps))))
        return ["--json", "--state-dir", self.state, path]

    def run_job(self, *steps):
        done = self.program("sbx-run", *self.arguments(*steps))
        self.assertTrue(done.stdout, done.stderr)
        self.assert_verdict(json.loads(done.stdout), "passed")

    def checkouts(self):
        return glob.glob(os.path.join(self.state, "store/checkouts/*/"))

    def verify(self):
        done = self.program("sbx-worker", "--json", "--set", f"worker.state_dir={self.state}",
                            "verify")
        found = json.loads(done.stdout)
        self.assertEqual(found["ok"], done.returncode == 0)
        return found

    def test_damage_is_found_and_built_anew(self):
        self.run_job(["grep", "-qx", "two", "dir/file"])
        self.assertTrue(self.verify()["ok"])
        path = os.path.join(self.checkouts()[0], "dir/file")
        times = os.stat(path)
        with open(path, "w", encoding="ascii") as out:
            out.write("bad\n")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        found = self.verify()
        self.assertFalse(found["ok"])
        self.assertEqual(len(found["damage"]), 2)
        self.assertEqual(self.checkouts(), [])
        self.run_job(["grep", "-qx", "two", "dir/file"])
        self.assertTrue(self.verify()["ok"])

    def test_a_worker_looks_at_its_start(self):
        self.run_job(["true"])
        with open(os.path.join(self.checkouts()[0], "new"), "w", encoding="ascii"):
            pass
        # Whatever the first one saw: the child that looks may outlast a short job.
        self.run_job(["sleep", "1"])
        self.run_job(["test", "!", "-e", "new"])

    @staticmethod
    def held(folder):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(folder, fcntl.LOCK_UN)
            return False
        except BlockingIOError:
            return True

    def test_a_running_job_keeps_its_checkout(self):
        self.run_job(["true"])
        folder = os.open(self.checkouts()[0], os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(folder, fcntl.LOCK_UN)
        command = [os.path.join(sbxtest.BIN, "sbx-run"), *self.arguments(["sleep", "30"])]
        with subprocess.Popen(command, env=sbxtest.clean_env(self.folder), cwd=self.folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
            sbxtest.poll(lambda: self.held(folder), "the checkout to be held")
            job.terminate()
            job.wait()
        fcntl.flock(folder, fcntl.LOCK_EX)
        os.close(folder)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
