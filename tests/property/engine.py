"""What the property tests share: the program under test, a repository for it, the seed.

Environment: SBX_PATCH (the program; else SBX_BIN/sbx-patch, else the build's),
SBX_SEED (else random, printed; 1 in CI), SBX_SECONDS (default 40, for all tests).
"""
import base64
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import unittest

import patch_cases as cases

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("SBX_BIN", os.path.join(ROOT, "build/bin"))
PROGRAM = os.environ.get("SBX_PATCH", os.path.join(BIN, "sbx-patch"))
# A developer's run explores; one in CI must be able to be repeated.
SEED = int(os.environ.get("SBX_SEED") or (1 if os.environ.get("CI") == "true"
                                          else secrets.randbelow(10 ** 9)))
SECONDS = float(os.environ.get("SBX_SECONDS", "40"))


class Engine:
    """A running sbx-patch --batch."""

    def __init__(self, *options, mode="strict"):
        self.mode = mode
        self.child = subprocess.Popen([PROGRAM, "--batch", *options], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
        self.count = 0

    def ask(self, repo, commit, strip, diff):
        self.count += 1
        request = {"id": str(self.count), "repo": repo, "commit": commit, "strip": strip,
                   "mode": self.mode, "diff_base64": base64.b64encode(diff).decode()}
        self.child.stdin.write(json.dumps(request).encode() + b"\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise AssertionError(f"sbx-patch ended: {self.child.wait()}")
        answer = json.loads(line)
        assert answer["id"] == str(self.count), answer
        return answer

    def close(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


class RepoCase(unittest.TestCase):
    """A folder with an empty repository for the whole class."""

    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED} (set SBX_SEED to repeat)", flush=True)
        cls.folder = tempfile.mkdtemp(prefix=f"sbx-{cls.__name__.lower()}-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.repo = os.path.join(cls.folder, "repo.git")
        subprocess.run(["git", "init", "-q", "--bare", cls.repo], env=cases.ENV, check=True)

    @classmethod
    def engine_of(cls, *options, **more):
        engine = Engine(*options, **more)
        cls.addClassCleanup(engine.close)
        return engine

    def git_tree(self, repo, commit, strip, diff):
        """The tree of git apply --cached, or None when git refuses."""
        env = {"GIT_INDEX_FILE": os.path.join(self.folder, "index")}
        cases.git(repo, "read-tree", commit, env=env)
        status, _ = cases.git(repo, "apply", "--cached", "--unidiff-zero", f"-p{strip}", "-",
                              data=diff, env=env, check=False)
        if status:
            return None
        return cases.git(repo, "write-tree", env=env)[1].decode().strip()

    def own_history(self, rng):
        """A clone of this repository and its commits with a parent, in any order."""
        status, top = cases.git(ROOT, "rev-parse", "--show-toplevel", check=False)
        _, commits = cases.git(ROOT, "rev-list", "--no-merges", "--min-parents=1", "HEAD",
                               check=False)
        _, shallow = cases.git(ROOT, "rev-parse", "--is-shallow-repository", check=False)
        if status or not commits or shallow.strip() == b"true" or \
                os.path.realpath(top.decode().strip()) != os.path.realpath(ROOT):
            self.skipTest("this tree has no history of its own")
        clone = os.path.join(self.folder, "own.git")
        subprocess.run(["git", "clone", "-q", "--bare", "--no-local", ROOT, clone], env=cases.ENV,
                       check=True)
        chosen = commits.decode().split()
        rng.shuffle(chosen)
        return clone, chosen
