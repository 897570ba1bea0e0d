"""Whatever dies, every job ends in exactly one result and nothing stays behind."""
import ctypes
import os
import secrets
import signal
import subprocess
import unittest

import sbxtest

BROKER = sbxtest.BROKER


def pidfd_getfd(pidfd, number):
    """A copy of another process's descriptor: the system call of this name, everywhere the same."""
    copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return copy


class Crash(sbxtest.Case):
    """Each test has a worker of its own on one slot."""

    def setUp(self):
        self.repo = sbxtest.Repo(os.path.join(self.folder, "repos", secrets.token_hex(4)))
        self.repo.commit({"README": "x\n"})
        self.worker = self.worker_of("w-" + secrets.token_hex(4), worker__slots=1,
                                     worker__state_dir=os.path.join(self.folder, "state"))
        self.addCleanup(self.end)

    def end(self):
        self.assertEqual(self.worker.stop(), 0, self.worker.log()[-4000:])

    def submit(self, seconds, **fields):
        """A job that can be seen running by the name of its process."""
        job = sbxtest.job_of(self.repo, steps=[["sleep", str(seconds)]], **fields)
        self.client.publish(job)
        return job["id"]

    def running(self):
        return [pid for pid, name in self.worker.processes().items() if name == "sleep"]

    def wait_running(self):
        return sbxtest.poll(self.running, f"the step runs\n{self.worker.log()[-3000:]}", 30)

    def assert_passed_once(self, job_id, timeout=60):
        result = self.client.wait(job_id, timeout)
        self.assert_verdict(result, "passed")
        self.assert_one_result(job_id)
        return result

    def assert_gone(self, pids):
        sbxtest.poll(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}/ns")
                                  and pid in sbxtest.leftovers.parents()],
                     f"the end of {pids}", 10)

    # --- the worker -----------------------------------------------------

    def test_worker_killed_in_the_middle_of_a_job(self):
        self.worker.start()
        job_id = self.submit(2)
        self.wait_running()
        self.assert_gone(self.worker.kill())
        self.assertEqual(self.client.results_of(job_id), [])
        self.worker.start()
        self.assertEqual(self.assert_passed_once(job_id)["attempt"], 2)

    def test_the_end_of_a_role_is_noticed_while_its_socket_lives_on(self):
        """A child that a role had just made may have copies of all its descriptors."""
        for role in ("zygote", "storekeeper", "publisher"):
            self.worker.start()
            pid = self.worker.role(role)
            pidfd = os.pidfd_open(pid)
            copy = pidfd_getfd(pidfd, 3)  # its socket to the supervisor, worker/role.h
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(self.worker.wait(15), 1)
            os.close(copy)
            os.close(pidfd)
            self.worker.process = None

    def test_worker_killed_again_and_again(self):
        self.worker.start()
        ids = [self.submit(0.1) for _ in range(20)]
        for _ in range(4):
            done = len(self.client.results)
            sbxtest.poll(lambda before=done: self.client.collect() or
                         len(self.client.results) > before or self.running(), "work goes on", 30)
            self.assert_gone(self.worker.kill())
            self.worker.start()
        for job_id in ids:
            self.client.wait(job_id, 60)
            self.assert_one_result(job_id)
            self.assertIn(self.client.results[job_id][0]["result"]["verdict"], ("passed", "error"))

    def test_a_job_that_kills_its_worker_each_time_is_dead_lettered(self):
        self.worker.config["worker.poison_cap"] = "2"
        self.worker.start()
        job_id = self.submit(60, max_attempts=10)
        for _ in range(2):
            self.wait_running()
            self.assert_gone(self.worker.kill())
            self.worker.start()
        result = self.client.wait(job_id, 60)
        self.assert_verdict(result, "error", "job.poison")
        self.assertEqual(result["attempt"], 2)
        letter = self.client.dead_letter()
        self.assertEqual(letter["headers"]["x-sbx-reason"], "job.poison")

    def test_idle_worker_killed(self):
        self.worker.start()
        self.assert_gone(self.worker.kill())
        self.worker.start()
        self.assert_passed_once(self.submit(0))

    # --- its processes --------------------------------------------------

    def test_executor_killed_is_another_attempt(self):
        self.worker.start()
        job_id = self.submit(2)
        [step] = self.wait_running()
        for pid in self.worker.executors():
            os.kill(pid, signal.SIGKILL)
        self.assert_gone([step])
        result = self.assert_passed_once(job_id)
        self.assertEqual(result["attempt"], 2)

    def test_sandbox_init_killed_is_another_attempt(self):
        self.worker.start()
        job_id = self.submit(2)
        [step] = self.wait_running()
        os.kill(sbxtest.leftovers.parents()[step][0], signal.SIGKILL)
        self.assert_gone([step])
        self.assertEqual(self.assert_passed_once(job_id)["attempt"], 2)

    def test_each_role_killed(self):
        self.worker.start()
        for role in ("publisher", "storekeeper", "zygote"):
            with self.subTest(role=role):
                job_id = self.submit(1)
                self.wait_running()
                os.kill(self.worker.role(role), signal.SIGKILL)
                # The worker either replaces the role or ends; then it is started anew.
                sbxtest.poll(lambda wanted=job_id: self.worker.process.poll() is not None or
                             self.client.results_of(wanted), "a result or an end", 60)
                if self.worker.process.poll() is not None:
                    self.worker.start()
                self.assert_passed_once(job_id)

    # --- the broker -----------------------------------------------------

    @unittest.skipUnless(sbxtest.BROKER_DIR, "no SBX_TEST_BROKER_DIR: the broker is not ours")
    def test_broker_restarted_in_the_middle_of_a_job(self):
        self.worker.start()
        job_id = self.submit(3)
        self.wait_running()
        for verbs in (["restart"], ["kill", "start"]):
            for verb in verbs:
                subprocess.run([BROKER, verb, sbxtest.BROKER_DIR], check=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            with self.subTest(verbs=verbs):
                self.assert_passed_once(job_id, 90)
            job_id = self.submit(0)
        self.assert_passed_once(job_id, 90)

    # --- signals --------------------------------------------------------

    def test_sigterm_drains(self):
        self.worker.start()
        running = self.submit(2)
        self.wait_running()
        waiting = self.submit(0)
        self.assertEqual(self.worker.stop(), 0)
        self.assert_passed_once(running)
        self.assertEqual(self.client.results_of(waiting), [])
        self.worker.start()
        self.assert_passed_once(waiting)

    def test_a_second_sigterm_hands_the_job_back(self):
        self.worker.start()
        job_id = self.submit(600)
        [step] = self.wait_running()
        self.worker.signal(signal.SIGTERM)
        sbxtest.poll(lambda: self.worker.logged(r"msg=\"?drain"), "the drain in the log", 10)
        self.assertTrue(self.running())
        self.worker.signal(signal.SIGTERM)
        self.worker.wait(20)
        self.assert_gone([step])
        sbxtest.poll(lambda: self.client.depth("jobs") == 1, "the job is in its queue again", 20)
        self.assertEqual(self.client.results_of(job_id), [])
        self.client.purge("jobs")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
