#!/usr/bin/python3
"""Two boxes at once, and the host beside them: what one does, the other must not notice.

    SBX_B=build SBX_BIN=build/bin tests/attack/test_neighbours.py
"""
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SBX_B", os.path.join(ROOT, "build"))
BIN = os.environ.get("SBX_BIN", os.path.join(BUILD, "bin"))
USER = 65532

# What processes of the host lock or look at, and boxes are shown.
HOST_FILES = ("/usr/bin/env", "/etc/ssl/certs/ca-certificates.crt", "/etc/alternatives")
HOST_DEVICES = ("/dev/null", "/dev/urandom")


def segments(uid):
    """Those of the host that programs of the attack have left there."""
    with open("/proc/sysvipc/shm", encoding="utf-8") as file:
        lines = [line.split() for line in file][1:]
    return [line[1] for line in lines if (int(line[7]), line[3]) == (uid or os.getuid(), "65536")]


class Neighbours:
    """A subclass says who starts the boxes."""

    uid = None
    root = None  # another root than the host's own /usr
    skip = ()  # an argument for attack_neighbour

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-neighbours-")
        os.chmod(cls.folder, 0o755)
        cls.box = shutil.copy(os.path.join(BIN, "sbx-box"), cls.folder)
        if cls.root:
            roots = os.path.join(cls.folder, "roots")
            subprocess.run([os.path.join(ROOT, "contrib/roots/mkroot"), "--roots-dir", roots,
                            "busybox", cls.root], check=True, stdout=subprocess.DEVNULL)
            cls.root = os.path.join(roots, cls.root)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def become(cls):
        if cls.uid is not None:
            os.setgroups([])
            os.setgid(cls.uid)
            os.setuid(cls.uid)

    def start(self, name, *arguments, options=()):
        script = 'cat > /work/attack && chmod 755 /work/attack && exec /work/attack "$@"'
        cgroup = ["--allow-missing", "cgroup"] if self.as_user() else []
        with open(os.path.join(BUILD, "tests/attack", f"attack_{name}"), "rb") as program:
            return subprocess.Popen(
                [self.box, "--empty", "--wall", "30s", *cgroup, *options,
                 *(["--root", self.root] if self.root else []), "--", "sh", "-c",
                 script, "sh", *arguments], stdin=program, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, preexec_fn=self.become, cwd=self.folder)

    def as_user(self):
        return self.uid is not None or os.getuid() != 0

    def finish(self, process):
        text, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, text.strip().split(b"\n")[-1]), (0, b"contained"),
                         (text, errors))

    def test_two_boxes(self):
        first = self.start("neighbour", "first", *self.skip)
        self.assertEqual(first.stdout.readline(), b"ready\n")
        self.finish(self.start("neighbour", "second", *self.skip))
        self.look_from_the_host()
        self.finish(first)

    def look_from_the_host(self):
        """The first box holds locks on all that it sees, and watches it."""
        for path in HOST_FILES + (() if self.as_user() else HOST_DEVICES):
            if not os.path.exists(path):
                continue
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(fd)
        if os.getuid() != 0 or not os.path.isfile(HOST_FILES[1]):
            return
        # To write, which only root can here: a lease would keep it from opening the file.
        fd = os.open(HOST_FILES[1], os.O_RDWR | os.O_NONBLOCK)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)

    def test_what_the_kernel_counts_by_user(self):
        here = segments(self.uid)
        before = self.left_on_the_host()  # which others may have used up
        first = self.start("starve", "first")
        self.assertEqual(first.stdout.readline(), b"ready\n")
        self.finish(self.start("starve", "second"))
        self.assertEqual(self.left_on_the_host(), before)
        self.finish(first)
        self.assertEqual(segments(self.uid), here)

    def left_on_the_host(self):
        program = shutil.copy(os.path.join(BUILD, "tests/attack/attack_starve"), self.folder)
        with tempfile.TemporaryDirectory() as here:
            os.chmod(here, 0o777)
            done = subprocess.run([program, "second"], preexec_fn=self.become, cwd=here,
                                  stdout=subprocess.PIPE, timeout=60, check=False)
        return done.stdout

    def test_descriptors_on_their_way(self):
        first = self.start("inflight", "8", options=["--files", "100000"])
        self.assertEqual(first.stdout.readline(), b"ready\n")
        try:  # so many words that they are sent as a file
            for _ in range(3):
                self.finish(self.start("inflight", "0", "x" * 10000))
        finally:
            first.kill()
            first.communicate()

    def test_what_the_machine_has_for_all(self):
        for what, most in (("contexts", 4096), ("terminals", 256)):
            with self.subTest(what):
                self.finish(self.start("clog", what, str(most)))


class AsStarted(Neighbours, unittest.TestCase):
    def setUp(self):
        self.skip = ("user",) if self.as_user() else ()

    def test_buffers(self):
        if self.as_user():
            self.skipTest("only a control group counts what lies in sockets; start as root")
        process = self.start("buffers", "64", options=["--memory", "64m", "--disk", "16m"])
        text, errors = process.communicate(timeout=60)
        # Version 2 of control groups kills for it, version 1 refuses more.
        held = re.search(rb"limit reached: memory \(measured: ([0-9]+) bytes\)", errors)
        self.assertTrue((process.returncode, text) == (0, b"contained\n") or
                        (process.returncode == 124 and held), (text, errors))
        if held:
            self.assertGreaterEqual(int(held[1]), 60 << 20, "not what was held")


@unittest.skipIf(os.getuid() != 0, "the run above was as an ordinary user already")
class AsUser(Neighbours, unittest.TestCase):
    uid = USER
    skip = ("user",)


@unittest.skipIf(shutil.which("busybox") is None, "needs the package busybox-static")
class OnAnotherRootAsStarted(Neighbours, unittest.TestCase):
    root = "bb"

    def setUp(self):
        self.skip = ("user",) if self.as_user() else ()


@unittest.skipIf(os.getuid() != 0 or shutil.which("busybox") is None,
                 "needs root and the package busybox-static")
class OnAnotherRootAsUser(Neighbours, unittest.TestCase):
    root = "bb"
    uid = USER
    skip = ("user",)


if __name__ == "__main__":
    unittest.main(verbosity=2)
