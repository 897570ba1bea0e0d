"""Chaos of the queue: kills amid a stream of jobs, in each moment of a job's life, a network that
is cut, a disk that is full, a broker without memory. Four ledgers are kept by job id (confirmed
submits, results read, dead letters, what is still queued), and a table of figures ends each part.

    SBX_CHAOS_SCALE=10 SBX_CHAOS_SEED=7 tests/system/test_37_chaos_queue.py

The scale multiplies what is sent, killed and cut; `make chaos` runs the long form: 20,000 no-op
jobs with 1% kills, each role killed 100 times and more, cuts of 5, 30 and 120 seconds.
"""
import os
import random
import secrets
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest
from urllib.parse import urlsplit

import sbxtest

SCALE = float(os.environ.get("SBX_CHAOS_SCALE", "1"))
SEED = int(os.environ.get("SBX_CHAOS_SEED", secrets.randbelow(1 << 31)))
ROLES = ("supervisor", "publisher", "zygote", "storekeeper", "executor", "init")


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

    def tearDown(self):
        if self.worker and self.worker.process and self.worker.process.poll() is None:
            self.await_worker()  # one that has just been started knows no SIGTERM yet
            self.assertEqual(self.worker.stop(60), 0, self.worker.log()[-4000:])

    def start(self, name, **config):
        config.setdefault("worker__poison_cap", 100)
        config.setdefault("worker__max_attempts", 20)
        self.worker = self.worker_of(name, log__level="info", **config)
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

    def judge(self, title, **figures):
        """Lost and unexplained are what none of the four ledgers accounts for."""
        self.settle()
        dead = self.client.depth("dead")
        wrong = {job: self.client.results[job][-1]["result"]["verdict"] for job in self.sent
                 if self.client.results[job][-1]["result"]["verdict"] != self.sent[job]}
        copies = [self.client.results[job] for job in self.sent]
        unexplained = [each for each in copies if len({copy["message_id"] for copy in each}) != 1
                       or len({copy["result"]["verdict"] for copy in each}) != 1]
        rows = {"confirmed submits": len(self.sent), "results read": sum(map(len, copies)),
                "after removing repetitions": len(copies), "dead letters": dead,
                "lost": len(self.unanswered()), "unexplained duplicates": len(unexplained),
                "wrong verdicts": len(wrong), "starts of the worker": self.worker.starts, **figures}
        print(f"\n{title}")
        for name, value in rows.items():
            print(f"    {name:34} {value}", flush=True)
        self.assertEqual((wrong, unexplained, dead), ({}, [], 0))

    # --- kills --------------------------------------------------------------

    def pids_of(self, role):
        if role == "supervisor":
            return [self.worker.process.pid]
        if role in ("publisher", "zygote", "storekeeper"):
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
            if role == "supervisor" and self.worker.process.poll() is None:
                self.worker.kill()
                return True
            os.kill(self.random.choice(self.pids_of(role)), signal.SIGKILL)
            if role in ROLES[1:4]:  # the worker ends with it
                sbxtest.poll(lambda: self.worker.process.poll() is not None, "its end", 30)
            return True
        except (ProcessLookupError, IndexError, ValueError, AttributeError):
            return False  # it was gone before

    def test_kills_amid_a_stream_of_jobs(self):
        jobs = int(1000 if SCALE < 2 else 2000 * SCALE)
        self.start("stream", worker__events="false")
        kills = 0
        for number in range(jobs):
            self.publish(self.noop())
            if number % 100 == 99:
                self.await_worker()
                kills += self.kill(self.random.choice(ROLES[:4]))
                self.client.collect()
        self.judge(f"{jobs} no-op jobs, 1% kills", kills=kills)
        self.assertGreaterEqual(kills, jobs / 200)

    def test_kills_in_every_moment_of_a_job(self):
        """Each role at moments spread over the life of a job with a diff and a step."""
        self.start("moments")
        kills = dict.fromkeys(ROLES, 0)
        for number in range(max(3, int(10 * SCALE) if SCALE >= 2 else 0)):
            for role in ROLES:
                self.await_worker()
                job = sbxtest.job_of(self.repo, self.diff, ["grep -q y README && sleep 0.05"])
                self.publish(job)
                moment = time.monotonic() + self.random.uniform(0, 0.15)
                sbxtest.poll(lambda moment=moment: time.monotonic() > moment, "the moment",
                             pause=0.001)
                kills[role] += self.kill(role)
        self.judge("kills in every moment of a job", kills=kills)

    def test_the_broker_is_killed_amid_traffic(self):
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours to kill")
        self.start("broker")
        times = max(1, int(SCALE))
        for _ in range(times):
            for _ in range(100):
                self.publish(self.noop())
            subprocess.run([sbxtest.BROKER, "kill", sbxtest.BROKER_DIR], check=True)
            subprocess.run([sbxtest.BROKER, "start", sbxtest.BROKER_DIR], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.client.connect(90)
        self.judge("broker killed amid traffic", broker_kills=times)

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

    # --- a full disk ----------------------------------------------------------

    def test_a_full_state_directory(self):
        """No job is acked whose result is not stored; the worker leaves and says why."""
        self.worker = self.worker_of("full", log__level="info", worker__max_attempts=20)
        os.makedirs(self.worker.state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "sbx-chaos",
                        self.worker.state], check=True)
        try:
            self.worker.start()
            with open(os.path.join(self.worker.state, "filler"), "wb") as filler:
                try:
                    while True:
                        filler.write(b"x" * 65536)
                        filler.flush()
                except OSError:
                    pass
            for _ in range(100):
                self.publish({**self.noop(), "labels": {"filler": "x" * 4000}})
            sbxtest.poll(lambda: self.worker.process.poll() is not None, "the worker to leave", 60)
            said = self.worker.log()
            self.assertIn("ledger", said)
            self.assertIn("full", said)
            os.unlink(filler.name)
            self.judge("state directory full")
            self.assertEqual(self.worker.stop(60), 0)
        finally:
            if self.worker.process and self.worker.process.poll() is None:
                self.worker.kill()
            subprocess.run(["umount", self.worker.state], check=True)


# --- the network -----------------------------------------------------------------


class Wire:
    """A network namespace whose only way out is a forwarder to the broker's port."""

    def __init__(self):
        number = secrets.randbelow(200) + 20
        self.name = f"sbxc{secrets.token_hex(3)}"
        self.outer, self.inner = self.name + "a", self.name + "b"
        self.host = f"10.199.{number}.1"
        run = self.run
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.outer, "type", "veth", "peer", "name", self.inner,
            "netns", self.name)
        run("ip", "addr", "add", self.host + "/30", "dev", self.outer)
        run("ip", "link", "set", self.outer, "up")
        run("ip", "-n", self.name, "addr", "add", f"10.199.{number}.2/30", "dev", self.inner)
        run("ip", "-n", self.name, "link", "set", self.inner, "up")
        url = urlsplit(sbxtest.BROKER_URL)
        self.target = (url.hostname, url.port)
        self.ends = []
        self.server = socket.create_server((self.host, 0))
        port = self.server.getsockname()[1]
        self.url = sbxtest.BROKER_URL.replace(f"{url.hostname}:{url.port}", f"{self.host}:{port}")
        threading.Thread(target=self.serve, daemon=True).start()

    @staticmethod
    def run(*command):
        subprocess.run(command, check=True)

    def serve(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            broker = socket.create_connection(self.target)
            self.ends += [client, broker]
            for one, other in ((client, broker), (broker, client)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def set(self, state):
        self.run("ip", "link", "set", self.outer, state)

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)  # wakes the one who accepts
        for end in (self.server, *self.ends):
            end.close()
        self.run("ip", "netns", "del", self.name)
        subprocess.run(["ip", "link", "del", self.outer], check=False, stderr=subprocess.DEVNULL)


class Cuts(Chaos):
    def test_a_network_that_is_cut(self):
        """The job that runs meanwhile goes on, and is answered once; none runs twice."""
        wire = Wire()
        self.addCleanup(wire.close)
        self.worker = self.worker_of("cut", log__level="info", queue__url=wire.url,
                                     queue__heartbeat="5s")
        command = self.worker.command
        self.worker.command = lambda *arguments: ["nsenter", f"--net=/run/netns/{wire.name}",
                                                  *command(*arguments)]
        self.worker.start()
        noticed = {}
        for seconds in (12,) if SCALE < 2 else (5, 30, 120):
            job = sbxtest.job_of(self.repo, steps=[["sleep", "3"]])
            self.publish(job)
            sbxtest.poll(lambda: self.ledger(job["id"]), "the start of the job")
            lost = self.worker.log().count("connection lost")
            wire.set("down")
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                if self.worker.log().count("connection lost") > lost:
                    noticed.setdefault(seconds, round(time.monotonic() - began, 1))
                self.client.connection.sleep(0.1)
            wire.set("up")
            for _ in range(20):
                self.publish(self.noop())
            sbxtest.poll(lambda: not self.unanswered(), lambda: self.worker.log()[-3000:], 90)
            self.assertEqual(self.ledger(job["id"]), 1, "the job was started once")
        self.judge("network cut by namespace", noticed_after_s=noticed)
        self.assertEqual(self.worker.starts, 1)
        for seconds, after in noticed.items():
            self.assertLess(after, 12, f"two heartbeats, of {seconds} s")
        self.assertEqual(set(noticed) - {5}, {12} if SCALE < 2 else {30, 120})

    def ledger(self, job_id):
        """How often the job was started, or 0."""
        path = os.path.join(self.worker.state, "ledger.db")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
            row = connection.execute("SELECT starts FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row[0] if row else 0


# Each part once.
for inherited in [name for name in dir(Chaos) if name.startswith("test_")]:
    setattr(Cuts, inherited, None)

if __name__ == "__main__":
    unittest.main(verbosity=2)
