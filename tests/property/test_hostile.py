#!/usr/bin/python3
"""No diff that is refused costs more than a moment or 64 MB, in strict and recover mode.

The bounds on time are generous (a busy machine must not fail this); the benchmark "recover" prints
what each input really costs.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import hostile
import patch_cases as cases
from engine import PROGRAM

SECONDS_MOST = 0.5  # of processor time; 0.1 is the aim
MEGABYTES_MOST = 64


# The most memory of a process is never less than its parent's was, so a small parent starts it.
RUNNER = """
import json, os, subprocess, sys
for line in sys.stdin:
    argv, answer = json.loads(line)
    with open(answer, "wb") as out:
        child = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps([child.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]),
          flush=True)
"""


class Cost:
    """One repository, and what each diff costs there."""

    def __init__(self):
        self.runner = subprocess.Popen([sys.executable, "-I", "-c", RUNNER], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folder = tempfile.mkdtemp(prefix="sbx-hostile-")
        self.repo = os.path.join(self.folder, "repo.git")
        subprocess.run(["git", "init", "-q", "--bare", self.repo], env=cases.ENV, check=True)
        importer = cases.Importer()
        mark = importer.commit({name: (cases.FILE, data) for name, data in hostile.FILES.items()})
        self.base = importer.run(self.repo)[mark][0]

    def close(self):
        self.runner.stdin.close()
        self.runner.stdout.close()
        self.runner.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def oid(self, name):
        return cases.git(self.repo, "rev-parse", f"{self.base}:{name.decode()}")[1][:10]

    def measure(self, mode, diff):
        """(exit status, seconds of processor time, megabytes at most, first line of the answer)"""
        path = os.path.join(self.folder, "diff")
        with open(path, "wb") as stream:
            stream.write(diff)
        answer = os.path.join(self.folder, "answer")
        argv = [PROGRAM, "check", "--no-protect", "--mode", mode, "--repo", self.repo, "--commit",
                self.base, path]
        self.runner.stdin.write(json.dumps([argv, answer]) + "\n")
        self.runner.stdin.flush()
        status, seconds, megabytes = json.loads(self.runner.stdout.readline())
        with open(answer, "rb") as stream:
            first = stream.readline().decode(errors="replace").strip()
        return status, seconds, megabytes, first


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cost = Cost()
        cls.inputs = hostile.inputs(cls.cost.oid)

    @classmethod
    def tearDownClass(cls):
        cls.cost.close()

    def all_in(self, mode):
        for name, diff in self.inputs.items():
            with self.subTest(name):
                status, seconds, megabytes, answer = self.cost.measure(mode, diff)
                self.assertEqual(0 if name in hostile.VALID[mode] else 3, status, answer)
                self.assertLess(seconds, SECONDS_MOST)
                if status != 0:
                    self.assertLess(megabytes, MEGABYTES_MOST)

    def test_strict_mode_is_bounded(self):
        self.all_in("strict")

    def test_recover_mode_is_bounded(self):
        self.all_in("recover")


if __name__ == "__main__":
    unittest.main(verbosity=2)
