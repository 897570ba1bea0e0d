"""The main road for a worker that an ordinary user starts."""
import array
import errno
import os
import resource
import secrets
import socket

import sbxtest

# Outside of what a machine gives out, and not the range that workers use as root.
USER = 61000 + secrets.randbelow(4000)

# Sends descriptors that nobody receives, as many as the kernel lets it.
SEND_ALL = """
import array, itertools, signal, socket
for pair in (socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in itertools.count()):
    try:
        globals().setdefault("kept", []).append(pair)
        while True:
            pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                      array.array("i", [0] * 253))], socket.MSG_DONTWAIT)
    except BlockingIOError:
        continue
    except OSError:
        break
signal.pause()
"""


def can_send(files):
    """Whether a process of the user that may have so many descriptors open can send one."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        os.setgid(USER)
        os.setuid(USER)
        pair = socket.socketpair()
        try:
            pair[0].sendmsg(
                [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, errno.ETOOMANYREFS), status
    return status == 0


def setUpModule():
    sbxtest.need_root()


class WithoutPermission(sbxtest.Case):
    user = USER

    def test_missing_cgroups_are_refused_unless_the_operator_allows_it(self):
        worker = self.worker_of()
        worker.start(ready=False)
        self.addCleanup(worker.stop)
        job = sbxtest.job_of(self.repo_with_a_commit())
        # It may refuse to start at all, or refuse the job: never run it unlimited.
        sbxtest.poll(lambda: worker.process.poll() is not None or
                     worker.logged(r"\bmsg=ready\b"), "an end or readiness", 30)
        if worker.process.poll() is None:
            self.client.publish(job)
            self.assert_verdict(self.client.wait(job["id"]), "rejected", "policy.cgroup")
        else:
            self.assertNotEqual(worker.process.returncode, 0)
            self.assertIn("cgroup", worker.log())
            self.assertIn("allow_missing", worker.log())

    def repo_with_a_commit(self):
        self.repo.commit({"README": "x\n"})
        return self.repo


class MainRoad(sbxtest.WorkerCase):
    user = USER
    config = {"sandbox__allow_missing": "cgroup", "worker__slots": 2}

    def test_every_process_of_the_worker_is_the_users(self):
        for pid in [self.worker.process.pid, *self.worker.processes()]:
            self.assertEqual(os.stat(f"/proc/{pid}").st_uid in (USER, 0), True)
            with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
                uids = [line.split()[1:] for line in stream if line.startswith("Uid:")][0]
            self.assertEqual(set(uids), {str(USER)}, pid)

    def test_a_patch_is_applied_and_tested(self):
        diff = self.repo.diff({"README": "one\n2\nthree\n", "dir/new": "n\n"})
        result = self.run_job(diff, ["grep -qx 2 README && cat dir/new && echo made > made"])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], b"n\n")
        self.assertIn("made", [each["path"] for each in result["changes"]])
        self.assertTrue(any("cgroup" in each for each in result["missing"]), result["missing"])

    def test_isolated_is_a_whole_box_or_none(self):
        asked = self.run_job(steps=["true"], security="isolated")
        self.assert_verdict(asked, "rejected", "policy.security", "security")
        self.assertIn("uid_per_slot", asked["reason"]["message"])
        # Findings make a job as isolated as this host can be, and what lacks is listed.
        chosen = self.run_job(self.repo.diff({"Makefile": "all:\n\ttrue\n"}), ["true"])
        self.assert_verdict(chosen, "passed")
        self.assertEqual(chosen["security"]["mode"], "isolated")
        self.assertIn("uid_per_slot", chosen["missing"])

    def test_check_says_when_every_job_would_be_rejected(self):
        done = self.worker_of("strict", security__least="isolated",
                              sandbox__allow_missing="cgroup").check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("every job is rejected", done.stdout)

    def test_descriptors_on_their_way_stop_no_other_job(self):
        greedy = sbxtest.job_of(self.repo, steps=[["/usr/bin/python3", "-c", SEND_ALL]],
                                limits={"wall_ms": 4000})
        self.client.publish(greedy)
        sbxtest.poll(lambda: not can_send(1024), "descriptors on their way")
        # With words and files that are sent as descriptors themselves.
        self.assert_verdict(self.run_job(self.repo.diff({"new": "n\n"}),
                                         [["true", "x" * 10000]]), "passed")
        self.assertFalse(can_send(1024))
        self.assert_verdict(self.client.wait(greedy["id"]), "limit", "limit.wall")

    def test_what_was_used_is_said_without_control_groups(self):
        burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
        metrics = self.run_job(steps=[["/usr/bin/python3", "-c", burn]])["metrics"]
        self.assertGreaterEqual(metrics["cpu_us"], 200_000)
        self.assertGreater(metrics["memory_peak_bytes"], 1 << 20)

    def test_files_of_the_base_can_be_changed_and_removed(self):
        self.assert_verdict(self.run_job(steps=["echo x >> README && rm README && mkdir README"]),
                            "passed")

    def test_failures_and_refusals(self):
        self.assert_verdict(self.run_job(steps=[["false"]]), "failed", "step.failed")
        self.assert_verdict(self.run_job(b"no diff"), "rejected", "patch.malformed")

    def test_the_limits_that_need_no_cgroup(self):
        for name, step, limits in (
                ("wall", ["sleep", "60"], {"wall_ms": 500}),
                ("idle", ["sleep", "60"], {"idle_ms": 500}),
                ("disk", "head -c 64m /dev/zero > big", {"disk_bytes": 8 << 20}),
                ("file", "head -c 8m /dev/zero > big", {"file_bytes": 1 << 20}),
                ("output", ["yes"], {"output_bytes": 1 << 20})):
            with self.subTest(limit=name):
                self.assert_verdict(self.run_job(steps=[step], limits=limits), "limit",
                                    "limit." + name)

    def test_the_sandbox_holds(self):
        result = self.run_job(steps=["id -u; cat /etc/shadow; ls /root; ls /home; "
                                     "touch /usr/x; exit 0"])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"].split(b"\n")[0], b"1000")
        self.assertNotIn(b"root:", result["steps"][0]["stdout"])
        self.assertIn(b"/usr/x", result["steps"][0]["stderr"])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
