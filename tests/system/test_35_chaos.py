"""Chaos: processes of the worker and its broker are killed at random while jobs run.

    SBX_CHAOS_SECONDS=300 SBX_CHAOS_SEED=7 tests/system/test_35_chaos.py

Jobs of all kinds are enqueued while supervisor, zygote, publisher, storekeeper,
executors, inits and the broker are killed with -9 at random moments; the
worker is started again whenever it has ended. Afterwards every job whose
publication was confirmed has one result, however often it was sent; every
message that is no job has a dead letter; and nothing is left behind.

The choices follow the seed, which is printed; when things happen does not.
"""
import os
import random
import secrets
import signal
import subprocess
import time
import unittest

import msgpack
import pika
import sbxtest

SECONDS = float(os.environ.get("SBX_CHAOS_SECONDS", "30"))  # of killing; then it settles
SEED = int(os.environ.get("SBX_CHAOS_SEED", secrets.randbelow(1 << 31)))
SETTLE_S = 120
OUTSTANDING = 30

# How often each is chosen, compared with the others.
TARGETS = {"supervisor": 3, "zygote": 2, "publisher": 2, "storekeeper": 2, "executor": 5,
           "init": 5, "broker": 1}


class Chaos(sbxtest.Case):
    def setUp(self):
        self.random = random.Random(SEED)
        self.repo.commit({"README": "x\n"})
        self.diff = self.repo.diff({"README": "y\n"})
        # A job that was hit twice has its dead letter soon, and none is poison before that.
        self.worker = self.worker_of(worker__max_attempts=2, worker__poison_cap=100)
        self.jobs = {}  # confirmed, by id: the verdicts that are right when nothing hits it
        self.bodies = set()  # confirmed messages that are no jobs
        self.kills = {name: 0 for name in TARGETS}
        self.lost_publications = 0

    # --- jobs ---------------------------------------------------------------

    def make_job(self):
        """A job and the verdict of a quiet day."""
        kind = self.random.choice(("base", "step", "step", "sleep", "patch", "rejected", "failed"))
        if kind == "base":
            return sbxtest.job_of(self.repo, steps=()), "passed"
        if kind == "sleep":
            seconds = self.random.uniform(0.05, 2)
            return sbxtest.job_of(self.repo, steps=[["sleep", f"{seconds:.2f}"]]), "passed"
        if kind == "patch":
            return sbxtest.job_of(self.repo, self.diff, ["grep -q y README"]), "passed"
        if kind == "rejected":
            return sbxtest.job_of(self.repo, self.diff.replace(b"-x", b"-z")), "rejected"
        return sbxtest.job_of(self.repo, steps=[["true" if kind == "step" else "false"]]), \
            "passed" if kind == "step" else "failed"

    def publish(self, send):
        """Whether the broker has confirmed it; one that is down takes nothing."""
        try:
            send()
            return True
        except (pika.exceptions.AMQPError, OSError):
            self.lost_publications += 1
            return False

    def enqueue(self):
        if self.random.random() < 0.05:
            body = b"\xc1" + secrets.token_bytes(8)
            if self.publish(lambda: self.client.publish_raw(body)):
                self.bodies.add(body)
            return
        job, verdict = self.make_job()
        if self.publish(lambda: self.client.publish(job)):
            self.jobs[job["id"]] = verdict

    def unanswered(self):
        try:
            self.client.collect()
        except (pika.exceptions.AMQPError, OSError):
            pass
        return [job for job in self.jobs if job not in self.client.results]

    # --- kills --------------------------------------------------------------

    def pids_of(self, target):
        if target in ("zygote", "publisher", "storekeeper"):
            return [self.worker.role(target)]
        executors = self.worker.executors()
        if target == "executor":
            return executors
        zygote = self.worker.role("zygote")
        return [pid for pid, (parent, _) in sbxtest.leftovers.parents().items()
                if parent == zygote and pid not in executors]

    def kill(self, target):
        self.kills[target] += 1
        if target == "supervisor":
            self.worker.kill()
        elif target == "broker":
            subprocess.run([sbxtest.BROKER, "kill", sbxtest.BROKER_DIR], check=True)
            subprocess.run([sbxtest.BROKER, "start", sbxtest.BROKER_DIR], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        else:
            try:
                os.kill(self.random.choice(self.pids_of(target)), signal.SIGKILL)
            except (ProcessLookupError, IndexError, KeyError, ValueError):
                self.kills[target] -= 1  # it was gone before

    def keep_running(self):
        if self.worker.process is None or self.worker.process.poll() is not None:
            self.worker.start(ready=False)

    def rage(self):
        targets = [name for name in TARGETS if name != "broker" or sbxtest.BROKER_DIR]
        weights = [TARGETS[name] for name in targets]
        until = time.monotonic() + SECONDS
        # A broker that is killed before it has written down what it has just made loses it:
        # test_34_lost_stream.py.
        next_kill = time.monotonic() + 3

        def turn():
            nonlocal next_kill
            self.keep_running()
            if len(self.unanswered()) < OUTSTANDING:
                self.enqueue()
            if time.monotonic() > next_kill:
                self.kill(self.random.choices(targets, weights)[0])
                next_kill = time.monotonic() + self.random.uniform(0.05, 1.5)
            return time.monotonic() > until and self.raged_enough()

        sbxtest.poll(turn, "the end of the killing", SECONDS + 300)

    def raged_enough(self):
        """A busy machine takes longer."""
        return len(self.jobs) > SECONDS / 2 and sum(self.kills.values()) > SECONDS / 5

    # --- the judgement ------------------------------------------------------

    def collect_dead(self):
        letters = []
        while self.client.depth("dead") > 0:
            letters.append(self.client.dead_letter())
        return letters

    def still_open(self):
        """Without a result, or on the way to another attempt."""
        self.keep_running()
        return self.unanswered() + [suffix for suffix in ("wait.5s", "jobs")
                                    if self.client.depth(suffix) > 0]

    def assert_only_repetitions_wait(self):
        """A worker that died between confirm and ack leaves its job for the next, which is
        answered from the ledger; the end may come before that."""
        while self.client.depth("jobs") > 0:
            method, _, body = self.client.with_channel(
                lambda channel: channel.basic_get(self.client.name("jobs"), auto_ack=True))
            if method is not None and body not in self.bodies:
                self.assertIn(msgpack.unpackb(body)["id"], self.client.results)

    def test_chaos(self):
        print(f"seed {SEED}, {SECONDS} s", flush=True)
        self.worker.start()
        self.rage()
        sbxtest.poll(lambda: not self.still_open(),
                     lambda: f"the end of {self.still_open()} (seed {SEED})\n"
                     f"{self.worker.log()[-4000:]}", SETTLE_S, 0.1)
        self.assertEqual(self.worker.stop(), 0, self.worker.log()[-4000:])
        letters = self.collect_dead()
        dead = {letter["message_id"] for letter in letters}
        ends = {}
        for job_id, verdict in self.jobs.items():
            self.assert_one_result(job_id)
            got = self.client.results[job_id][-1]["result"]["verdict"]
            ends[got] = ends.get(got, 0) + 1
            self.assertIn(got, (verdict, "error"), self.client.results[job_id])
            if got == "error":
                self.assertIn(job_id, dead)
        self.assertLessEqual(self.bodies, {letter["body"] for letter in letters})
        self.assert_only_repetitions_wait()
        self.assert_nothing_half_done()
        copies = sum(len(copies) for copies in self.client.results.values())
        print(f"{len(self.jobs)} jobs, {copies} results {ends}, {len(letters)} dead letters, "
              f"{len(self.bodies)} were no jobs, {self.lost_publications} not confirmed, "
              f"{self.worker.starts} starts, kills {self.kills}", flush=True)

    def assert_nothing_half_done(self):
        """Of the dead workers the state directory keeps locks, refs and the ledger."""
        self.assertEqual(os.listdir(os.path.join(self.worker.state, "store/tmp")), [])
        for folder, _, names in os.walk(self.worker.state):
            for name in names:
                self.assertFalse(name.startswith("tmp_obj_") or name.endswith(".lock~"),
                                 f"{folder}/{name}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
