"""Chaos of disks: one that is full below the worker's state directory, below the broker, and below
the embedded queue; and the broker's own alarm before it comes to that. See chaos.py.
"""
import json
import os
import secrets
import subprocess
import time
import unittest

import sbxtest
from chaos import Chaos
from client import Client


def fill(path, spare=0):
    """Takes all the room there is, but for `spare` bytes."""
    with open(path, "wb", buffering=0) as filler:
        disk = os.fstatvfs(filler.fileno())
        os.posix_fallocate(filler.fileno(), 0, disk.f_bavail * disk.f_frsize - spare)


class Disks(Chaos):
    def small_disk(self, name, size):
        """A directory on a file system of its own, which goes at the end."""
        path = os.path.join(self.folder, name)
        os.makedirs(path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "sbx-chaos", path],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", path], check=True)
        return path

    def large(self):
        return {**self.noop(), "labels": {"filler": "x" * 4000}}

    def await_end(self):
        sbxtest.poll(lambda: self.worker.process.poll() is not None, "the worker to leave", 60)
        return self.worker.log()

    def test_a_full_state_directory(self):
        """No job is acked whose result is not stored; the worker leaves and says why."""
        self.worker = self.worker_of("full", log__level="info", worker__max_attempts=20)
        state = self.small_disk("full/state", "24m")
        self.worker.start()
        self.addCleanup(self.kill_workers)  # before its directory is unmounted
        fill(os.path.join(state, "filler"))
        for _ in range(100):
            self.publish(self.large())
        said = self.await_end()
        self.assertIn("ledger", said)
        self.assertIn("full", said)
        os.unlink(os.path.join(state, "filler"))
        self.judge("state directory full")
        self.assertEqual(self.worker.stop(60), 0)

    # --- the broker -----------------------------------------------------------

    def test_the_disk_alarm_of_the_broker(self):
        """Acks flow, results wait, the worker lives, and all comes when there is room again."""
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours")
        self.start("alarm")
        ctl = [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "set_disk_free_limit"]
        self.assertEqual(self.worker.stop(), 0)
        for _ in range(50):
            self.publish(self.noop())
        subprocess.run([*ctl, "900000GB"], check=True, stdout=subprocess.DEVNULL)
        try:
            self.worker.start(ready=False)
            sbxtest.poll(lambda: self.worker.logged("blocks publishers"), "the alarm", 60)
            self.assertEqual(len(self.unanswered()), 50)
        finally:
            subprocess.run([*ctl, "50MB"], check=True, stdout=subprocess.DEVNULL)
        self.judge("disk alarm of the broker")
        self.assertEqual(self.worker.starts, 2)

    def start_node(self, disk):
        """A node of its own, which writes until nothing more can be written."""
        folder = os.path.join(disk, "node")
        os.makedirs(folder)
        with open(os.path.join(folder, "extra.conf"), "w", encoding="ascii") as conf:
            conf.write("disk_free_limit.absolute = 1KB\nraft.wal_max_size_bytes = 4194304\n")
        self.addCleanup(self.node, "stop", folder)
        self.node("start", folder)
        return folder

    @staticmethod
    def node(verb, folder):
        return subprocess.run([sbxtest.BROKER, verb, folder], check=True, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.strip()

    def batch(self, url, path, done):
        """Sends what `done` does not note; what it notes afterwards is confirmed."""
        result = self.program("sbx-submit", "batch", path, "--queue", url, "--prefix", self.prefix,
                              "--resume", done, "--timeout", "15s", "--quiet", timeout=120)
        with open(done, encoding="ascii") as stream:
            for line in stream.readlines()[1:]:  # the first one says what it is
                self.sent[line.split()[0]] = "passed"
        return result

    def go_on(self, url, jobs, done):
        """The same command again and again, as its message says: a queue of the node that has
        just been started may be away longer than a command waits for it."""
        def is_complete():
            began = time.monotonic()
            sent = self.batch(url, jobs, done)
            self.assertIn(sent.returncode, (0, 1, 6), sent.stderr)
            if sent.returncode == 6:
                self.assertGreater(time.monotonic() - began, 9, f"it waits: {sent.stderr}")
            return sent.returncode == 0

        sbxtest.poll(is_complete, lambda: self.worker.log()[-3000:], 90, 0.5)

    def test_a_full_disk_below_the_broker(self):
        """Jobs are sent until the node fails. What it has confirmed is not lost: there is room
        again, the node is started anew, the batch goes on where it was."""
        disk = self.small_disk("broker", "64m")
        node = self.start_node(disk)
        url = self.node("url", node)
        shared, type(self).client = self.client, Client(url, self.prefix)
        self.addCleanup(setattr, type(self), "client", shared)
        self.worker = self.worker_of("small", log__level="info", queue__url=url)
        self.worker.start()
        fill(os.path.join(disk, "filler"), 4 << 20)
        jobs = os.path.join(self.folder, "jobs.jsonl")
        done = os.path.join(self.folder, "jobs.done")
        with open(jobs, "w", encoding="ascii") as stream:
            for _ in range(2000):
                stream.write(json.dumps(self.large()) + "\n")
        self.assertEqual(self.worker.stop(60), 0)
        sent = self.batch(url, jobs, done)
        before = len(self.sent)
        self.assertNotEqual(sent.returncode, 0, "the disk was to be full")
        self.worker.start(ready=False)  # amid the trouble
        os.unlink(os.path.join(disk, "filler"))
        self.node("kill", node)
        self.node("start", node)
        self.client.connect(90)
        self.go_on(url, jobs, done)
        self.assertEqual(len(self.sent), 2000)
        self.judge("disk of the broker full", confirmed_before_it_was_full=before)
        self.assertEqual(self.worker.stop(60), 0)
        self.client.close()

    # --- the embedded queue -----------------------------------------------------

    def test_a_full_disk_below_the_embedded_queue(self):
        """Producers are told; the worker waits; nothing that was confirmed is lost."""
        disk = self.small_disk("file", "32m")
        uid = 1879048192  # [worker] uid_base
        os.chown(disk, uid, uid)
        url = f"sqlite:{disk}/queue.db"
        prefix = ["--queue", url, "--prefix", self.prefix]
        worker = self.worker_of("file-worker", log__level="info", queue__url=url).start()
        self.addCleanup(self.kill_workers)
        jobs = [f"f-{secrets.token_hex(6)}" for _ in range(5000)]
        lines = "".join(json.dumps({"v": 1, "id": job, "labels": {"filler": "x" * 4000}}) + "\n"
                        for job in jobs)
        self.assertEqual(worker.stop(), 0)
        fill(os.path.join(disk, "filler"), 12 << 20)
        sent = self.program("sbx-submit", "batch", "-", *prefix, "--timeout", "5s",
                            stdin=lines)
        self.assertNotEqual(sent.returncode, 0)
        self.assertIn("full", sent.stderr)
        confirmed = sent.stdout.split()
        self.assertGreater(len(confirmed), 0, sent.stderr)
        worker.start(ready=False)
        sbxtest.poll(lambda: worker.logged("full") or worker.process.poll() is not None,
                     "the worker to notice", 60)
        os.unlink(os.path.join(disk, "filler"))
        if worker.process.poll() is not None:
            worker.start()
        waited = self.program("sbx-submit", "wait", "-", *prefix, "--timeout", "60s",
                              stdin="\n".join(confirmed))
        self.assertEqual(waited.returncode, 0, waited.stdout[-500:] + waited.stderr[-500:])
        self.table("disk of the embedded queue full", {
            "confirmed submits": len(confirmed),
            "lost": len(confirmed) - len(waited.stdout.splitlines()),
            "starts of the worker": worker.starts})
        self.assertEqual(worker.stop(), 0, worker.log()[-3000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)
