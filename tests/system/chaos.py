"""What the chaos programs share: four ledgers kept by job id (confirmed submits, results read, dead
letters, what is still queued), kills by role, samples of memory and descriptors, and the judgement,
which prints a table of figures.

    SBX_CHAOS_SCALE=10 SBX_CHAOS_SEED=7 tests/system/test_37_chaos_queue.py

The scale multiplies what is sent, killed and cut; `make chaos` runs the long form: 20,000 no-op
jobs with 1% kills, each role killed 100 times and more, cuts of 5, 30 and 120 seconds.
"""
import os
import random
import secrets
import signal
import statistics

import sbxtest

SCALE = float(os.environ.get("SBX_CHAOS_SCALE", "1"))
SEED = int(os.environ.get("SBX_CHAOS_SEED", secrets.randbelow(1 << 31)))
LONG = SCALE >= 2
ROLES = ("supervisor", "publisher", "zygote", "storekeeper", "executor", "init")
LASTING = ROLES[:4]  # as long as their worker; the others are one job's

# What a role may have gained between the second and the last quarter of a run.
GROWTH_KIB = 1024
GROWTH_FDS = {"supervisor": 4, "publisher": 4, "zygote": 32,  # three boxes more may wait
              "storekeeper": 128}  # packs that it keeps open, as snapshots/gitdb.c bounds them


class Chaos(sbxtest.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sbxtest.need_root()
        cls.repo.commit({"README": "x\n"})
        cls.diff = cls.repo.diff({"README": "y\n"})
        cls.random = random.Random(SEED)
        print(f"seed {SEED}, scale {SCALE}", flush=True)

    def setUp(self):
        self.sent = {}  # confirmed, by id: the verdict of a quiet day
        self.worker = None
        self.samples = {role: [] for role in LASTING}

    def tearDown(self):
        if self.worker and self.worker.process and self.worker.process.poll() is None:
            self.await_worker()  # one that has just been started knows no SIGTERM yet
            self.assertEqual(self.worker.stop(60), 0, self.worker.log()[-4000:])

    def start(self, name, **config):
        config.setdefault("worker__poison_cap", 100)
        config.setdefault("worker__max_attempts", 20)
        config.setdefault("log__level", "info")
        self.worker = self.worker_of(name, **config)
        return self.worker.start()

    def keep_running(self):
        if self.worker.process is None or self.worker.process.poll() is not None:
            self.worker.start(ready=False)

    def await_worker(self):
        def is_ready():
            self.keep_running()
            return self.worker.logged(r"\bmsg=ready\b")

        sbxtest.poll(is_ready, lambda: self.worker.log()[-3000:], 60)

    def noop(self):
        return {"v": 1, "id": "n-" + secrets.token_hex(8)}

    def publish(self, job, verdict="passed"):
        self.client.publish(job)
        self.sent[job["id"]] = verdict

    def unanswered(self):
        self.client.collect()
        return [job for job in self.sent if job not in self.client.results]

    # --- the judgement ------------------------------------------------------

    def settle(self, timeout=180):
        def is_over():
            self.keep_running()
            return not self.unanswered() and \
                not any(self.client.depth(name) for name in ("jobs", "wait.5s"))

        sbxtest.poll(is_over, lambda: f"{len(self.unanswered())} results\n"
                     f"{self.worker.log()[-3000:]}", timeout, 0.1)

    def table(self, title, rows):
        print(f"\n{title}")
        for name, value in rows.items():
            print(f"    {name:34} {value}", flush=True)

    def judge(self, title, **figures):
        """Lost and unexplained are what none of the four ledgers accounts for."""
        self.settle()
        dead = self.client.depth("dead")
        wrong = {job: self.client.results[job][-1]["result"]["verdict"] for job in self.sent
                 if self.client.results[job][-1]["result"]["verdict"] != self.sent[job]}
        copies = [self.client.results[job] for job in self.sent]
        unexplained = [each for each in copies if len({copy["message_id"] for copy in each}) != 1
                       or len({copy["result"]["verdict"] for copy in each}) != 1]
        self.table(title, {
            "confirmed submits": len(self.sent), "results read": sum(map(len, copies)),
            "after removing repetitions": len(copies), "dead letters": dead,
            "lost": len(self.unanswered()), "unexplained duplicates": len(unexplained),
            "wrong verdicts": len(wrong), "starts of the worker": self.worker.starts, **figures})
        self.assertEqual((wrong, unexplained, dead), ({}, [], 0))

    # --- kills --------------------------------------------------------------

    def pids_of(self, role):
        if role == "supervisor":
            return [self.worker.process.pid]
        if role in LASTING:
            return [self.worker.role(role)]
        executors = self.worker.executors()
        if role == "executor":
            return executors
        zygote = self.worker.role("zygote")
        return [pid for pid, (parent, _) in sbxtest.leftovers.parents().items()
                if parent == zygote and pid not in executors]

    def kill(self, role):
        """Whether there was one to kill."""
        try:
            return self.kill_these(role, [self.random.choice(self.pids_of(role))])
        except (IndexError, ValueError, AttributeError):
            return False  # it was gone before

    def kill_these(self, role, pids):
        """Whether all were there. Where the role is a lasting one, its worker ends with it."""
        there = True
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                there = False
        if role in LASTING and there:
            sbxtest.poll(lambda: self.worker.process.poll() is not None, "its end", 30)
        return there

    # --- memory and descriptors -----------------------------------------------

    def sample(self):
        """What each lasting role has now: (proportional set in KiB, open descriptors)."""
        for role in LASTING:
            [pid] = self.pids_of(role)
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
                pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            self.samples[role].append((pss, len(os.listdir(f"/proc/{pid}/fd"))))

    def assert_flat(self, title, growth_kib=GROWTH_KIB):
        """The last quarter of the samples against the second: the first one is warming up."""
        rows = {}
        grown = []
        for role, samples in self.samples.items():
            quarter = len(samples) // 4
            self.assertGreater(quarter, 0, "too few samples to tell")
            early, late = samples[quarter:2 * quarter], samples[-quarter:]
            pss = [int(statistics.median(each[0] for each in some)) for some in (early, late)]
            fds = [int(statistics.median(each[1] for each in some)) for some in (early, late)]
            rows[role] = f"{pss[0]} -> {pss[1]} KiB, {fds[0]} -> {fds[1]} descriptors"
            if pss[1] > pss[0] + pss[0] // 10 + growth_kib or \
                    fds[1] > fds[0] + GROWTH_FDS[role]:
                grown.append(role)
        self.table(f"{title}: {len(samples)} samples, second quarter -> last", rows)
        self.assertEqual(grown, [], "memory and descriptors stay flat")
