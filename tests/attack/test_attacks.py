#!/usr/bin/python3
"""Every attack, inside a real box, as root-started and again as user-started.

    SBX_B=build SBX_BIN=build/bin tests/attack/test_attacks.py

Each program of this directory tries one thing (attack.h) and is run by sbx-box
in an empty workspace. It has to lose, and to say so; or to be stopped by what
the test names: a limit, or the filter with the call's name. Around each, the
host is looked at: a canary process lives, a canary file is as it was, nothing
of the box is left.

As a user without control groups, what only those could hold back is left to
the kernel's resource limits; the attack on memory is for the other half.
"""
import ctypes
import fcntl
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SBX_B", os.path.join(ROOT, "build"))
BIN = os.environ.get("SBX_BIN", os.path.join(BUILD, "bin"))
SLOW = int(os.environ.get("SBX_TEST_SLOW", "1"))  # how many times slower than usual it is here
USER = 65533  # the ordinary user
SECRET = "the host's secret\n"


class Outcome:
    def __init__(self, process, text, errors, record, seconds):
        self.code = process.returncode
        self.text = text.decode("utf-8", "replace")
        self.errors = errors.decode("utf-8", "replace")
        self.record = record
        self.seconds = seconds

    def __str__(self):
        return f"exit {self.code}, outcome {self.record}, output {self.text[:300]!r}, " \
               f"errors {self.errors[:300]!r}"


def processes(marker):
    """Pids of processes, zombies too, that have `marker` in their command line."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def groups(pid):
    """Control groups of one sbx-box: others may be at work on this machine."""
    return [path for depth in range(5)
            for path in glob.glob("/sys/fs/cgroup/" + "*/" * depth + f"sbx-box-*-{pid}-*")]


def unreclaimable(meminfo):
    """KiB of the kernel's own objects that it cannot give back."""
    return next(int(line.split()[1]) for line in meminfo if line.startswith("SUnreclaim:"))


def mounts(*words):
    """What is mounted in the host's own namespace that only a box would mount."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line for line in file if any(word in line for word in words)]


class Attacks:
    """The attacks; a subclass says who starts the box."""

    uid = None  # whose box; None: whoever runs the test
    root = None  # another root than the host's own /usr
    network = "none"
    library = "/usr/share/common-licenses/GPL-3"  # a file of the root that everybody reads
    serial = 0
    marker = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-attack-")
        os.chmod(cls.folder, 0o755)
        # The checkout may be out of the ordinary user's reach.
        cls.box = shutil.copy(os.path.join(BIN, "sbx-box"), cls.folder)
        cls.secret = os.path.join(cls.folder, "secret")
        with open(cls.secret, "w", encoding="utf-8") as file:
            file.write(SECRET)
        if cls.uid is not None:
            os.chown(cls.folder, cls.uid, cls.uid)
            os.chown(cls.secret, cls.uid, cls.uid)
        cls.canary = subprocess.Popen(["sleep", "1000"], preexec_fn=cls.become)

    @classmethod
    def tearDownClass(cls):
        cls.canary.kill()
        cls.canary.wait()
        shutil.rmtree(cls.folder)

    @classmethod
    def become(cls):
        if cls.uid is not None:
            os.setgroups([])
            os.setgid(cls.uid)
            os.setuid(cls.uid)

    def command(self, name, arguments, options):
        """The attack's bytes go in by standard input: the box sees no folder of ours. Inside
        it has a name that no other process of this machine can have in its command line."""
        Attacks.serial += 1
        self.marker = f"attack_{name}-{os.getpid()}-{Attacks.serial}"
        path = os.path.join(BUILD, "tests/attack", f"attack_{name}")
        script = 'cat > "$1" && chmod 755 "$1" && exec "$@"'
        allow = ["--allow-missing", "cgroup"] if self.without_cgroups() else []
        rooted = ["--root", self.root] if self.root else []
        argv = [self.box, "--empty", "--network", self.network, "--wall", f"{20 * SLOW}s",
                "--outcome-file", os.path.join(self.folder, "outcome"), *rooted, *allow, *options,
                "--", "sh", "-c", script, "sh", f"/work/{self.marker}", *arguments]
        return argv, path

    def without_cgroups(self):
        return self.uid is not None or os.getuid() != 0

    def run_attack(self, name, *arguments, options=()):
        argv, path = self.command(name, arguments, options)
        started = time.monotonic()
        with open(path, "rb") as program, \
                subprocess.Popen(argv, stdin=program, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, preexec_fn=self.become,
                                 cwd=self.folder) as process:
            text, errors = process.communicate(timeout=60 * SLOW)
        seconds = time.monotonic() - started
        try:
            with open(os.path.join(self.folder, "outcome"), encoding="utf-8") as file:
                record = json.load(file)
            os.unlink(os.path.join(self.folder, "outcome"))
        except (OSError, ValueError):
            record = None
        outcome = Outcome(process, text, errors, record, seconds)
        self.check_host(outcome, process.pid)
        return outcome

    def check_host(self, outcome, pid):
        self.assertIsNotNone(outcome.record, outcome)
        self.assertTrue(outcome.record["started"], outcome)
        self.assertNotIn("escaped", outcome.text, outcome)
        self.assertNotEqual(outcome.record["exit_code"], 42, outcome)
        self.assertIsNone(self.canary.poll(), "the canary was killed")
        with open(self.secret, encoding="utf-8") as file:
            self.assertEqual(file.read(), SECRET)
        self.assertEqual(processes(self.marker), [], outcome)
        self.assertEqual(groups(pid), [], outcome)
        self.assertEqual(mounts(self.folder, "upperdir=/tmp/upper"), [], outcome)

    def assert_contained(self, name, *arguments, options=()):
        outcome = self.run_attack(name, *arguments, options=options)
        self.assertEqual(outcome.code, 0, outcome)
        self.assertIn("contained", outcome.text, outcome)
        return outcome

    def assert_limit(self, limit, name, *arguments, options=()):
        outcome = self.run_attack(name, *arguments, options=options)
        self.assertEqual(outcome.record["limit"], limit, outcome)
        self.assertEqual(outcome.code, 124, outcome)
        return outcome

    def own(self):
        """What the root of the box itself has of the names that the attack looks for."""
        if not self.root:
            return []
        with open(os.path.join(ROOT, "tests/attack/attack_host_files.c"), encoding="utf-8") as file:
            names = re.findall(r'^\t\t"(/(?:root|var|boot|etc)[^"]*)",$', file.read(), re.MULTILINE)
        return ["own:" + name for name in names if os.path.lexists(self.root + name)]

    # --- reach ---------------------------------------------------------------

    def test_network(self):
        with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            local.bind(b"\0sbx-attack-" + str(os.getpid()).encode())
            local.listen(1)
            self.assert_contained("network", str(server.getsockname()[1]),
                                  f"sbx-attack-{os.getpid()}")

    def test_sockets(self):
        self.assert_contained("sockets")

    def test_options(self):
        self.assert_contained("options")

    def test_host_files(self):
        self.assert_contained("host_files", self.secret, os.path.abspath(__file__), *self.own())

    def test_kill_host(self):
        self.assert_contained("kill_host", str(self.canary.pid))

    def test_proc(self):
        self.assert_contained("proc")

    def test_host_lock(self):
        target = "/usr/bin/env"
        argv, path = self.command("host_lock", [target], [])
        with open(path, "rb") as program, \
                subprocess.Popen(argv, stdin=program, stdout=subprocess.PIPE,
                                 preexec_fn=self.become, cwd=self.folder) as process:
            self.assertEqual(process.stdout.readline(), b"holding\n")
            with open(target, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.assertIn(b"contained", process.stdout.read())
            self.assertEqual(process.wait(), 0)

    def test_ipc(self):
        libc = ctypes.CDLL(None, use_errno=True)
        key = 0x5b000000 + os.getpid()
        segment = libc.shmget(key, 4096, 0o1666)
        self.assertGreaterEqual(segment, 0)
        try:
            self.assert_contained("ipc", hex(key))
        finally:
            libc.shmctl(segment, 0, None)

    def test_exe(self):
        self.assert_contained("exe")
        with open(self.box, "rb") as ours, open(os.path.join(BIN, "sbx-box"), "rb") as built:
            self.assertEqual(ours.read(), built.read())

    def test_cwd(self):
        self.assert_contained("cwd", self.secret)

    def test_cwd_that_is_a_descriptor(self):
        """CVE-2024-21626: the directory to start in is a descriptor of who starts it."""
        for cwd in ("/proc/self/fd/3", "/proc/self/fd/7", "../../proc/self/fd/5", "/proc/1/cwd",
                    "/proc/self/cwd/..", "/", "..", "../../.."):
            with self.subTest(cwd):
                argv, path = self.command("cwd", [self.secret], ["--cwd", cwd])
                with open(path, "rb") as program:
                    done = subprocess.run(argv, stdin=program, capture_output=True, timeout=60,
                                          preexec_fn=self.become, cwd=self.folder, check=False)
                self.assertNotIn(b"the host", done.stdout, done)
                self.assertNotIn(b"'/proc", done.stdout, done)
                self.assertTrue(done.returncode != 0 or b"contained" in done.stdout, done)

    def test_page_cache(self):
        self.assert_contained("page_cache", self.library)

    def test_environment(self):
        """The word is in our environment, in our command line and in an open file of ours."""
        os.environ["SECRET_TOKEN"] = "open-" + "sesame"
        os.environ["SSH_AUTH_SOCK"] = os.path.join(self.folder, "agent")
        self.addCleanup(os.environ.pop, "SECRET_TOKEN")
        self.addCleanup(os.environ.pop, "SSH_AUTH_SOCK")
        self.assert_contained("environment", "open-", "sesame")

    # --- power ---------------------------------------------------------------

    def test_layer_leaves_the_base(self):
        """Renamed directories, links and modes in the layer: what is below stays as it was."""
        base = os.path.join(self.folder, "base")
        os.makedirs(os.path.join(base, "dir/sub"))
        for name in ("file", "dir/a", "dir/sub/b"):
            with open(os.path.join(base, name), "w", encoding="utf-8") as file:
                file.write(name)
        os.link(os.path.join(base, "file"), os.path.join(base, "hard"))
        if self.uid is not None:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", base], check=True)

        def look():
            found = {}
            for folder, folders, names in os.walk(base):
                for name in folders + names:
                    st = os.lstat(os.path.join(folder, name))
                    found[os.path.join(folder, name)] = (st.st_ino, st.st_mode, st.st_uid,
                                                         st.st_size, st.st_mtime_ns, st.st_nlink)
            return found

        before = look()
        allow = ["--allow-missing", "cgroup"] if self.without_cgroups() else []
        rooted = ["--root", self.root] if self.root else []
        done = subprocess.run(
            [self.box, *rooted, *allow, "--", "sh", "-c",
             "mv dir moved; mv moved/sub sub2; ln hard again; echo x >> hard; chmod 777 file sub2; "
             "ln -s / dir; ln -f file moved/a; mkdir file2; rm -r moved; touch -d 1970-01-01 hard; "
             "for i in 1 2 3; do mv sub2 s && mv s sub2; done; ls"],
            capture_output=True, text=True, preexec_fn=self.become, cwd=base, timeout=60,
            check=False)
        self.assertIn("sub2", done.stdout, done)
        self.assertEqual(look(), before)
        shutil.rmtree(base)

    def test_init(self):
        self.assert_contained("init")

    def test_namespaces(self):
        self.assert_contained("namespaces")

    def test_mount(self):
        self.assert_contained("mount")

    def test_kernel(self):
        self.assert_contained("kernel")

    def test_terminal(self):
        self.assert_contained("terminal")

    def test_privilege(self):
        self.assert_contained("privilege")

    def test_devices(self):
        self.assert_contained("devices")

    def test_limits(self):
        self.assert_contained("limits")

    def test_killed(self):
        names = {name: name for name in (
            "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module",
            "delete_module", "swapon", "swapoff", "open_by_handle_at", "pivot_root", "iopl",
            "ioperm", "acct", "settimeofday")}
        names.update({"x32": "x32:39", "i386": "i386:20"})
        for name, expected in names.items():
            with self.subTest(name):
                outcome = self.run_attack("killed", name)
                self.assertEqual(outcome.record["syscall"], expected, outcome)
                self.assertEqual(outcome.code, 128 + signal.SIGSYS, outcome)

    def test_trace(self):
        """What debuggers may do does not lead around the filter."""
        self.assert_contained("trace", options=["--profile", "trusted"])

    def test_profiles(self):
        for profile in ("trusted", "strict"):
            for name in ("init", "privilege", "namespaces", "mount", "sockets"):
                with self.subTest(profile=profile, attack=name):
                    self.assert_contained(name, options=["--profile", profile])
        self.assert_contained("kernel", options=["--profile", "strict"])

    # --- greed ---------------------------------------------------------------

    def test_fork_bomb(self):
        outcome = self.run_attack("fork_bomb", "64",
                                  options=["--processes", "64", "--wall", "3s"])
        self.assertEqual(outcome.record["limit"], "wall", outcome)
        self.assertLess(outcome.seconds, 20)

    def test_memory_elsewhere(self):
        for kind in ("shm", "pipe"):
            with self.subTest(kind):
                self.assert_contained("memory", kind, "64",
                                      options=["--memory", "256m", "--disk", "32m"])

    def test_netlink(self):
        """What waits in route sockets is charged to nobody: so there are few."""
        self.assert_contained("netlink", "48", options=["--memory", "64m", "--disk", "16m"])

    def test_netlink_of_the_host(self):
        """The machine itself sees no memory go: other work on it may take some."""
        with open("/proc/meminfo", encoding="ascii") as file:
            before = unreclaimable(file)
        argv, path = self.command("netlink", ["600"], ["--memory", "64m", "--disk", "16m"])
        most = before
        with open(path, "rb") as program, \
                subprocess.Popen(argv, stdin=program, stdout=subprocess.PIPE,
                                 preexec_fn=self.become, cwd=self.folder) as process:
            while process.returncode is None:
                with open("/proc/meminfo", encoding="ascii") as file:
                    most = max(most, unreclaimable(file))
                try:
                    process.wait(0.02)
                except subprocess.TimeoutExpired:
                    pass
            self.assertIn(b"contained", process.stdout.read())
        self.assertLess(most - before, 300 << 10)

    def test_netlink_serves(self):
        self.assert_contained("netlink")

    def test_disk(self):
        self.assert_limit("disk", "disk", "bytes", "16", options=["--disk", "16m"])

    def test_inodes(self):
        self.assert_limit("inodes", "disk", "inodes", "1016", options=["--inodes", "1000"])

    def test_huge(self):
        self.assert_contained("huge", "8", options=["--file-size", "8m", "--disk", "64m"])

    def test_output(self):
        outcome = self.assert_limit("output", "output", options=["--output", "1m"])
        self.assertLessEqual(len(outcome.text) + len(outcome.errors), (1 << 20) + 200)

    # --- the end -------------------------------------------------------------

    def test_survivor(self):
        outcome = self.run_attack("survivor", options=["--processes", "100"])
        self.assertIn("contained", outcome.text)
        self.assertLess(outcome.seconds, 10, outcome)

    def test_stuck(self):
        outcome = self.run_attack("stuck", options=["--processes", "100"])
        self.assertIn("contained", outcome.text)
        self.assertLess(outcome.seconds, 10, outcome)
        outcome = self.run_attack("stuck", "stay", options=["--processes", "100", "--wall", "1s"])
        self.assertEqual(outcome.record["limit"], "wall", outcome)
        self.assertLess(outcome.seconds, 10, outcome)

    def test_deep(self):
        self.assert_contained("deep")

    def test_killed_sbx_box(self):
        """kill -9 of sbx-box: all in the box dies, the next start takes the groups away."""
        argv, path = self.command("survivor", [], ["--processes", "100"])
        script = argv.index("-c") + 1
        # The shell stays by stopping itself: the survivors leave it no process to wait in.
        argv[script] = argv[script].replace('exec "$@"', '"$@"; kill -STOP $$')
        with open(path, "rb") as program, \
                subprocess.Popen(argv, stdin=program, stdout=subprocess.PIPE,
                                 preexec_fn=self.become, cwd=self.folder) as process:
            self.assertEqual(process.stdout.readline(), b"contained\n")
            self.assertNotEqual(processes(self.marker), [], "nothing was there to be killed")
            if not self.without_cgroups():
                self.assertNotEqual(groups(process.pid), [], "no control group was there")
            process.kill()
        marker = self.marker
        until = time.monotonic() + 10
        while processes(marker) and time.monotonic() < until:
            pass
        self.assertEqual(processes(marker), [])
        self.assert_contained("deep")
        self.assertEqual(groups(process.pid), [])


class AsStarted(Attacks, unittest.TestCase):
    def test_memory(self):
        if self.without_cgroups():
            self.skipTest("only a control group holds memory; start as root")
        for kind in ("anonymous", "shared", "memfd"):
            with self.subTest(kind):
                self.assert_limit("memory", "memory", kind, "64",
                                  options=["--memory", "64m", "--disk", "16m"])

    def test_outside(self):
        """Without a box the same programs win: the tests above can fail."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            attacks = {"network": [str(server.getsockname()[1])], "host_files": [self.secret],
                       "proc": [], "limits": [], "environment": ["PA", "TH="],
                       "cwd": [self.secret]}
            for name, arguments in attacks.items():
                path = os.path.join(BUILD, "tests/attack", f"attack_{name}")
                process = subprocess.run([path, *arguments], capture_output=True, check=False)
                self.assertEqual(process.returncode, 42, name)
                self.assertIn(b"escaped", process.stdout)


@unittest.skipIf(os.getuid() != 0, "the run above was as an ordinary user already")
class AsUser(Attacks, unittest.TestCase):
    uid = USER


class InTheHostsNetwork(Attacks, unittest.TestCase):
    """One layer less: what it does not hold back itself is held back as ever. What it does,
    and that no route socket is given out, system/test_57_box_network asks for."""

    network = "host"
    test_network = test_netlink_serves = None


class AnotherRoot(Attacks):
    """The same on a root of its own: busybox, or the one that SBX_TEST_ROOT names."""

    library = "/usr/bin/busybox"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if os.environ.get("SBX_TEST_ROOT"):
            cls.root = os.environ["SBX_TEST_ROOT"]
            cls.library = Attacks.library
            return
        roots = os.path.join(cls.folder, "roots")
        subprocess.run([os.path.join(ROOT, "contrib/roots/mkroot"), "--roots-dir", roots,
                        "busybox", "bb"], check=True, stdout=subprocess.DEVNULL)
        cls.root = os.path.join(roots, "bb")


@unittest.skipIf(shutil.which("busybox") is None, "needs the package busybox-static")
class OnAnotherRootAsStarted(AnotherRoot, unittest.TestCase):
    pass


@unittest.skipIf(os.getuid() != 0 or shutil.which("busybox") is None,
                 "needs root and the package busybox-static")
class OnAnotherRootAsUser(AnotherRoot, unittest.TestCase):
    uid = USER


if __name__ == "__main__":
    for needed in [os.path.join(BIN, "sbx-box"),
                   os.path.join(BUILD, "tests/attack/attack_proc")]:
        if not os.path.exists(needed):
            sys.exit(f"not built: {needed}")
    unittest.main(verbosity=2)
