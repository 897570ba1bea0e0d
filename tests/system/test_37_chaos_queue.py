"""Chaos of the queue: kills amid a stream of jobs, in each state of a job, of the broker amid
traffic, and a broker without memory. See chaos.py.
"""
import re
import secrets
import subprocess
import threading
import unittest

import msgpack
import sbxtest
from chaos import GROWTH_KIB, LASTING, LONG, ROLES, SCALE, Chaos

# A job with a diff, a step and an artifact goes through these.
STATES = ("received", "admitted", "fetched", "snapshotted", "checked", "patched", "prepared",
          "running", "reported", "collected", "settled", "published")
# Those that last long enough to be hit when one waits for them.
LASTING_STATES = ("admitted", "snapshotted", "patched", "prepared", "running", "reported",
                  "collected", "settled")

LIFE_S = 0.015  # of a job with a diff and the shortest step, from its first byte sent


class States:
    """The states of jobs as the worker tells them, read while it runs."""

    def __init__(self, client):
        self.client = client
        self.last = {}
        self.queue = client.with_channel(
            lambda channel: channel.queue_declare("", exclusive=True)).method.queue
        client.with_channel(lambda channel: channel.queue_bind(
            self.queue, client.name("events"), "job.*.state"))

    def read(self):
        while True:
            method, _, body = self.client.with_channel(
                lambda channel: channel.basic_get(self.queue, auto_ack=True))
            if method is None:
                return
            event = msgpack.unpackb(body)
            self.last[event["id"]] = event["state"]

    def reached(self, job_id, state):
        """In this state or behind it."""
        self.read()
        last = self.last.get(job_id)
        return last is not None and (last not in STATES or
                                     STATES.index(last) >= STATES.index(state))


class Kills(Chaos):
    def test_kills_amid_a_stream_of_jobs(self):
        jobs = int(2000 * SCALE) if LONG else 1000
        self.start("stream", worker__events="false")
        kills = 0
        for number in range(jobs):
            self.publish(self.noop())
            if number % 100 == 99:
                self.await_worker()
                self.sample()
                kills += self.kill(self.random.choice(LASTING))
                self.client.collect()
        self.judge(f"{jobs} no-op jobs, 1% kills", kills=kills)
        self.assertGreaterEqual(kills, jobs / 200)
        # Each sample is of another process, with few or many jobs waiting for it.
        self.assert_flat("each start after 100 jobs", GROWTH_KIB if LONG else 4 * GROWTH_KIB)

    def test_memory_and_descriptors_of_one_worker_stay_flat(self):
        """No-op jobs, and among them jobs with a sandbox whose executor or init is killed."""
        jobs = int(2000 * SCALE) if LONG else 1000
        self.start("flat", worker__events="false")
        kills = dict.fromkeys(ROLES[4:], 0)
        for number in range(jobs):
            self.publish(self.noop())
            if number % 25 == 0:
                self.publish(sbxtest.job_of(self.repo, self.diff, ["grep -q y README"]))
            if number % 100 == 99:
                role = self.random.choice(ROLES[4:])
                kills[role] += self.kill(role)
            if number % (jobs // 40) == 0:
                sbxtest.poll(lambda: len(self.unanswered()) < 50, "the results so far", 60)
                self.sample()
        self.judge(f"{jobs} no-op jobs and {jobs // 25} with a sandbox, one worker", kills=kills)
        self.assertEqual(self.worker.starts, 1)
        self.assert_flat("one worker")

    def widen(self):
        """Work that makes the short states longer: a large file, and a large artifact."""
        lines = "".join(f"{secrets.token_hex(24)}\n" for _ in range(5000))
        return self.repo.diff({"README": "y\n", "large": lines})

    def hit(self, states, role, state, diff):
        """Kills as soon as a job is in that state: what it had come to, or None."""
        self.await_worker()
        job = sbxtest.job_of(self.repo, diff, ["grep -q y README && cp large copy && sleep 0.1"],
                             artifacts={"paths": ["copy"]})
        # All that wait for a job: one of them gets it. Looking takes longer than a state.
        victims = sbxtest.poll(lambda: self.pids_of(role), role, 30)
        self.publish(job)
        sbxtest.poll(lambda: states.reached(job["id"], state),
                     lambda: f"{state}\n{self.worker.log()[-3000:]}", 30, 0)
        killed = self.kill_these(role, victims)
        states.read()
        last = states.last[job["id"]]
        return last if killed and last in STATES else None

    def test_kills_in_every_state_of_a_job(self):
        """Each role, as soon as the worker says that the job is in a state. Where the job was
        when it was hit is counted; one that was hit too late does not count."""
        self.start("states")
        states = States(self.client)
        diff = self.widen()
        hits = {role: dict.fromkeys(STATES, 0) for role in ROLES}
        wanted = int(10 * SCALE) if LONG else 2
        number = late = 0
        while any(sum(counts.values()) < wanted for counts in hits.values()):
            number += 1
            self.assertLess(number, 4 * wanted + 10, hits)
            for turn, role in enumerate(ROLES):
                if sum(hits[role].values()) < wanted:
                    state = STATES[(number + 2 * turn) % (len(STATES) - 1)]
                    last = self.hit(states, role, state, diff)
                    late += last is None
                    if last is not None:
                        hits[role][last] += 1
        self.judge("kills in every state of a job",
                   **{f"{role} killed in": " ".join(
                       f"{state}:{count}" for state, count in counts.items() if count)
                      for role, counts in hits.items()}, too_late=late)
        if LONG:
            missing = [state for state in LASTING_STATES
                       if not any(counts[state] for counts in hits.values())]
            self.assertEqual(missing, [])

    def strike(self, role, job):
        """Kills at a moment of the job's life that chance chooses, be it before it has begun: its
        state as the worker had it in its log, or None."""
        self.await_worker()
        victims = sbxtest.poll(lambda: self.pids_of(role), role, 30)
        strike = threading.Timer(self.random.uniform(0, LIFE_S), self.kill_these, (role, victims))
        strike.start()
        self.publish(job)
        strike.join()
        states = re.findall(rf'msg="job state" job={job["id"]} state=(\w+)', self.worker.log())
        return states[-1] if states else None

    def test_kills_at_any_moment_of_a_short_job(self):
        """States that are over before anybody outside has heard of them are hit by chance."""
        self.start("moments", log__level="debug", worker__max_attempts=100)
        hits = {}
        kills, most = (6 * int(10 * SCALE), 3000) if LONG else (24, 24)
        number = 0
        while number < kills or (number < most and not set(STATES) <= set(hits)):
            role = ROLES[number % len(ROLES)]
            state = self.strike(role, sbxtest.job_of(self.repo, self.diff, ["true"]))
            hits[state or "none yet"] = hits.get(state or "none yet", 0) + 1
            number += 1
            if number % 25 == 0:
                self.settle()  # or the unlucky ones wait longer and longer
        self.judge("kills at any moment of a short job", kills=number, **{
            f"in {state}": count for state, count in sorted(hits.items())})
        if LONG:
            self.assertEqual(set(STATES) - set(hits), set())

    # --- the broker -----------------------------------------------------------

    def test_the_broker_is_killed_amid_traffic(self):
        """Half of the times it is restarted in order."""
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours to kill")
        self.start("broker")
        times = max(1, int(SCALE))
        for number in range(times):
            for _ in range(100):
                self.publish(self.noop())
            verbs = ("restart",) if number % 2 else ("kill", "start")
            for verb in verbs:
                subprocess.run([sbxtest.BROKER, verb, sbxtest.BROKER_DIR], check=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.client.connect(90)
        self.judge("broker killed or restarted amid traffic", kills=times - times // 2,
                   restarts=times // 2)
        sbxtest.poll(self.dead_letterers_are_up, "the broker's dead-lettering processes", 60, 0.5)

    def dead_letterers_are_up(self):
        """RabbitMQ 3.10 loses all its quorum queues when one is deleted while the process that
        dead-letters for it starts."""
        queues = 8  # all of ours but that of the dead letters
        said = subprocess.run(
            [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "eval",
             "length([sys:get_state(P) || {_, P, _, _} <- "
             "supervisor:which_children(rabbit_fifo_dlx_sup)])."], check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout.split()
        return said and said[-1].isdigit() and int(said[-1]) >= queues

    def test_a_broker_without_memory(self):
        """Results wait, the worker lives, and all comes when there is memory again."""
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours")
        self.start("alarm")
        self.assertEqual(self.worker.stop(), 0)
        for _ in range(50):
            self.publish(self.noop())
        ctl = [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "set_vm_memory_high_watermark"]
        subprocess.run([*ctl, "absolute", "1"], check=True, stdout=subprocess.DEVNULL)
        try:
            self.worker.start(ready=False)
            sbxtest.poll(lambda: self.worker.logged("blocks publishers"), "the alarm", 30)
            self.assertEqual(len(self.unanswered()), 50)
        finally:
            subprocess.run([*ctl, "0.6"], check=True, stdout=subprocess.DEVNULL)
        self.judge("memory alarm of the broker")
        self.assertEqual(self.worker.starts, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
