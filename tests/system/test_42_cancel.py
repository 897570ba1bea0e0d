"""A cancel stops a job wherever it is, on both carriers, and never a job that has finished."""
import os
import secrets
import signal
import subprocess
import time
import unittest

import sbxtest
from test_85_embedded import EmbeddedCase


def marked_sleep():
    """A step that many processes run, and the argument that all of them show."""
    mark = f"{secrets.randbelow(10 ** 6) + 10 ** 6}.5"
    return mark, f"trap '' TERM; for i in 1 2 3; do (setsid sleep {mark} &) ; done; sleep {mark}"


def alive(mark):
    return [pid for pid in os.listdir("/proc") if pid.isdigit()
            and mark.encode() in sbxtest.leftovers.read(f"/proc/{pid}/cmdline")]


class Cancels:
    """What holds on every carrier; a carrier's case says how to send and to read."""

    config = {"worker__slots": 1}

    def cancel(self, *job_ids, options=()):
        done = self.submit("cancel", *job_ids, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def start_long(self, worker, mark_and_step=None):
        mark, step = mark_and_step or marked_sleep()
        job = sbxtest.job_of(self.repo, steps=[step])
        self.publish(job)
        sbxtest.poll(lambda: len(alive(mark)) >= 4, "the step's processes", 30)
        return job, mark

    def assert_cancelled(self, worker, job):
        result = self.result_of(worker, job["id"])
        self.assert_verdict(result, "cancelled", "job.cancelled")
        return result

    def history(self, worker, job):
        done = subprocess.run(
            [os.path.join(sbxtest.BIN, "sbx-worker"), "history", "--json", "--job", job["id"],
             "--config", worker.config_path], capture_output=True, text=True, check=True,
            env=sbxtest.clean_env(self.folder))
        return done.stdout

    def test_running_job_ends_within_a_second_with_all_its_processes(self):
        worker = self.start(**self.config)
        job, mark = self.start_long(worker)
        begun = time.monotonic()
        self.cancel(job["id"])
        sbxtest.poll(lambda: not alive(mark), "the end of the step's processes", 5, 0.005)
        took = time.monotonic() - begun
        result = self.assert_cancelled(worker, job)
        self.assertIn("stopped", [state["state"] for state in result["states"]])
        self.assertIn("before_patch", result["snapshots"])
        self.assertIn('"cancelled"', self.history(worker, job))
        self.assertLess(took, 1.5, "a second, and the time to start the command")

    def test_job_that_waits_for_a_slot_is_not_run(self):
        worker = self.start(**self.config)
        first, _ = self.start_long(worker)
        second = sbxtest.job_of(self.repo, steps=[["touch", "ran"]])
        self.publish(second)
        self.cancel(second["id"], first["id"])
        self.assert_cancelled(worker, first)
        result = self.assert_cancelled(worker, second)
        self.assertNotIn("steps", result)

    def test_queued_job_is_stopped_when_it_is_received(self):
        worker = self.start(**self.config)
        self.assertEqual(worker.stop(), 0)
        job = sbxtest.job_of(self.repo)
        base = sbxtest.job_of(self.repo, steps=())
        other = sbxtest.job_of(self.repo)
        for each in (job, base, other):
            self.publish(each)
        self.cancel(job["id"], base["id"])
        worker.start()
        self.assert_cancelled(worker, job)
        self.assert_cancelled(worker, base)
        self.assert_verdict(self.result_of(worker, other["id"]), "passed")

    def test_cancel_comes_before_its_job(self):
        worker = self.start(**self.config)
        job = sbxtest.job_of(self.repo)
        self.cancel(job["id"])
        self.publish(job)
        self.assert_cancelled(worker, job)

    def test_cancelling_twice_and_what_nobody_knows_changes_nothing(self):
        worker = self.start(**self.config)
        job, _ = self.start_long(worker)
        self.cancel("nobody-knows-" + secrets.token_hex(4))
        self.cancel(job["id"])
        self.cancel(job["id"], job["id"])
        self.assert_cancelled(worker, job)
        later = sbxtest.job_of(self.repo)
        self.publish(later)
        self.assert_verdict(self.result_of(worker, later["id"]), "passed")

    def test_finished_job_keeps_its_result(self):
        worker = self.start(**self.config)
        job = sbxtest.job_of(self.repo)
        self.publish(job)
        self.assert_verdict(self.result_of(worker, job["id"]), "passed")
        done = self.submit("cancel", job["id"], "--wait", "--timeout", "20s")
        self.assertEqual(done.returncode, self.exit_of_finished, done.stdout + done.stderr)
        self.publish(job)
        sbxtest.poll(lambda: worker.logged(rf"finished before.*{job['id']}"), "the redelivery")
        self.assert_verdict(self.result_of(worker, job["id"]), "passed")

    def test_waiting_ends_with_the_exit_code_of_cancelled(self):
        worker = self.start(**self.config)
        job, _ = self.start_long(worker)
        done = self.submit("cancel", job["id"], "--wait", "--timeout", "20s")
        self.assertEqual(done.returncode, sbxtest.EXIT["cancelled"], done.stdout + done.stderr)
        self.assertIn("cancelled", done.stdout)

    def start_waiting(self, worker):
        """A job whose first attempt has failed: it is in the wait queue of 5 s."""
        away = os.path.join(self.folder, "repos", "away-" + secrets.token_hex(4))
        job = sbxtest.job_of(self.repo, self.repo.diff({"README": "two\n"}), stage="first",
                             source={"repo": away, "commit": self.repo.head()},
                             labels={"for": "the result"}, artifacts={"paths": ["*.log"]})
        self.publish(job)
        sbxtest.poll(lambda: self.depth(worker, "wait.5s") == 1, "the first attempt")
        return job

    def assert_answered_in_the_wait_queue(self, worker, job):
        result = self.assert_cancelled(worker, job)
        self.assertEqual(self.depth(worker, "wait.5s"), 1, "the message has not come back yet")
        self.assertEqual((result["attempt"], result["stage"], result["labels"]),
                         (2, "first", {"for": "the result"}))
        self.assertNotIn("steps", result)
        sbxtest.poll(lambda: not any(self.depth(worker, name) for name in ("wait.5s", "jobs")),
                     "its return")

    def test_job_that_waits_for_another_attempt_is_answered_at_once(self):
        worker = self.start(**self.config)
        job = self.start_waiting(worker)
        self.cancel(job["id"])
        self.assert_answered_in_the_wait_queue(worker, job)
        sbxtest.poll(lambda: worker.logged(rf"finished before.*{job['id']}"), "its return")
        self.assert_cancelled(worker, job)

    def test_killed_worker_still_knows_what_waits(self):
        worker = self.start(**self.config)
        job = self.start_waiting(worker)
        worker.kill()
        worker.start()
        self.cancel(job["id"])
        self.assert_answered_in_the_wait_queue(worker, job)

    def test_another_worker_that_receives_it_later_says_the_same(self):
        worker = self.start(**self.config)
        job = self.start_waiting(worker)
        self.cancel(job["id"])
        self.assert_cancelled(worker, job)
        self.assertEqual(worker.stop(), 0)
        other = self.start(**self.config)
        sbxtest.poll(lambda: not any(self.depth(other, name) for name in ("wait.5s", "jobs")),
                     "its return")
        self.assert_cancelled(other, job)

    def test_killed_worker_knows_the_cancel_when_it_is_back(self):
        worker = self.start(**self.config)
        job, _ = self.start_long(worker)
        worker.kill()
        self.cancel(job["id"])
        worker.start()
        self.assert_cancelled(worker, job)

    def test_stopped_executor_does_not_outlive_the_second(self):
        """An executor that does not listen is killed, and so is all below it."""
        worker = self.start(**self.config)
        job, mark = self.start_long(worker)
        for executor in worker.executors():  # the one that waits for a job is as deaf
            os.kill(executor, signal.SIGSTOP)
        begun = time.monotonic()
        self.cancel(job["id"])
        sbxtest.poll(lambda: not alive(mark), "the end of the step's processes", 5, 0.005)
        took = time.monotonic() - begun
        self.assert_cancelled(worker, job)
        self.assertLess(took, 1.8)


class Broker(Cancels, sbxtest.Case):
    exit_of_finished = 6  # the test has read the result from the shared queue: nothing comes

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\n"})

    def start(self, **config):
        worker = self.worker_of("worker-" + secrets.token_hex(3), **config).start()
        self.client.alive = worker.assert_alive
        self.addCleanup(self.stop, worker)
        return worker

    def stop(self, worker):
        if worker.process and worker.process.poll() is None:
            self.assertEqual(worker.stop(), 0, worker.log()[-4000:])

    def publish(self, job):
        self.client.publish(job)

    def depth(self, worker, suffix):
        worker.assert_alive()
        return self.client.depth(suffix)

    def test_worker_waits_for_a_control_stream_that_is_not_up_yet(self):
        """As after a start of the broker; here its process is ended again and again."""
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours")
        worker = self.start(**self.config)
        self.assertEqual(worker.stop(), 0)
        children = "supervisor:which_children(osiris_server_sup)"
        down = subprocess.Popen(
            [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "eval",
             f"io:format(\"down~n\"), [begin [supervisor:terminate_child(osiris_server_sup, "
             f"element(1, C)) || C <- {children}], timer:sleep(5) end || _ <- lists:seq(1, 600)]."],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(down.stdout.close)
        self.addCleanup(down.wait)
        sbxtest.poll(lambda: b"down" in down.stdout.readline(), "the end of the streams")
        worker.start()
        job = sbxtest.job_of(self.repo)
        self.cancel(job["id"])
        self.publish(job)
        self.assert_cancelled(worker, job)

    def submit(self, *arguments):
        return self.program("sbx-submit", *arguments, "--queue", sbxtest.BROKER_URL, "--prefix",
                            self.prefix)

    def result_of(self, worker, job_id):
        result = self.client.wait(job_id)
        self.assert_one_result(job_id)
        return result


class Embedded(Cancels, EmbeddedCase):
    exit_of_finished = 0  # it is found among the results

    def setUp(self):
        self.place(os.path.join(self.folder, "queue-" + secrets.token_hex(3)))

    def start(self, **config):
        worker = self.worker_of("worker-" + secrets.token_hex(3), queue__url=self.url,
                                **config).start()
        self.addCleanup(self.stop, worker)
        return worker

    def depth(self, worker, suffix):
        worker.assert_alive()
        return len(self.rows(suffix))

    def publish(self, job):
        done = self.send(job)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
