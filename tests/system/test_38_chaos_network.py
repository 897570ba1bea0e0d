"""Chaos of the network: packets of the worker are dropped, by namespace, of both connections at
once and of each alone. See chaos.py.
"""
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import threading
import time
import unittest
from urllib.parse import urlsplit

import sbxtest
from chaos import LONG, Chaos

HEARTBEAT_S = 5
ROLE_OF = {"consuming": "supervisor", "publishing": "publisher"}


class Wire:
    """A network namespace whose only way out is a forwarder to the broker's port."""

    def __init__(self):
        number = secrets.randbelow(200) + 20
        self.name = f"sbxc{secrets.token_hex(3)}"
        self.outer, self.inner = self.name + "a", self.name + "b"
        self.host, self.guest = f"10.199.{number}.1", f"10.199.{number}.2"
        self.rules = []
        self.run("ip", "netns", "add", self.name)
        self.run("ip", "link", "add", self.outer, "type", "veth", "peer", "name", self.inner,
                 "netns", self.name)
        self.run("ip", "addr", "add", self.host + "/30", "dev", self.outer)
        self.run("ip", "link", "set", self.outer, "up")
        self.run("ip", "-n", self.name, "addr", "add", self.guest + "/30", "dev", self.inner)
        self.run("ip", "-n", self.name, "link", "set", self.inner, "up")
        url = urlsplit(sbxtest.BROKER_URL)
        self.target = (url.hostname, url.port)
        self.ends = []
        self.server = socket.create_server((self.host, 0))
        port = self.server.getsockname()[1]
        self.url = sbxtest.BROKER_URL.replace(f"{url.hostname}:{url.port}", f"{self.host}:{port}")
        threading.Thread(target=self.serve, daemon=True).start()

    @staticmethod
    def run(*command):
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

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

    def port_of(self, pid):
        """The local port of the one connection that this process has."""
        text = self.run("ip", "netns", "exec", self.name, "ss", "-tnpH", "state", "established")
        [port] = [re.search(re.escape(self.guest) + r":(\d+)", line).group(1)
                  for line in text.splitlines() if f"pid={pid}," in line]
        return port

    def cut(self, port=None):
        """All packets of the connection, or of all, are dropped in both directions."""
        if port is None:
            self.run("ip", "link", "set", self.outer, "down")
            return
        self.rules = [["-n", self.name, "rule", "{}", "ipproto", "tcp", "sport", port, "blackhole"],
                      ["rule", "{}", "to", self.guest, "ipproto", "tcp", "dport", port,
                       "blackhole"]]
        self.change_rules("add")

    def change_rules(self, verb):
        for rule in self.rules:
            self.run("ip", *[word.format(verb) for word in rule])

    def mend(self):
        self.change_rules("del")
        self.rules = []
        self.run("ip", "link", "set", self.outer, "up")

    def close(self):
        self.change_rules("del")
        self.server.shutdown(socket.SHUT_RDWR)  # wakes the one who accepts
        for end in (self.server, *self.ends):
            end.close()
        self.run("ip", "netns", "del", self.name)
        subprocess.run(["ip", "link", "del", self.outer], check=False, stderr=subprocess.DEVNULL)


class Cuts(Chaos):
    def setUp(self):
        super().setUp()
        self.wire = Wire()
        self.addCleanup(self.wire.close)
        self.worker = self.worker_of(f"cut-{self.wire.name}", log__level="info",
                                     queue__url=self.wire.url,
                                     queue__heartbeat=f"{HEARTBEAT_S}s")
        command = self.worker.command
        self.worker.command = lambda *arguments: [
            "nsenter", f"--net=/run/netns/{self.wire.name}", *command(*arguments)]
        self.worker.start()

    def starts_of(self, job_id):
        """How often the job was started, or 0."""
        path = os.path.join(self.worker.state, "ledger.db")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
            row = connection.execute("SELECT starts FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row[0] if row else 0

    def lost(self):
        return {which: self.worker.log().count(f"{which} connection lost") for which in ROLE_OF}

    def cut_for(self, seconds, which):
        """After how long the worker has noticed, for each connection that was cut."""
        cut = [which] if which else list(ROLE_OF)
        pids = {"consuming": self.worker.process.pid, "publishing": self.worker.role("publisher")}
        before = self.lost()
        noticed = {}
        self.wire.cut(self.wire.port_of(pids[which]) if which else None)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for each in cut:
                if self.lost()[each] > before[each]:
                    noticed.setdefault(each, round(time.monotonic() - began, 1))
            self.client.connection.sleep(0.1)
        self.wire.mend()
        return noticed

    def check(self, which, title):
        """The jobs that run meanwhile go on, and are answered once; none runs twice."""
        noticed = {}
        for seconds in (5, 30, 120) if LONG else (13,):
            sbxtest.poll(lambda: self.lost() and self.worker.logged(r"publishing connection up"),
                         "the connections", 30)
            jobs = [sbxtest.job_of(self.repo, steps=[["sleep", time_s]]) for time_s in ("3", "16")]
            for job in jobs:
                self.publish(job)
            sbxtest.poll(lambda jobs=jobs: all(self.starts_of(job["id"]) for job in jobs),
                         "the start of the jobs")
            noticed[seconds] = self.cut_for(seconds, which)
            for _ in range(20):
                self.publish(self.noop())
            sbxtest.poll(lambda: not self.unanswered(), lambda: self.worker.log()[-3000:], 90)
            for job in jobs:
                self.assertEqual(self.starts_of(job["id"]), 1, "the job was started once")
        self.judge(title, noticed_after_s=noticed)
        self.assertEqual(self.worker.starts, 1)
        for seconds, after in noticed.items():
            if seconds > 2 * HEARTBEAT_S + 2:
                self.assertEqual(set(after), {which} if which else set(ROLE_OF), seconds)
            for each in after.values():
                self.assertLess(each, 2 * HEARTBEAT_S + 2, f"two heartbeats, of {seconds} s")

    def test_a_network_that_is_cut(self):
        self.check(None, "network cut, both connections")

    def test_the_consuming_connection_is_cut(self):
        self.check("consuming", "network cut, the consuming connection alone")

    def test_the_publishing_connection_is_cut(self):
        self.check("publishing", "network cut, the publishing connection alone")


if __name__ == "__main__":
    unittest.main(verbosity=2)
