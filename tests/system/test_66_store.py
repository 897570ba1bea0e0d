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

    def test_a_neighbour_is_a_layer_over_another_checkout(self):
        repo = sbxtest.Repo(os.path.join(self.folder, "neighbours"))
        state = os.path.join(self.folder, "state-neighbours")

        def run(commit, step, diff=None):
            path = os.path.join(self.folder, "neighbour.json")
            with open(path, "w", encoding="utf-8") as out:
                out.write(sbxtest.json_of(sbxtest.job_of(
                    repo, diff, [step], source={"repo": repo.path, "commit": commit})))
            done = self.program("sbx-run", "--json", "--state-dir", state, path)
            result = json.loads(done.stdout)
            self.assert_verdict(result, "passed")
            return result

        def checkouts():
            return set(glob.glob(os.path.join(state, "store/checkouts/*/")))

        first = repo.commit({**{f"many/{number}": f"{number}\n" for number in range(300)},
                             "gone/a": "a\n", "old": "old\n"})
        run(first, ["test", "-f", "gone/a"])
        before = checkouts()
        second = repo.commit({"many/7": "seven\n", "gone/a": None, "old": None,
                              "new/file": "new\n"})
        diff = repo.diff({"many/7": "eight\n", "many/8": None, "gone/b": "b\n"})
        result = run(second, "set -e; test $(ls many | wc -l) = 299; test ! -e gone/a -a ! -e old; "
                             "cat many/7 many/9 new/file gone/b; echo x >many/7; rm new/file; "
                             "rm -r gone; mkdir gone", diff)
        self.assertEqual(result["steps"][0]["stdout"], "eight\n9\nnew\nb\n")
        self.assertEqual([(each["path"], each["status"]) for each in result["changes"]],
                         [("gone/b", "deleted"), ("many/7", "modified"), ("new/file", "deleted")])
        (layer,) = checkouts() - before
        with open(layer.rstrip("/") + ".info", encoding="ascii") as info:
            self.assertIn("\nover ", info.read())
        self.assertLess(sum(len(files) for _, _, files in os.walk(layer)), 6)
        for commit in (first, second, first):
            self.assertEqual(run(commit, ["ls"])["steps"][0]["stdout"],
                             repo.git("ls-tree", "--name-only", commit).decode())
        done = self.program("sbx-worker", "--set", f"worker.state_dir={state}", "verify")
        self.assertEqual(done.returncode, 0, done.stdout)

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
