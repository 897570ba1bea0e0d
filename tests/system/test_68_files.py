"""Bases that come with the job: from the command line, over the wire, and from Python."""
import base64
import json
import os
import shutil
import subprocess
import sys

import sbxtest

sys.path.insert(0, os.path.join(sbxtest.ROOT, "contrib/python"))

from sbx_client import Client, Job, Source, Step  # noqa: E402

FILES = {"src/main.py": b"print('one')\n", "bin/run": b"#!/bin/sh\nexec python3 src/main.py\n",
         "raw": b"\0\xff\xfe"}
DIFF = "--- a/src/main.py\n+++ b/src/main.py\n@@ -1 +1 @@\n-print('one')\n+print('two')\n"


def make_tree(top):
    for name, content in FILES.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
    os.chmod(os.path.join(top, "bin/run"), 0o755)
    os.symlink("../bin/run", os.path.join(top, "src/go"))
    os.makedirs(os.path.join(top, ".git"))
    with open(os.path.join(top, ".git/config"), "w", encoding="ascii") as out:
        out.write("secret\n")


def make_bundle(folder):
    """The same tree as a bundle with a branch main; and its commit."""
    top = os.path.join(folder, "bundled")
    path = os.path.join(folder, "made.bundle")
    env = sbxtest.clean_env(folder)
    if not os.path.isdir(top):
        make_tree(top)
        shutil.rmtree(os.path.join(top, ".git"))
        for command in (["init", "-q", "-b", "main"], ["add", "."],
                        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"],
                        ["bundle", "create", "-q", path, "main"]):
            subprocess.run(["git", *command], cwd=top, env=env, check=True)
    oid = subprocess.run(["git", "rev-parse", "main"], cwd=top, env=env, check=True,
                         capture_output=True, text=True).stdout.strip()
    with open(path, "rb") as stream:
        return stream.read(), oid


class CommandLine(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.top = os.path.join(cls.folder, "top")
        make_tree(cls.top)

    def run_job(self, *options, **fields):
        job = {"v": 1, "id": "files", "steps": [{"run": ["src/go"]}], **fields}
        path = os.path.join(self.folder, "job.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(sbxtest.json_of(job))
        done = self.program("sbx-run", "--json", "--state-dir", os.path.join(self.folder, "state"),
                            *options, path)
        self.assertTrue(done.stdout, done.stderr)
        return json.loads(done.stdout)

    def store(self, *command):
        path = os.path.join(self.folder, "state/store/repos/files.git")
        return subprocess.run(["git", "-c", "safe.directory=*", "--git-dir", path, *command],
                              env=sbxtest.clean_env(self.folder), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=True).stdout

    def test_a_directory_is_a_base(self):
        result = self.run_job("--files", self.top, patch={"diff": DIFF})
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], "two\n")
        again = self.run_job("--files", self.top)
        self.assertEqual(again["steps"][0]["stdout"], "one\n")
        self.assertEqual(again["snapshots"]["initial"], result["snapshots"]["initial"])
        self.assertEqual(again["snapshots"]["final"], again["snapshots"]["initial"])
        seen = self.run_job("--files", self.top, steps=[{"shell": "find .; od -c raw"}])
        self.assertNotIn(".git", seen["steps"][0]["stdout"])
        self.assertIn("377 376", seen["steps"][0]["stdout"])

    def test_the_snapshots_are_in_the_store(self):
        result = self.run_job("--files", self.top, patch={"diff": DIFF})
        after = result["snapshots"]["after_patch"]
        self.assertEqual(self.store("show", after + ":src/main.py"), "print('two')\n")
        self.assertEqual(self.store("rev-parse", after + "^", "refs/sbx/files").split(),
                         [result["snapshots"]["initial"], after])

    def test_files_of_the_job_itself(self):
        source = {"files": {"a/b": "x\n"}, "links": {"l": "a/b"}, "subdir": "a"}
        result = self.run_job(source=source, steps=[{"run": ["cat", "b", "../l"]}])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], "x\nx\n")

    def test_they_are_followed_as_any_other(self):
        path = os.path.join(self.folder, "followed.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(sbxtest.json_of({"v": 1, "id": "followed", "steps": [{"run": ["src/go"]}]}))
        done = self.program("sbx-run", "--follow", "--state-dir",
                            os.path.join(self.folder, "state"), "--files", self.top, path)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in ("-- prepared\n", "one\n"):
            self.assertIn(line, done.stdout + done.stderr)

    def test_no_steps_and_no_patch(self):
        result = self.run_job(source={"files": {"a": "x"}}, steps=[])
        self.assert_verdict(result, "passed")
        self.assertEqual(len(result["snapshots"]["initial"]), 40)

    def test_what_may_not_be_named(self):
        for files in ({".git/hooks/x": "x"}, {"a": "", "a/b": ""}, {"A": "", "a": ""}):
            result = self.run_job(source={"files": files})
            self.assert_verdict(result, "rejected", "source.files")
        result = self.run_job(source={"files": {"a": ""}, "links": {"l": "../../etc/passwd"}})
        self.assert_verdict(result, "rejected", "source.files", "l")
        result = self.run_job(source={"files": {"../a": ""}})
        self.assert_verdict(result, "rejected", "job.invalid")

    def test_sbx_submit_sends_them(self):
        done = self.program("sbx-submit", "--files", self.top, "--run", "true", "--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        source = json.loads(done.stdout)["source"]
        self.assertEqual(source["files"]["raw"], {"base64": "AP/+"})
        self.assertEqual((source["executable"], source["links"]),
                         (["bin/run"], {"src/go": "../bin/run"}))
        self.assertEqual(list(source["files"]), ["bin/run", "raw", "src/main.py"])

    def test_a_bundle_of_the_job_itself(self):
        bundle, oid = make_bundle(self.folder)
        source = {"bundle": {"base64": base64.b64encode(bundle).decode()}, "commit": "main"}
        result = self.run_job(source=source, patch={"diff": DIFF})
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], "two\n")
        self.assertEqual(result["snapshots"]["initial"], oid)
        result = self.run_job(source={**source, "commit": "other"})
        self.assert_verdict(result, "rejected", "source.no_commit")
        source["bundle"] = "not a bundle"
        self.assert_verdict(self.run_job(source=source), "rejected", "source.corrupt")
        # What a job before has left cannot be named without being sent.
        source["commit"] = oid
        self.assert_verdict(self.run_job(source=source), "rejected", "source.corrupt")

    def test_sbx_submit_sends_a_bundle(self):
        bundle, _ = make_bundle(self.folder)
        path = os.path.join(self.folder, "submit.bundle")
        with open(path, "wb") as out:
            out.write(bundle)
        done = self.program("sbx-submit", "--bundle", path, "--commit", "main", "--run", "true",
                            "--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        source = json.loads(done.stdout)["source"]
        self.assertEqual(base64.b64decode(source["bundle"]["base64"]), bundle)
        self.assertEqual(source["commit"], "main")
        for options, status, said in ((["--repo", "/r"], 2, "only one"),
                                      (["--files", self.top], 2, "only one"), ([], 3, "commit")):
            done = self.program("sbx-submit", "--bundle", path, *options, "--run", "true",
                                "--dry-run")
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn(said, done.stderr)

    def test_what_sbx_submit_cannot_send(self):
        empty = os.path.join(self.folder, "empty")
        large = os.path.join(self.folder, "large")
        odd = os.path.join(self.folder, "odd")
        for folder in (empty, large, odd):
            os.makedirs(folder)
        os.mkfifo(os.path.join(odd, "fifo"))
        with open(os.path.join(large, "file"), "wb") as out:
            out.truncate((6 << 20) + 1)
        for folder, said in ((empty, "holds no file"), (large, "more than a job may carry"),
                             (odd, "neither file, directory nor link"),
                             (os.path.join(self.folder, "none"), "No such file")):
            done = self.program("sbx-submit", "--files", folder, "--run", "true", "--dry-run")
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(said, done.stderr)
        done = self.program("sbx-submit", "--files", self.top, "--repo", "/r", "--dry-run")
        self.assertEqual(done.returncode, 2)
        self.assertIn("only one", done.stderr)


class Wire(sbxtest.WorkerCase):
    def test_the_python_package_sends_them(self):
        top = os.path.join(self.folder, "python-top")
        make_tree(top)
        mine = Client(sbxtest.BROKER_URL, self.prefix)
        self.addCleanup(mine.close)
        source = Source.of_directory(top)
        self.assertEqual(set(source.files), set(FILES))
        job = Job(source=source, steps=[Step(run=["src/go"])])
        self.assertTrue(Job.from_map(job.to_map()).source == source)
        mine.submit(job)
        result = mine.wait(job, timeout=60)
        self.assertTrue(result.passed, result)
        self.assertEqual(result.steps[0].stdout, b"one\n")

    def test_the_python_package_sends_a_bundle(self):
        bundle, oid = make_bundle(self.folder)
        mine = Client(sbxtest.BROKER_URL, self.prefix)
        self.addCleanup(mine.close)
        path = os.path.join(self.folder, "made.bundle")
        job = Job(source=Source.of_bundle(path, "main"), steps=[Step(run=["src/go"])])
        self.assertEqual(job.source.bundle, bundle)
        self.assertTrue(Job.from_map(job.to_map()).source == job.source)
        mine.submit(job)
        result = mine.wait(job, timeout=60)
        self.assertTrue(result.passed, result)
        self.assertEqual(result.steps[0].stdout, b"one\n")
        self.assertEqual(result.snapshots["initial"], oid)

    def test_equal_files_are_one_base(self):
        source = {"files": FILES, "executable": ["bin/run"]}
        first = self.run_job(source=source)
        second = self.run_job(source=source, tenant="another")
        self.assertEqual(first["snapshots"]["initial"], second["snapshots"]["initial"])
        other = self.run_job(source={"files": FILES})
        self.assertNotEqual(first["snapshots"]["initial"], other["snapshots"]["initial"])

    def test_a_full_message(self):
        files = {f"d{n % 7}/{n}": bytes([n % 251]) * 3000 for n in range(2000)}
        result = self.run_job(source={"files": files}, steps=["ls -R | grep -c '^[0-9]'"])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], b"2000\n")
        files["one more"] = b""
        self.assert_verdict(self.run_job(source={"files": files}), "rejected", "job.invalid")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
