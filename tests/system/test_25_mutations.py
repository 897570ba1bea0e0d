"""Hundreds of jobs with something wrong at random: each has an end, and the worker none.

    SBX_MUTATIONS=5000 SBX_MUTATIONS_SEED=7 tests/system/test_25_mutations.py

A mutation changes, removes or breaks fields of a golden job or of one that can
run, or bytes of the message. Whatever it makes of it, there is a result or a
dead letter, no fault of the host among them, and the processes of the worker
have neither more descriptors nor much more memory afterwards.
"""
import copy
import os
import random
import re
import secrets

import msgpack
import sbxtest

COUNT = int(os.environ.get("SBX_MUTATIONS", "400"))
SEED = int(os.environ.get("SBX_MUTATIONS_SEED", secrets.randbelow(1 << 31)))
BATCH = 40
GROWTH_KIB = 8192
GOLDEN = ("job-maximal", "job-typical", "job-minimal", "job-unknown-fields")

VALUES = (None, True, False, 0, 1, -1, 2 ** 31, 2 ** 32, 2 ** 63 - 1, -2 ** 63, 2 ** 64 - 1, 1.5,
          float("inf"), float("nan"), "", "a", "\0", "\n", "\x1b[31m", "..", "/", "../x",
          "é" * 50, "a" * 70000, b"", b"\0\xff" * 10, b"x" * 100000, [], {}, [[]], [None],
          ["a"] * 300, {"a": 1}, {1: 2}, {"": ""}, [{}] * 70, msgpack.ExtType(5, b"abc"),
          msgpack.Timestamp(1, 2), "*" * 1000, "**/" * 300, "[", "[a-", "{a,b}", "%s%n",
          "../../etc/passwd", ".git/config")


def nodes(value, path=()):
    """The paths of all that is in maps and lists, at any depth."""
    keys = value if isinstance(value, dict) else range(len(value)) \
        if isinstance(value, list) else ()
    for key in list(keys):
        yield path + (key,)
        yield from nodes(value[key], path + (key,))


def id_of(body, otherwise):
    """Under which id its result comes: damage may have made another of it."""
    try:
        found = msgpack.unpackb(body, strict_map_key=False)
        return found["id"] if isinstance(found["id"], str) else otherwise
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException):
        return otherwise


class Mutator:
    def __init__(self, seed, seeds):
        self.random = random.Random(seed)
        self.seeds = seeds

    def change(self, job):
        path = self.random.choice(list(nodes(job)))
        parent = job
        for key in path[:-1]:
            parent = parent[key]
        value = parent[path[-1]]
        kind = self.random.random()
        if path == ("id",):
            return
        if kind < 0.2:
            del parent[path[-1]]
        elif kind < 0.4 and isinstance(value, (str, bytes)) and value:
            at = self.random.randrange(len(value))
            odd = self.random.choice("\0\n/.\\\"é @-+")
            odd = odd if isinstance(value, str) else odd.encode()
            parent[path[-1]] = value[:at] + odd + value[at + self.random.choice((0, 1)):]
        else:
            parent[path[-1]] = copy.deepcopy(self.random.choice(VALUES))

    def damage(self, body):
        body = bytearray(body)
        for _ in range(self.random.choice((1, 1, 2, 5))):
            at = self.random.randrange(len(body))
            if self.random.random() < 0.6:
                body[at] = self.random.randrange(256)
            else:
                del body[at:at + self.random.choice((1, 4, 50))]
            if not body:
                return b"\xc0"
        return bytes(body)

    def message(self, job_id):
        job = copy.deepcopy(self.random.choice(self.seeds))
        job["id"] = job_id
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            self.change(job)
        body = msgpack.packb(job, use_bin_type=True)
        return self.damage(body) if self.random.random() < 0.2 else body


class Mutations(sbxtest.WorkerCase):
    config = {"worker__max_attempts": 1, "log__level": "info"}

    @classmethod
    def prepare(cls):
        cls.repo.commit({"README": "one\ntwo\n", "d/a": "a\n"})

    def seeds(self):
        runs = sbxtest.job_of(
            self.repo, self.repo.diff({"README": "one\n2\n", "n": "x\n"}),
            [{"name": "a", "run": ["true"]},
             {"shell": "echo 'ok 1 - t'; echo 1..1; touch z", "env": {"A": "b"}, "stdin": b"x"}],
            tests={"format": "tap"}, artifacts={"paths": ["**"], "max_bytes": 1000},
            limits={"wall_ms": 5000, "memory_bytes": 100 << 20, "disk_bytes": 10 << 20,
                    "inodes": 500, "processes": 20, "open_files": 50, "file_bytes": 1 << 20,
                    "output_bytes": 10000, "cpu_ms": 4000, "idle_ms": 3000},
            protect={"paths": ["x"], "restore": ["README"]}, labels={"a": "b"}, tenant="t")
        golden = []
        for name in GOLDEN:
            path = os.path.join(sbxtest.ROOT, "tests/golden", f"{name}.msgpack")
            with open(path, "rb") as stream:
                golden.append(msgpack.unpackb(stream.read(), strict_map_key=False))
        return [runs] * 6 + golden

    def shape(self):
        """Of each process of the worker: resident KiB and descriptors."""
        found = {}
        for role in ("storekeeper", "zygote", "publisher", "supervisor"):
            pid = self.worker.process.pid if role == "supervisor" else self.worker.role(role)
            status = sbxtest.leftovers.read(f"/proc/{pid}/status")
            found[role] = (int(re.search(rb"VmRSS:\s+(\d+)", status).group(1)),
                           len(os.listdir(f"/proc/{pid}/fd")))
        return found

    def answered(self, bodies):
        """Which of the messages have an end by now; takes all results and dead letters."""
        self.worker.assert_alive()
        self.client.collect()
        while self.client.depth("dead") > 0:
            self.dead.add(self.client.dead_letter()["body"])
        return all(job_id in self.client.results or body in self.dead
                   for job_id, body in bodies.items())

    def send_batch(self, mutator, count):
        bodies = {}
        for _ in range(count):
            job_id = "t-" + secrets.token_hex(8)
            body = mutator.message(job_id)
            bodies[id_of(body, job_id)] = body
            self.client.publish_raw(body)
        sbxtest.poll(lambda: self.answered(bodies), lambda: "an end of each of "
                     f"{[body for body in bodies.values() if body not in self.dead]}", 90)
        for job_id, copies in self.client.results.items():
            result = copies[0]["result"]
            # Another name in the allowed directory is a repository that is not there yet.
            if result.get("reason", {}).get("code") != "source.unreachable":
                self.assertNotEqual(result["verdict"], "error", (job_id, copies))
        self.client.results.clear()
        self.dead.clear()

    def test_mutations(self):
        print(f"seed {SEED}", flush=True)
        mutator = Mutator(SEED, self.seeds())
        self.dead = set()
        self.send_batch(mutator, 2 * BATCH)  # caches fill
        before = self.shape()
        for _ in range(0, COUNT, BATCH):
            self.send_batch(mutator, BATCH)
        self.assert_verdict(self.run_job(), "passed")
        after = self.shape()
        for role, (kib, descriptors) in after.items():
            self.assertLess(kib, before[role][0] + GROWTH_KIB, (before, after))
            self.assertLess(descriptors, before[role][1] + 70, (before, after))


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
