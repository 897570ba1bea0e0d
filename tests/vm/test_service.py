#!/usr/bin/python3
"""The worker as its systemd unit starts it: run by tests/vm/run, as root.

    tests/vm/run -- tests/vm/test_service.py

systemd is the first process of a pid namespace and starts one unit, ours, as it is but for the
paths; all that the unit takes away is away. Jobs have to pass under it, with nothing missing.
"""
import json
import os
import shutil
import subprocess
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SBX_B", os.path.join(ROOT, "build"))
BIN = os.environ.get("SBX_BIN", os.path.join(BUILD, "bin"))
UNIT = os.path.join(ROOT, "contrib/systemd/sbx-worker.service")
UNITS = "/run/systemd/system"
SYSTEMD = "/lib/systemd/systemd"
PROFILE = os.path.join(ROOT, "contrib/apparmor/sbx-worker")
SECURITY = "/sys/kernel/security"
SOURCES = "/srv/sbx-test"
PROGRAMS = "/usr/local/bin"
TARGET = """[Unit]
Description=Nothing but the worker
DefaultDependencies=no
Requires=sbx-worker.service
"""
CONFIG = f"""[sources]
allow = {SOURCES}/
[commands]
allow = off
[worker]
slots = 2
"""


def call(*argv, **options):
    env = {name: value for name, value in os.environ.items() if not name.startswith("SBX_")}
    return subprocess.run(argv, text=True, capture_output=True, check=False, timeout=300, env=env,
                          stdin=subprocess.DEVNULL, **options)


def write(text, *path):
    os.makedirs(os.path.dirname(os.path.join(*path)), exist_ok=True)
    with open(os.path.join(*path), "w", encoding="utf-8") as stream:
        stream.write(text)


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.makedirs(PROGRAMS, exist_ok=True)
        for name in ("sbx-worker", "sbx-submit"):
            shutil.copy(os.path.join(BIN, name), PROGRAMS)
        with open(UNIT, encoding="utf-8") as stream:
            text = stream.read()
        # The host's own units are none of ours: no network and no file systems are waited for.
        write(text.replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n"), UNITS,
              "sbx-worker.service")
        write(TARGET, UNITS, "sbx-test.target")
        # As it is: the unit names it, and its paths are those of this installation.
        if not os.path.exists(SECURITY + "/apparmor"):
            subprocess.run(["mount", "-t", "securityfs", "securityfs", SECURITY], check=True)
        subprocess.run(["apparmor_parser", "-r", "-K", "-I", "/etc/apparmor.d", PROFILE],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        write(CONFIG, "/etc/sbx/worker.ini")
        os.makedirs(SOURCES)
        write("one\n", SOURCES, "repo/file")
        git = ["git", "-C", SOURCES + "/repo", "-c", "user.name=n", "-c", "user.email=e"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
            subprocess.run([*git, *words], check=True)
        cls.log = open("/run/systemd.log", "w+", encoding="utf-8")
        cls.systemd = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--uts", "--ipc", "env",
             "-i", "container=sbx-test", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", SYSTEMD,
             "--system", "--unit=sbx-test.target", "--log-target=console", "--log-level=info",
             "--show-status=no"], stdin=subprocess.DEVNULL, stdout=cls.log, stderr=cls.log)

    @classmethod
    def tearDownClass(cls):
        cls.systemd.kill()
        cls.systemd.wait()

    def said(self):
        with open("/run/systemd.log", encoding="utf-8", errors="replace") as stream:
            return stream.read()[-3000:]

    def main_pid(self):
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/cgroup", encoding="utf-8") as stream:
                        group = stream.read()
                    with open(f"/proc/{name}/cmdline", encoding="utf-8") as stream:
                        words = stream.read().split("\0")
                except OSError:
                    continue
                if "sbx-worker.service" in group and words[0].endswith("sbx-worker") and \
                        "serve" in words:
                    return name
        return None

    def wait_for(self, what, condition):
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if condition():
                return
            try:
                self.systemd.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                continue
        self.fail(f"never {what}: {self.said()}")

    def test_jobs_pass_and_nothing_is_missing(self):
        self.wait_for("a worker", self.main_pid)
        self.wait_for("a queue", lambda: os.path.exists("/var/lib/sbx/queue.db"))
        done = call(PROGRAMS + "/sbx-submit", "--repo", SOURCES + "/repo", "--commit", "HEAD",
                    "--shell", "cat file && stat -c %t:%T /dev/null && grep -c . /proc/self/mounts",
                    "--shell", "python3 -c 'import multiprocessing as m; m.Pool(2).map(abs, [1])'",
                    "--memory", "256m", "--cpus", "1", "--wait", "--json", "--timeout", "200s")
        self.assertEqual(done.returncode, 0, (done.stdout, done.stderr, self.said()))
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(result["verdict"], "passed")
        self.assertEqual(result.get("missing", []), [])
        self.assertEqual(result["steps"][0]["stdout"].split()[:2], ["one", "1:3"])

    def test_what_the_unit_takes_away_is_away(self):
        self.wait_for("a worker", self.main_pid)
        with open(f"/proc/{self.main_pid()}/status", encoding="utf-8") as stream:
            status = dict(line.split(":\t", 1) for line in stream.read().splitlines()
                          if ":\t" in line)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        bounds = int(status["CapBnd"], 16)
        for number in (16, 17, 19, 22, 25):  # modules, raw io, ptrace, boot, time
            self.assertFalse(bounds & 1 << number, number)
        with open(f"/proc/{self.main_pid()}/attr/current", encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "sbx-worker (enforce)\n")
        here = f"/proc/{self.main_pid()}/root"
        for path in ("/usr/x", "/etc/x", "/boot/x"):
            with self.assertRaises(OSError):
                write("x", here + path)
        self.assertEqual(os.listdir(here + "/root"), [])


if __name__ == "__main__":
    if os.getuid() != 0 or "sbx-vm" not in os.uname().nodename:
        sys.exit("to be run as root in the machine of tests/vm/run")
    if not os.path.exists(SYSTEMD):
        sys.exit(f"needs {SYSTEMD}")
    unittest.main(verbosity=2)
