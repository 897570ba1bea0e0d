"""contrib/demo, which is `make demo` after the build: a newcomer's first minute."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import sbxtest

DEMO = os.path.join(sbxtest.ROOT, "contrib/demo")
NOBODY = 65534
# A user namespace that may have no others below it: as on a machine that forbids them.
FORBIDDEN = ["unshare", "--user", "--map-root-user", "sh", "-c",
             'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"]


class Demo(sbxtest.Case):
    def setUp(self):
        self.place = tempfile.mkdtemp(prefix="demo-", dir=self.folder)
        os.chmod(self.place, 0o755)

    def demo(self, script, *before, timeout=300):
        """Runs it with a TMPDIR of its own; returns the ended process and what is left there."""
        scratch = os.path.join(self.place, "tmp")
        os.makedirs(scratch)
        done = subprocess.run([*before, script, "--bin", sbxtest.BIN], check=False, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout,
                              env=sbxtest.clean_env(self.place, TMPDIR=scratch))
        return done, os.listdir(scratch)

    def copy_of_tree(self):
        """This tree in a repository with two commits; returns where."""
        tree = os.path.join(self.place, "tree")
        repo = sbxtest.Repo(tree)
        shutil.copytree(sbxtest.ROOT, tree, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("build*", ".git", "__pycache__"))
        repo.commit({}, "first")
        repo.commit({"notes": "second\n"}, "second")
        return tree

    def test_three_verdicts_and_nothing_left(self):
        """In a tree that is somebody else's, as with sudo."""
        sbxtest.need_root()
        tree = self.copy_of_tree()
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", tree], check=True)
        done, left = self.demo(os.path.join(tree, "contrib/demo"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("this project's own history", done.stdout)
        self.assertEqual(re.findall(r"^(\w+)  demo-(\w+)-\d+  run 1", done.stdout, re.M),
                         [("passed", "good"), ("failed", "broken"), ("rejected", "critical")])
        for shown in ("modified tests/unit/base/test_text.c", "patch.protected  LICENSE",
                      "failed  identifiers_are_checked_and_made", "running "):
            self.assertIn(shown, done.stdout)
        self.assertNotIn("\x1b", done.stdout, "colours where no terminal is")
        self.assertEqual(left, [])

    def test_says_what_it_needs_where_namespaces_are_forbidden(self):
        sbxtest.need_root()
        done, left = self.demo(DEMO, *FORBIDDEN)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("user.max_user_namespaces", done.stdout)
        self.assertIn("this machine cannot make a sandbox", done.stdout)
        self.assertNotIn("Starting", done.stdout)
        self.assertEqual(left, [])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
