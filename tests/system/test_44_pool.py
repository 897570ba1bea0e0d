"""How many sandboxes wait follows the jobs, and one that goes leaves nothing."""
import json
import os
import re
import unittest

import sbxtest

LEAST, SLOTS = 1, 3


def groups_of(worker):
    """Directories of the worker's boxes, in every hierarchy of control groups."""
    inode = os.stat(os.path.join(worker.state, "instances")).st_ino & 0xffffffffffff
    return {path for path in sbxtest.leftovers.cgroups()
            if os.path.basename(path).startswith(f"sbx-{inode:x}-")}


class Pool(sbxtest.WorkerCase):
    config = {"worker__slots": SLOTS, "sandbox__pool_least": LEAST, "sandbox__pool_idle": "1s"}

    def told(self):
        done = self.program("sbx-worker", "status", "--config", self.worker.config_path, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)["sandboxes"]

    def held(self):
        """What the zygote has of the kernel's: descriptors by kind, processes, groups, mounts."""
        zygote = self.worker.role("zygote")
        kinds = {}
        for fd in os.listdir(f"/proc/{zygote}/fd"):
            try:
                kind = re.sub(r"\d+", "N", os.readlink(f"/proc/{zygote}/fd/{fd}"))
            except FileNotFoundError:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
        return {"descriptors": kinds, "children": len(sbxtest.leftovers.descendants(zygote)),
                "groups": len(groups_of(self.worker)),
                "mounts": len(sbxtest.leftovers.read(f"/proc/{zygote}/mountinfo").splitlines()),
                "files": sorted(os.listdir(self.worker.state))}

    def burst(self, count):
        jobs = [sbxtest.job_of(self.repo, steps=["sleep 0.05"]) for _ in range(count)]
        for job in jobs:
            self.client.publish(job)
        for job in jobs:
            self.assert_verdict(self.result_of(job["id"]), "passed")

    def assert_shrinks(self):
        sbxtest.poll(lambda: self.told()["kept"] == self.told()["waiting"] == LEAST, self.told, 30)

    def test_it_grows_with_the_jobs_and_shrinks_without(self):
        sbxtest.poll(lambda: self.told()["waiting"] == LEAST, self.told)
        self.burst(1)
        self.assert_shrinks()
        before = self.told()
        self.burst(12)
        after = self.told()
        self.assertGreater(after["missed"], before["missed"])
        self.assertGreater(after["grown"], before["grown"])
        self.assertGreaterEqual(after["made"], before["made"] + 12)
        self.assertLessEqual(after["wanted_waiting"], after["most"])
        self.assertEqual(after["most"], SLOTS + 1)
        self.assert_shrinks()
        self.assertEqual(self.told()["wanted_waiting"], LEAST)
        self.assertEqual(self.told()["grown"], self.told()["shrunk"])
        text = self.program("sbx-worker", "status", "--config", self.worker.config_path).stdout
        self.assertRegex(text, rf"(?m)^sandboxes +{LEAST}, {LEAST} of {LEAST} wait "
                               rf"\(at least {LEAST}, at most {SLOTS + 1}\), \d+ made, ")

    def test_nothing_stays_of_those_that_went(self):
        """After the third burst as much is held as after the first."""
        held = []
        for _ in range(3):
            self.burst(8)
            self.assert_shrinks()
            # A slot that nobody wants lets go of the template of its root, too.
            namespaces = 2 + LEAST  # the zygote's own, of the template, of the box that waits
            sbxtest.poll(lambda: self.held()["descriptors"]["mnt:[N]"] <= namespaces, self.held,
                         30)
            held.append(self.held())
        for each in held:
            self.assertEqual(each["children"], 2 * LEAST, each)
            each["descriptors"].pop("user:[N]", None)  # of the last owner of a checkout
        self.assertEqual(held[2], held[0])
        self.assertEqual(held[1], held[0])

    def test_no_more_wait_than_may(self):
        self.worker.config["sandbox.pool_most"] = "1"
        self.worker.stop()
        self.worker.start()
        try:
            self.burst(12)
            told = self.told()
            self.assertEqual((told["most"], told["wanted_waiting"]), (1, 1))
        finally:
            del self.worker.config["sandbox.pool_most"]
            self.worker.stop()
            self.worker.start()

    def test_networks_that_show_no_trace_are_used_anew(self):
        self.assertEqual(self.told()["networks_reused"], 0)  # by default none is
        self.worker.config["sandbox.reuse_networks"] = "true"
        self.worker.stop()
        self.worker.start()
        try:
            for _ in range(4):
                self.assert_verdict(self.run_job(), "passed")
            told = self.told()
            self.assertGreaterEqual(told["networks_reused"], 2, told)
            # One is let go of when the kernel has put off the end of a socket of the proof.
            self.assertLess(told["networks_refused"], told["networks_reused"], told)
            self.assertEqual(told["networks_made"] + told["networks_reused"], told["made"])
            send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)" \
                   ".sendto(b'x', ('127.0.0.1', 9))"
            for _ in range(4):
                self.assert_verdict(self.run_job(steps=[["python3", "-c", send]]), "passed")
            self.assertGreaterEqual(self.told()["networks_refused"], 2, self.told())
        finally:
            del self.worker.config["sandbox.reuse_networks"]
            self.worker.stop()
            self.worker.start()

    def test_none_waits_where_none_has_to(self):
        self.worker.config["sandbox.pool_least"] = "0"
        self.worker.stop()
        self.worker.start()
        try:
            self.assertEqual(self.told()["kept"], 0)
            self.assertFalse(groups_of(self.worker))
            self.burst(3)
            sbxtest.poll(lambda: self.told()["kept"] == 0 and not groups_of(self.worker),
                         self.told, 30)
        finally:
            self.worker.config["sandbox.pool_least"] = str(LEAST)
            self.worker.stop()
            self.worker.start()


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
