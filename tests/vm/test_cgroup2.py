#!/usr/bin/python3
"""The sandbox where there is nothing but cgroup v2: run by tests/vm/run, as root.

    tests/vm/run -- tests/vm/test_cgroup2.py

Each test starts sbx-box in control groups that it makes: as root in a login
session, in a service that systemd would have marked, as a user with a group
that was delegated and without. Then it looks at what the kernel counted, and
at what is left.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SBX_B", os.path.join(ROOT, "build"))
BIN = os.environ.get("SBX_BIN", os.path.join(BUILD, "bin"))
TOP = "/sys/fs/cgroup"
USER = 65533
EAT = "python3 -c 'x = b\"x\" * (200 << 20); print(len(x))'"
# Shared memory is no process's own: only the kernel sees that it is too much.
EAT_SHARED = "python3 -c 'import mmap; mmap.mmap(-1, 200 << 20).write(bytes(200 << 20))'"


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def write(text, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as file:
        file.write(text)


def box_group(pid):
    """What the control group of an sbx-box is called."""
    return f"sbx-box-{os.stat('/proc/self/ns/pid').st_ino}-{pid}-0-1"


def groups_below(group):
    """Names, relative to it, of all groups below one."""
    return sorted(os.path.relpath(os.path.join(folder, name), group)
                  for folder, names, _ in os.walk(group) for name in names)


def remove_group(group):
    """Kills what is in it and below it, and takes all of it away."""
    write("1", group, "cgroup.kill")
    for name in reversed(groups_below(group)):
        remove_empty(os.path.join(group, name))
    remove_empty(group)


def remove_empty(group):
    until = time.monotonic() + 10
    while True:
        try:
            return os.rmdir(group)
        except OSError:
            if time.monotonic() > until:
                raise


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-cgroup2-")
        os.chmod(cls.folder, 0o1777)
        # The checkout may be out of the ordinary user's reach.
        for name in ("sbx-box", "sbx-run", "sbx-worker", "sbx-submit"):
            shutil.copy(os.path.join(BIN, name), cls.folder)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def group(self, name, owner=0):
        """A group of the test's, given to `owner` as systemd does it."""
        path = os.path.join(TOP, name)
        write("+memory +pids +cpu +io", os.path.dirname(path), "cgroup.subtree_control")
        os.mkdir(path)
        self.addCleanup(remove_group, path)
        for each in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(path, each), owner, owner)
        return path

    @contextlib.contextmanager
    def start(self, argv, group=TOP, uid=0):
        """A process that does not outlive the block."""
        def enter():
            write("0", group, "cgroup.procs")
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)

        # The programs refuse variables of their own that they do not know.
        env = {name: value for name, value in os.environ.items() if not name.startswith("SBX_")}
        with subprocess.Popen(argv, preexec_fn=enter, cwd=self.folder, text=True, env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def run_in(self, argv, group=TOP, uid=0):
        with self.start(argv, group, uid) as process:
            out, errors = process.communicate(timeout=120)
        return process.returncode, out, errors

    def box(self, script, *options, group=TOP, uid=0):
        """sbx-box over an empty directory; returns (exit code, outcome, output)."""
        path = os.path.join(self.folder, "outcome")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        code, out, errors = self.run_in(
            ["./sbx-box", "--empty", "--wall", "60s", "--outcome-file", path, *options, "--",
             "sh", "-c", script], group, uid)
        if not os.path.exists(path) or not read(path):
            return code, None, out + errors
        return code, json.loads(read(path)), out + errors

    def layers(self, group=TOP, uid=0):
        """What --explain says: name to whether it holds and why not."""
        _, out, _ = self.run_in(["./sbx-box", "--explain"], group, uid)
        words = [line.split(None, 3) for line in out.splitlines()]
        return {each[0]: (each[2] == "yes", each[3] if len(each) > 3 else "") for each in words}

    def assert_limited(self, group, uid=0):
        """Every limit that a group holds is held, and told apart."""
        limits = (
            ("memory", ["--memory", "64m", "--disk", "16m"], EAT),
            ("memory", ["--memory", "64m", "--disk", "16m"], f"({EAT}) & ({EAT}) & wait"),
            ("processes", ["--processes", "20"],
             "for i in $(seq 40); do sleep 20 & done || exit 1; wait"),
            ("cpu", ["--cpu", "700ms"], "while :; do :; done"),
            ("disk", ["--disk", "16m"], "head -c 40m /dev/zero > file"),
            ("disk", ["--disk", "16m"], "head -c 40m /dev/zero > /dev/shm/file"),
            ("inodes", ["--inodes", "100"], "for i in $(seq 200); do : > $i || exit 1; done"),
        )
        for limit, options, script in limits:
            with self.subTest(limit, script=script):
                code, outcome, text = self.box(script, *options, group=group, uid=uid)
                self.assertIsNotNone(outcome, text)
                self.assertEqual((outcome["limit"], code), (limit, 124), (outcome, text))
        code, outcome, text = self.box(EAT_SHARED, "--memory", "64m", "--disk", "16m",
                                       group=group, uid=uid)
        self.assertEqual((outcome["limit"], code), ("memory", 124), text)
        self.assertGreater(outcome["oom_kills"], 0)

    def assert_quota(self, group, uid=0):
        code, outcome, text = self.box("timeout 3 sh -c 'while :; do :; done'; true",
                                       "--cpus", "0.2", group=group, uid=uid)
        self.assertEqual(code, 0, text)
        self.assertLess(outcome["cpu_us"], 0.35 * outcome["wall_us"])

    def assert_metered(self, group, uid=0):
        code, outcome, text = self.box(
            "head -c 30m /dev/zero > file; python3 -c 'x = b\"x\" * (50 << 20)'; "
            "timeout 1 sh -c 'while :; do :; done'; true", "--cpus", "1", group=group, uid=uid)
        self.assertEqual(code, 0, text)
        self.assertGreater(outcome["memory_peak_bytes"], 70 << 20)
        self.assertLess(outcome["memory_peak_bytes"], 200 << 20)
        self.assertGreater(outcome["cpu_us"], 500000)
        self.assertIn(outcome["processes_peak"], range(2, 8))
        self.assertEqual(outcome["io_write_bytes"], 0)


    def repo(self, uid):
        repo = os.path.join(self.folder, f"repo-{uid}")
        if not os.path.exists(repo):
            os.mkdir(repo)
            write("one\ntwo\n", repo, "file")
            git = ["git", "-C", repo, "-c", "user.name=n", "-c", "user.email=e"]
            for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
                subprocess.run([*git, *words], check=True)
            subprocess.run(["chown", "-R", f"{uid}:{uid}", repo], check=True)
        return repo

    def until(self, what, condition):
        deadline = time.monotonic() + 60
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                self.fail(f"never: {what}")


class Root(Case):
    def test_all_layers(self):
        self.assertEqual(read("/proc/self/mountinfo").count(" - cgroup "), 0)
        self.assertEqual([name for name, (holds, _) in self.layers().items() if not holds], [])

    def test_limits(self):
        before = groups_below(TOP)
        self.assert_limited(TOP)
        self.assert_quota(TOP)
        self.assert_metered(TOP)
        self.assertEqual(groups_below(TOP), before)

    def test_the_session_is_left_alone(self):
        group = self.group("session.scope")
        with self.start(["sleep", "1000"], group) as shell:
            for _ in range(2):
                code, outcome, text = self.box(EAT, "--memory", "64m", "--disk", "16m",
                                               group=group)
                self.assertIsNotNone(outcome, text)
                self.assertEqual((code, outcome["limit"]), (124, "memory"), outcome)
                self.assertEqual(read(group, "cgroup.procs").split(), [str(shell.pid)])
                self.assertEqual(groups_below(group), [])

    def test_a_marked_service_keeps_all_below_itself(self):
        group = self.group("sbx.service")
        os.setxattr(group, "trusted.delegate", b"1")
        with self.start(["sleep", "1000"], group) as other:
            # What a box's own group is called can be seen while it is there.
            with self.start(["./sbx-box", "--empty", "--", "sh", "-c", "echo up; sleep 1000"],
                            group) as box:
                self.assertEqual(box.stdout.readline(), "up\n")
                self.assertEqual(groups_below(group), [box_group(box.pid), "sbx-host"])
                self.assertEqual(read(group, "cgroup.procs"), "")
                box.terminate()
                box.wait(20)
            self.assertIn(str(other.pid), read(group, "sbx-host/cgroup.procs").split())
            # Who is started by those below finds the same place, not one below.
            self.assert_limited(os.path.join(group, "sbx-host"))
            self.assertEqual(groups_below(group), ["sbx-host"])

    def test_io_is_counted(self):
        here = os.path.join(self.folder, "io")
        os.mkdir(here)
        path = os.path.join(self.folder, "outcome")
        code, _, errors = self.run_in(
            ["sh", "-c", "cd io && exec ../sbx-box --write --outcome-file ../outcome -- "
             "dd if=/dev/zero of=file bs=1M count=20 oflag=direct conv=fsync"])
        self.assertEqual(code, 0, errors)
        self.assertIn(json.loads(read(path))["io_write_bytes"] >> 20, range(20, 25))


class User(Case):
    def test_without_delegation(self):
        group = self.group("session-user.scope")
        layers = self.layers(group, USER)
        for name in ("cgroup_memory", "cgroup_pids", "cgroup_cpu"):
            self.assertFalse(layers[name][0])
            self.assertIn("not delegated to this user", layers[name][1])
        code, _, text = self.box("true", group=group, uid=USER)
        self.assertEqual(code, 125, text)
        self.assertIn("delegate a control group", text)
        code, outcome, text = self.box("true", "--allow-missing", "cgroup", group=group, uid=USER)
        self.assertEqual(code, 0, text)
        self.assertIn("cgroup_memory", outcome["missing"])
        self.assertEqual(groups_below(group), [])

    def test_delegated(self):
        group = self.group("user.scope", USER)
        layers = self.layers(group, USER)
        for name in ("cgroup_memory", "cgroup_pids", "cgroup_cpu", "cgroup_cpuacct", "cgroup_io"):
            self.assertTrue(layers[name][0], layers[name])
        inner = os.path.join(group, "sbx-host")
        self.assert_limited(inner, USER)
        self.assert_quota(inner, USER)
        self.assert_metered(inner, USER)
        self.assertEqual(groups_below(group), ["sbx-host"])
        self.assertEqual(groups_below(inner), [])

    def test_controllers_that_were_not_given(self):
        outer = self.group("partly")
        write("+memory +pids", outer, "cgroup.subtree_control")
        group = os.path.join(outer, "user")
        os.mkdir(group)
        for each in ("", "cgroup.procs", "cgroup.subtree_control"):
            os.chown(os.path.join(group, each), USER, USER)
        layers = self.layers(group, USER)
        self.assertTrue(layers["cgroup_memory"][0], layers)
        self.assertEqual(layers["cgroup_cpu"], (False, f"cpu: not given to the group {group}"))
        code, outcome, text = self.box(EAT, "--memory", "64m", "--disk", "16m",
                                       group=os.path.join(group, "sbx-host"), uid=USER)
        self.assertIsNotNone(outcome, text)
        self.assertEqual((code, outcome["limit"]), (124, "memory"))

    def test_killed_box_is_swept(self):
        group = self.group("killed.scope", USER)
        with self.start(["./sbx-box", "--empty", "--", "sh", "-c", "echo up; sleep 1000"],
                        group, USER) as box:
            self.assertEqual(box.stdout.readline(), "up\n")
            left = box_group(box.pid)
            box.send_signal(signal.SIGKILL)
        self.assertIn(left, groups_below(group))
        code, _, text = self.box("true", group=os.path.join(group, "sbx-host"), uid=USER)
        self.assertEqual(code, 0, text)
        self.assertEqual(groups_below(group), ["sbx-host"])


class Runs(Case):
    """sbx-run: a whole job, from the repository to its verdict."""

    def job(self, uid, **fields):
        path = os.path.join(self.folder, "job.json")
        job = {"v": 1, "source": {"repo": self.repo(uid), "commit": "HEAD"},
               "patch": {"diff": "--- a/file\n+++ b/file\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"},
               **fields}
        write(json.dumps(job), path)
        os.chmod(path, 0o644)
        return path

    def run_job(self, group, uid, *options, **fields):
        state = os.path.join(self.folder, f"state-{uid}")
        code, out, errors = self.run_in(["./sbx-run", "--json", "--state-dir", state, *options,
                                         self.job(uid, **fields)], group, uid)
        self.assertTrue(out, errors)
        return code, json.loads(out)

    def assert_runs(self, group, uid, *options):
        code, result = self.run_job(group, uid, *options, steps=[
            {"run": ["sh", "-c", "grep -qx 2 file && rm -r . 2>/dev/null; mkdir d; echo x > d/y"]}])
        self.assertEqual((code, result["verdict"]), (0, "passed"), result)
        return result

    def assert_holds(self, group, uid, later):
        self.assert_runs(group, uid)
        code, result = self.run_job(later, uid, steps=[{"run": ["sh", "-c", EAT]}],
                                    limits={"memory_bytes": 64 << 20, "disk_bytes": 32 << 20})
        self.assertEqual((code, result["verdict"]), (4, "limit"), result)
        self.assertIn("limit.memory", json.dumps(result["reason"]))

    def test_root(self):
        self.assert_holds(TOP, 0, TOP)

    def test_user_with_delegation(self):
        group = self.group("jobs.scope", USER)
        self.assert_holds(group, USER, os.path.join(group, "sbx-host"))
        self.assertEqual(groups_below(group), ["sbx-host"])

    def test_user_without(self):
        group = self.group("plain.scope")
        self.assert_runs(group, USER, "--allow-missing", "cgroup")
        code, result = self.run_job(group, USER, steps=[{"run": ["true"]}], max_attempts=1)
        self.assertEqual((code, result["reason"]["code"]), (3, "policy.cgroup"), result)


class Worker(Case):
    """A whole worker is killed at once, as systemd does it, and started anew."""

    def busy(self, group):
        """Groups of boxes in which a step runs, with their inodes."""
        found = {}
        for name in groups_below(group):
            with contextlib.suppress(OSError):  # it may go at any time
                if name.count("-") > 2 and read(group, name, "cgroup.procs").count("\n") > 1:
                    found[name] = os.stat(os.path.join(group, name)).st_ino
        return found

    def assert_sweeps(self, group, uid):
        state, queue = (os.path.join(self.folder, f"{name}-{uid}") for name in ("worker", "queue"))
        os.mkdir(queue)
        os.chown(queue, uid, uid)
        url = f"sqlite:{queue}/queue.db"
        inner = os.path.join(group, "sbx-host")
        serve = ["./sbx-worker", "--queue", url, "--set", f"worker.state_dir={state}",
                 "--set", f"sources.allow={self.folder}/", "--set", "commands.allow=off", "serve"]
        code, _, errors = self.run_in(
            ["./sbx-submit", "--queue", url, "--repo", self.repo(uid), "--commit", "HEAD",
             "--shell", "sleep 1000"], group, uid)
        self.assertEqual(code, 0, errors)
        with self.start(serve, group, uid) as worker:
            left = self.until("a running step", lambda: self.busy(group))
            self.assertEqual(read(group, list(left)[0], "cpu.weight.nice").strip(), "5")
            write("1", inner, "cgroup.kill")
            worker.wait(20)
        self.until("the death of the step", lambda: not self.busy(group))
        self.assertIn(list(left)[0], groups_below(group))
        with self.start(serve, inner, uid) as worker:
            self.until("a running step", lambda: self.busy(group))
            self.assertFalse(set(left.values()) & {each.inode() for each in os.scandir(group)})
            write("1", inner, "cgroup.kill")
            worker.wait(20)

    def test_root(self):
        group = self.group("worker.service")
        os.setxattr(group, "trusted.delegate", b"1")
        self.assert_sweeps(group, 0)

    def test_user(self):
        self.assert_sweeps(self.group("worker-user.service", USER), USER)


if __name__ == "__main__":
    if os.getuid() != 0 or read("/proc/self/mountinfo").count(" - cgroup "):
        sys.exit("to be run as root where there is nothing but cgroup v2: see tests/vm/run")
    unittest.main(verbosity=2)
