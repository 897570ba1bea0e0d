#!/usr/bin/python3
"""The worker under its AppArmor profile, which the kernel enforces: run by tests/vm/run, as root.

    tests/vm/run -- tests/vm/test_apparmor.py

A whole job has to pass under it, and root itself has to fail at what the profile denies.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SBX_B", os.path.join(ROOT, "build"))
BIN = os.environ.get("SBX_BIN", os.path.join(BUILD, "bin"))
PROFILE = os.path.join(ROOT, "contrib/apparmor/sbx-worker")
SECURITY = "/sys/kernel/security"


def call(*argv):
    # The programs refuse variables of their own that they do not know.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SBX_")}
    return subprocess.run(argv, text=True, capture_output=True, check=False, timeout=300,
                          stdin=subprocess.DEVNULL, env=env)


def denied():
    """What the kernel has noted about refusals so far."""
    return [line for line in call("dmesg").stdout.splitlines() if 'apparmor="DENIED"' in line]


class Profile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-apparmor-", dir="/mnt")
        os.chmod(cls.folder, 0o755)
        for name in ("sbx-run", "sbx-worker"):
            shutil.copy(os.path.join(BIN, name), cls.folder)
        path = os.path.join(cls.folder, "profile")
        with open(PROFILE, encoding="utf-8") as stream, open(path, "w", encoding="utf-8") as copy:
            text = re.sub(r"(?m)^@\{SBX_BIN\} = .*$", f"@{{SBX_BIN}} = {cls.folder}",
                          stream.read())
            copy.write(re.sub(r"(?m)^@\{SBX_STATE\} = .*$", f"@{{SBX_STATE}} = {cls.folder}/state",
                              text))
        done = call("apparmor_parser", "-r", "-K", "-I", "/etc/apparmor.d", path)
        if done.returncode:
            raise AssertionError(done.stderr)

    def confined(self, *argv):
        return call("aa-exec", "-p", "sbx-worker", "--", *argv)

    def repo(self):
        path = os.path.join(self.folder, "repo")
        os.mkdir(path)
        with open(os.path.join(path, "file"), "w", encoding="utf-8") as stream:
            stream.write("one\n")
        git = ["git", "-C", path, "-c", "user.name=n", "-c", "user.email=e"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
            subprocess.run([*git, *words], check=True)
        return path

    def test_a_job_passes_and_is_confined(self):
        before = len(denied())
        job = os.path.join(self.folder, "job.json")
        with open(job, "w", encoding="utf-8") as stream:
            json.dump({"v": 1, "id": "a", "source": {"repo": self.repo(), "commit": "HEAD"},
                       "patch": {"diff": "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-one\n+1\n"},
                       "steps": [{"run": ["sh", "-c", each]} for each in (
                           "cat /proc/self/attr/current file",
                           "mkdir d && mv file d/x && ln -s x d/y && echo z > /tmp/z && "
                           "echo z > /dev/shm/z && chmod 755 d/x && rm -r d",
                           "printf 'int main(void){return 0;}' > a.c && gcc a.c -o a && ./a",
                           "python3 -c 'import multiprocessing as m; m.Pool(2).map(abs, [1])'")]},
                      stream)
        done = self.confined(os.path.join(self.folder, "sbx-run"), "--json", "--state-dir",
                             os.path.join(self.folder, "state"), job)
        said = "\n".join(denied()[before:][:20])
        self.assertEqual(done.returncode, 0, (done.stdout[-2000:], done.stderr[-2000:], said))
        result = json.loads(done.stdout)
        self.assertEqual(result["steps"][0]["stdout"], "sbx-worker (enforce)\n1\n")
        self.assertEqual(result.get("missing", []), [])
        self.assertEqual(said, "")

    def test_root_is_held_back(self):
        for script in ("echo x > /etc/cron.d/x", "cat /etc/shadow", "echo x > /usr/bin/x",
                       "echo x > /etc/ld.so.preload", "ls /root/ && cat /root/.profile",
                       "echo 0 > /proc/sys/kernel/randomize_va_space", "echo x > /boot/x",
                       "cat /sys/kernel/security/apparmor/profiles",
                       "kill -URG 1", "head -c 1 /dev/vda", "echo x > /etc/ssh/sshd_config"):
            with self.subTest(script):
                self.assertNotEqual(self.confined("sh", "-c", script).returncode, 0)


if __name__ == "__main__":
    if os.getuid() != 0 or not os.path.isdir(SECURITY) or \
            "sbx-vm" not in os.uname().nodename:
        sys.exit("to be run as root in the machine of tests/vm/run")
    if not os.path.exists(SECURITY + "/apparmor"):
        subprocess.run(["mount", "-t", "securityfs", "securityfs", SECURITY], check=True)
    unittest.main(verbosity=2)
