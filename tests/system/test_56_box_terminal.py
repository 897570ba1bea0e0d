"""sbx-box at a terminal: the command has one of its own, the person's is put back as it was."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

import sbxtest

PATIENCE_S = 30


class Session:
    """sbx-box on a terminal that this test holds the other end of."""

    def __init__(self, folder, *arguments, size=(33, 77)):
        self.master, slave = pty.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""
        self.process = subprocess.Popen(
            [os.path.join(sbxtest.BIN, "sbx-box"), "--empty", *arguments], stdin=slave,
            stdout=slave, stderr=slave, cwd=folder, preexec_fn=self.lead,
            env={"PATH": os.environ["PATH"], "TERM": "vt100"})

    @staticmethod
    def lead():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, size):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def expect(self, pattern):
        """Reads until the pattern is there, and takes all up to its end."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            self.seen += os.read(self.master, 4096)

    def type(self, keys):
        os.write(self.master, keys)

    def wait(self):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 4096)
            if self.process.poll() is not None:
                return self.process.returncode
        raise AssertionError(f"still running: {self.seen!r}")

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def await_raw(self, raw):
        until = time.monotonic() + PATIENCE_S
        while self.is_raw() != raw:
            if time.monotonic() > until:
                raise AssertionError(f"raw is {not raw}")

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Terminal(sbxtest.Case):
    needs_broker = False

    def session(self, *arguments, **options):
        session = Session(self.folder, *arguments, **options)
        self.addCleanup(session.close)
        return session

    def test_a_terminal_of_its_own(self):
        session = self.session("--", "sh", "-c", "tty; stty size; echo $TERM; exit 5")
        session.expect(rb"/dev/pts/0\r\n33 77\r\nvt100\r\n")
        self.assertEqual(session.wait(), 5)
        self.assertTrue(session.restored())

    def test_a_new_size_is_handed_on(self):
        session = self.session("--", "sh", "-c", "trap 'stty size' WINCH; echo ready; "
                               "while :; do read line; done")
        session.expect(b"ready")
        session.resize((50, 111))
        session.expect(b"50 111")

    def test_a_shell_with_job_control(self):
        session = self.session()
        session.expect(rb"\$ ")
        session.type(b"sh -c 'echo $((6 * 9)); read word; echo $word-$word'\r")
        session.expect(b"54")
        session.type(b"\x1a")
        session.expect(b"Stopped")
        session.expect(rb"\$ ")
        session.type(b"fg\r")
        session.expect(rb"(?s)fg\r\n.*read word[^\n]*\n")
        session.type(b"again\r")
        session.expect(b"again-again")
        session.type(b"sh -c 'echo $((6 * 8)); exec sleep 1000'\r")
        session.expect(b"48")
        session.type(b"\x03")
        session.expect(rb"\$ ")
        session.type(b"echo $((6 * 7)); exit 9\r")
        session.expect(b"42")
        self.assertEqual(session.wait(), 9)
        self.assertTrue(session.restored())

    def test_the_terminal_is_put_back_on_every_way_out(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGSEGV,
                       signal.SIGABRT, signal.SIGQUIT):
            with self.subTest(signal=number):
                session = self.session("--", "sh", "-c", "echo ready; sleep 1000")
                session.expect(b"ready")
                self.assertTrue(session.is_raw())
                session.process.send_signal(number)
                self.assertIn(session.wait(), (128 + number, -number))
                self.assertTrue(session.restored())

    def test_limits_end_it_too(self):
        session = self.session("--wall", "300ms", "--", "sleep", "1000")
        session.expect(b"limit reached: wall")
        self.assertEqual(session.wait(), 124)
        self.assertTrue(session.restored())

    def test_stopped_and_continued(self):
        session = self.session("--", "sh", "-c", "echo ready; read line; echo got $line")
        session.expect(b"ready")
        session.process.send_signal(signal.SIGTSTP)
        session.await_raw(False)
        self.assertTrue(session.restored())
        session.process.send_signal(signal.SIGCONT)
        session.await_raw(True)
        session.type(b"keys\r")
        session.expect(b"got keys")
        self.assertEqual(session.wait(), 0)

    def test_no_key_is_lost(self):
        session = self.session("--", "sh", "-c", "stty raw -echo; echo ready; "
                               "head -c 100000 | cksum")
        session.expect(b"ready")
        data = bytes(range(32, 127)) * 1053
        data = data[:100000]
        at = 0
        while at < len(data):
            at += os.write(session.master, data[at:at + 1000])
        known = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
        session.expect(known.split()[0] + b" 100000")
        self.assertEqual(session.wait(), 0)

    def test_nothing_is_typed_for_the_person(self):
        session = self.session(
            "--", "python3", "-c", "import fcntl, os\n"
            "for place in (0, os.open('/dev/tty', os.O_RDWR)):\n"
            "    for request in (0x5412, 0x541C):\n"
            "        try:\n            fcntl.ioctl(place, request, b'x')\n"
            "            print('pushed')\n"
            "        except OSError as error:\n            print('refused', error.errno)\n")
        session.expect(rb"(refused 1\r\n){4}")
        self.assertEqual(session.wait(), 0)

    def test_without(self):
        session = self.session("--no-tty", "--", "sh", "-c", "tty; exit 3")
        session.expect(b"not a tty")
        self.assertEqual(session.wait(), 3)

    def test_outcome(self):
        path = os.path.join(self.folder, "outcome.json")
        session = self.session("--outcome-file", path, "--output", "1k", "--", "yes")
        session.expect(b"limit reached: output")
        self.assertEqual(session.wait(), 124)
        with open(path, encoding="utf-8") as stream:
            outcome = json.load(stream)
        self.assertEqual(outcome["limit"], "output")
        self.assertGreater(outcome["output_bytes"], 1024)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
