"""contrib/python: typed jobs and results, against the broker, the protocol and a worker."""
import dataclasses
import os
import re
import subprocess
import sys
import typing

import msgpack
import pika
import sbxtest
from submitting import SubmitCase

PACKAGE = os.path.join(sbxtest.ROOT, "contrib/python")
sys.path.insert(0, PACKAGE)

import sbx_client  # noqa: E402
from sbx_client import Client, Job, Limits, Patch, Reader, Result, Source, Step  # noqa: E402
from sbx_client.record import Record, _plain  # noqa: E402


def fields_of(record, prefix=""):
    """Every field as the protocol's tables spell it."""

    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        if field.name == "extra":
            continue
        kind, argument = _plain(hints[field.name])
        yield prefix + field.name
        if kind is list and isinstance(argument, type) and issubclass(argument, Record):
            yield from fields_of(argument, f"{prefix}{field.name}[].")
        elif issubclass(kind, Record):
            yield from fields_of(kind, f"{prefix}{field.name}.")


def without_nil(value):
    """Fields that are nil and those that are absent are the same."""
    if isinstance(value, dict):
        return {key: without_nil(item) for key, item in value.items() if item is not None}
    return [without_nil(item) for item in value] if isinstance(value, list) else value


class Types(sbxtest.Case):
    needs_broker = False

    def rows(self, title):
        with open(os.path.join(sbxtest.ROOT, "schema/PROTOCOL.md"), encoding="utf-8") as stream:
            section = re.search(rf"^## {title}\n(.*?)^## ", stream.read(), re.DOTALL | re.MULTILINE)
        rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]*) \|", section.group(1), re.MULTILINE)
        return {name for name, absent in rows if "refused for now" not in absent}

    def test_every_field_of_a_job_is_there(self):
        wanted = {name for name in self.rows("The job") if not name.startswith("network.")}
        self.assertGreater(len(wanted), 50)
        self.assertEqual(set(fields_of(Job)), wanted)

    def test_every_field_of_a_result_is_there(self):
        wanted = self.rows("The result")
        self.assertGreater(len(wanted), 70)
        # One class for both kinds of changed files has the fields of both.
        shared = {"patch.files[].size", "changes[].additions", "changes[].deletions"}
        self.assertEqual(set(fields_of(Result)) - shared, wanted - shared)

    def test_golden_messages_survive(self):
        folder = os.path.join(sbxtest.ROOT, "tests/golden")
        names = [name for name in os.listdir(folder) if name.endswith(".msgpack")]
        self.assertGreater(len(names), 5)
        for name in names:
            with open(os.path.join(folder, name), "rb") as stream:
                message = msgpack.unpackb(stream.read())
            kind = Job if name.startswith("job") else Result
            again = kind.from_map(message).to_map()
            for key, value in without_nil(message).items():
                if kind is Job:
                    self.assertEqual(without_nil(again)[key], value, name)
                else:
                    self.assertIn(key, again, name)
            if kind is Job:
                self.assertEqual(set(without_nil(again)), set(without_nil(message)), name)

    def test_wrong_types_are_named(self):
        for job, said in ((Job(steps=[Step(run="make")]), r"run: expected list, found str"),
                          (Job(steps=[Step(run=["a", 1])]), r"run\[1\]: expected str, found int"),
                          (Job(limits=Limits(wall_ms="5")), "wall_ms: expected int"),
                          (Job(limits=Limits(wall_ms=True)), "wall_ms: expected int, found bool"),
                          (Job(labels={"a": 1}), r"labels\.a: expected str")):
            with self.assertRaisesRegex(TypeError, said):
                job.to_map()
        self.assertEqual(Job(id="x", patch=Patch("text"), extra={"mine": 1}).to_map(),
                         {"id": "x", "v": 1, "patch": {"diff": b"text"}, "mine": 1})


class PackageCase(SubmitCase):
    emptied = ("jobs", "jobs.high", "jobs.low", "results")

    def setUp(self):
        super().setUp()
        self.mine = Client(sbxtest.BROKER_URL, self.prefix, name=f"python {self.prefix}")
        self.addCleanup(self.mine.close)

    def publish_result(self, job_id, verdict="passed", run=1, tenant="default"):
        result = {"v": 1, "job": job_id, "run": run, "attempt": 1, "verdict": verdict,
                  "tenant": tenant, "states": [], "new": 1}
        self.client.with_channel(lambda channel: channel.basic_publish(
            self.client.name("results"), f"{tenant}.{job_id}", msgpack.packb(result),
            pika.BasicProperties(message_id=f"{job_id}.{run}")))

    def drop(self):
        control = [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "-q"]
        listed = subprocess.run([*control, "list_connections", "pid", "client_properties"],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False).stdout
        names = [line.split("\t")[0] for line in listed.splitlines()
                 if f"python {self.prefix}" in line]
        for name in names:
            subprocess.run([*control, "close_connection", name, "test"], check=False,
                           stdin=subprocess.DEVNULL, capture_output=True)
        return names


class Package(PackageCase):
    def test_what_is_sent(self):
        job = Job(source=Source("/r", "main"), patch=Patch(b"\xff\0"), id="p1", priority="low",
                  steps=[Step(run=["make", "test"], env={"A": "b"}, stdin=b"x")],
                  limits=Limits(cpus=1.5, wall_ms=1000), labels={"a": "b"}, extra={"own": [1]})
        self.assertEqual(self.mine.submit(job), "p1")
        [(properties, got)] = self.queued("jobs.low")
        self.assertEqual(got, {
            "v": 1, "id": "p1", "priority": "low", "source": {"repo": "/r", "commit": "main"},
            "patch": {"diff": b"\xff\0"}, "labels": {"a": "b"}, "own": [1],
            "steps": [{"run": ["make", "test"], "env": {"A": "b"}, "stdin": b"x"}],
            "limits": {"cpus": 1.5, "wall_ms": 1000}})
        self.assertEqual((properties.message_id, properties.delivery_mode,
                          properties.content_type), ("p1", 2, "application/msgpack"))
        done = self.program("sbx-submit", "-", "--dry-run", stdin=sbxtest.json_of(
            {key: value for key, value in got.items() if key != "patch"}))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_each_result_once(self):
        jobs = [Job(id=f"w{n}") for n in range(3)]
        for job in jobs:
            self.mine.submit(job)
        for n in (1, 0, 2, 1):
            self.publish_result(f"w{n}", "failed" if n else "passed")
        self.publish_result("w1", "error")
        self.publish_result("other")
        results = list(self.mine.results(jobs, timeout=30))
        self.assertEqual(sorted((result.job, result.exit_code) for result in results),
                         [("w0", 0), ("w1", 1), ("w2", 1)])
        self.assertEqual(results[0].extra, {"new": 1})
        with self.assertRaises(sbx_client.SbxError):
            self.mine.wait("w1")

    def test_only_the_run_that_was_sent(self):
        self.mine.submit(Job(id="again", run=2))
        self.publish_result("again", "error", run=1)
        self.publish_result("again", run=2)
        self.assertTrue(self.mine.wait("again", timeout=30).passed)

    def test_patience_ends(self):
        job = Job()
        self.mine.submit(job)
        with self.assertRaises(sbx_client.WaitTimeout):
            self.mine.wait(job, timeout=0.2)

    def test_many_at_once(self):
        jobs = [Job(id=f"m{n}") for n in range(3000)]
        jobs[5].labels = {"a": 1}
        outcomes = self.mine.submit_many(jobs)
        self.assertEqual([outcome.id for outcome in outcomes], [job.id for job in jobs])
        self.assertEqual([outcome.id for outcome in outcomes if not outcome.queued], ["m5"])
        self.assertIn("labels.a", outcomes[5].error)
        self.assertEqual([job["id"] for _, job in self.queued()],
                         [f"m{n}" for n in range(3000) if n != 5])
        for n in (7, 8):
            self.publish_result(f"m{n}")
        self.assertEqual({result.job for result in self.mine.results(["m7", "m8"], 30)},
                         {"m7", "m8"})

    def test_a_reader_has_each_result_until_it_is_done(self):
        self.client.purge("results")
        for job_id in ("a", "a", "b"):
            self.publish_result(job_id, "failed", run=2)
        with Reader(sbxtest.BROKER_URL, self.prefix) as reader:
            for result in reader.results(idle=5):
                self.assertEqual((result.job, result.run), ("a", 2))
                break
        with Reader(sbxtest.BROKER_URL, self.prefix) as reader:
            self.assertEqual([result.job for result in reader.results(idle=1)], ["a", "b"])
        sbxtest.poll(lambda: self.client.depth("results") == 0, "the acks")

    def test_a_cancel_says_which_run(self):
        heard = self.client.with_channel(lambda channel: channel.queue_declare(
            "", exclusive=True).method.queue)
        self.client.channel.queue_bind(heard, self.client.name("control"))
        self.mine.cancel(Job(id="c", run=3))
        self.mine.cancel("d")
        got = [msgpack.unpackb(self.client.channel.basic_get(heard, auto_ack=True)[2])
               for _ in range(2)]
        self.assertEqual(got, [{"v": 1, "kind": "cancel", "id": "c", "run": 3},
                               {"v": 1, "kind": "cancel", "id": "d", "run": 1}])

    def test_what_no_queue_takes(self):
        lost = Client(sbxtest.BROKER_URL, self.prefix, timeout=5)
        self.addCleanup(lost.close)
        self.client.with_channel(lambda channel: channel.queue_unbind(
            self.client.name("jobs.low"), self.client.name(""), "jobs.low"))
        self.addCleanup(self.client.with_channel, lambda channel: channel.queue_bind(
            self.client.name("jobs.low"), self.client.name(""), "jobs.low"))
        with self.assertRaises(sbx_client.NotConfirmed):
            lost.submit(Job(priority="low"), expect=False)
        [outcome] = lost.submit_many([Job(priority="low")], expect=False)
        self.assertIn("no queue takes it", outcome.error)

    def test_a_lost_connection_is_made_again(self):
        job = Job()
        self.mine.submit(job)
        sbxtest.poll(self.drop, "the connection to be closed")
        self.publish_result(job.id)
        self.assertTrue(self.mine.wait(job, timeout=60).passed)
        self.mine.submit(Job(id="after"), expect=False)
        self.assertIn("after", [each["id"] for _, each in self.queued()])

    def test_no_broker(self):
        with self.assertRaises(sbx_client.NotConfirmed):
            Client("amqp://127.0.0.1:1/", timeout=0.5)


class Pipeline(sbxtest.WorkerCase):
    def patch(self, name, files):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(self.repo.diff(files))
        return path

    def test_the_example_with_a_worker(self):
        good = self.patch("good.diff", {"good": "1\n", "new": "x\n"})
        half = self.patch("half.diff", {"new": "x\n"})
        bad = self.patch("bad.diff", {"other": "x\n"})
        done = subprocess.run(
            ["/usr/bin/python3", os.path.join(PACKAGE, "examples/pipeline.py"), self.repo.path,
             self.repo.head(), "test -e new", "test -e good", good, half, bad],
            env=sbxtest.clean_env(self.folder, SBX_QUEUE_URL=sbxtest.BROKER_URL,
                                  SBX_PREFIX=self.prefix, PYTHONDONTWRITEBYTECODE="1"),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split()[:3] for line in done.stdout.splitlines()]
        self.assertEqual(lines, [["passed", "full", good], ["failed", "full", half],
                                 ["failed", "quick", bad]])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
