"""Batches of jobs, and waiting for jobs that were submitted before; results are the test's own."""
import json
import os
import select
import signal
import subprocess
import time

import msgpack
import pika
import sbxtest
from submitting import SubmitCase


class BatchCase(SubmitCase):
    emptied = (*SubmitCase.emptied, "results")

    def submit(self, *arguments, stdin=None, timeout=120):
        return super().submit(*arguments, stdin=stdin, timeout=timeout)

    def file(self, name, lines):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n"
                              for line in lines)
        return path

    def journal(self, name):
        path = os.path.join(self.folder, name)
        if os.path.exists(path):
            os.unlink(path)
        return path

    def queued(self, *suffixes):
        """The jobs of all queues, taken."""
        return [job for _, job in super().queued(*suffixes or ("jobs.high", "jobs", "jobs.low"))]

    def publish_result(self, job_id, verdict="passed", run=1, tenant="default", **fields):
        result = {"v": 1, "job": job_id, "run": run, "attempt": 1, "worker": "test",
                  "tenant": tenant, "verdict": verdict, "states": [], "steps": [], **fields}
        self.client.with_channel(lambda channel: channel.basic_publish(
            self.client.name("results"), f"{tenant}.{job_id}", msgpack.packb(result),
            pika.BasicProperties(message_id=f"{job_id}.{run}", delivery_mode=2)))

    def control(self, *arguments):
        return subprocess.run([sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "-q", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False).stdout


class Batch(BatchCase):
    def test_ten_thousand_jobs(self):
        path = self.file("many.jsonl", ({"v": 1, "id": f"m{n}"} for n in range(10000)))
        begun = time.monotonic()
        done = self.submit("batch", path)
        seconds = time.monotonic() - begun
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split(), [f"m{n}" for n in range(10000)])
        self.assertIn("10000 lines: 10000 sent, 0 skipped, 0 refused", done.stderr)
        self.assertEqual(self.client.depth("jobs"), 10000)
        # One confirm at a time would take longer than this.
        self.assertLess(seconds, 30)

    def test_each_bad_line_is_named_and_the_others_are_sent(self):
        path = self.file("mixed.jsonl", [
            {"v": 1, "id": "a", "priority": "high"}, "", "{bad", {"v": 1, "id": "a"},
            {"id": "s", "steps": [{}]}, "[]", {"id": "e", "limit": {}}, "\u00e4", "   ",
            {"id": "last", "labels": {"\u00fc": "\u20ac"}}])
        done = self.submit("batch", path)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.split(), ["a", "e", "last"])
        for said in ("line 3: job.malformed", "line 4 ('a'): job.id_reused: line 1 has",
                     "line 5 ('s'): job.invalid: steps[0]", "line 6: job.malformed",
                     "line 7: limit: unknown field; did you mean 'limits'?",
                     "line 8: job.malformed",
                     "10 lines: 3 sent, 0 skipped, 5 refused, 0 failed, 2 blank"):
            self.assertIn(said, done.stderr)
        self.assertEqual([job["id"] for job in self.queued()], ["a", "e", "last"])

    def test_json_has_a_line_for_each_and_a_summary(self):
        path = self.file("json.jsonl", [{"id": "a"}, "{", {"id": "b", "run": 0}])
        done = self.submit("batch", path, "--json")
        self.assertEqual(done.returncode, 1)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        summary = lines.pop()
        self.assertLess(summary.pop("seconds"), 60)
        self.assertEqual(summary, {"summary": True, "lines": 3, "sent": 1, "skipped": 0,
                                   "refused": 2, "failed": 0, "blank": 0, "unknown": 0,
                                   "complete": True})
        lines.sort(key=lambda line: line["line"])
        self.assertEqual(lines[0], {"line": 1, "id": "a", "queued": True})
        self.assertEqual([(line["line"], line["queued"], line["code"]) for line in lines[1:]],
                         [(2, False, "job.malformed"), (3, False, "job.invalid")])

    def test_a_dry_run_needs_no_broker(self):
        done = self.program("sbx-submit", "batch", "-", "--dry-run", stdin='{"id":"a"}\n{"id":1}')
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 lines: 1 valid, 0 skipped, 1 refused", done.stderr)

    def test_usage(self):
        for arguments in (["batch"], ["batch", "a", "b"], ["batch", "/no/such/file"],
                          ["batch", "-", "--dry-run", "--resume", "x"], ["wait"],
                          ["wait", "no id"], ["follow"], ["follow", "a", "b"]):
            done = self.submit(*arguments, stdin="")
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
        self.assertEqual(self.submit("batch", "-", stdin="").returncode, 0)

    # --- going on ---------------------------------------------------------

    def test_a_repeated_batch_sends_nothing_twice(self):
        journal = self.journal("repeat.done")
        path = self.file("repeat.jsonl", [{"id": "a"}, {"stage": "named by the batch"}, "{",
                                          {"id": "c"}])
        done = self.submit("batch", path, "--resume", journal)
        self.assertEqual(done.returncode, 1)
        first = self.queued()
        self.assertEqual(len(first), 3)
        done = self.submit("batch", path, "--resume", journal)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("0 sent, 3 skipped, 1 refused", done.stderr)
        self.file("repeat.jsonl", [{"id": "a"}, {"stage": "named by the batch"}, {"id": "b"},
                                   {"id": "c", "stage": "another content"}])
        done = self.submit("batch", path, "--resume", journal)
        self.assertEqual((done.returncode, done.stdout), (1, "b\n"))
        self.assertIn("line 4 ('c'): job.id_reused", done.stderr)
        self.assertEqual([job["id"] for job in self.queued()], ["b"])

    def test_a_journal_is_repaired_and_nothing_else_is_touched(self):
        journal = self.journal("torn.done")
        path = self.file("torn.jsonl", [{"id": "a"}, {"id": "b"}])
        self.assertEqual(self.submit("batch", path, "--resume", journal).returncode, 0)
        with open(journal, "r+b") as stream:
            stream.truncate(os.path.getsize(journal) - 5)
        done = self.submit("batch", path, "--resume", journal)
        self.assertEqual((done.returncode, done.stdout), (0, "b\n"), done.stderr)
        self.assertEqual(len(self.queued()), 3)
        for text in ("somebody's own file", "somebody's\nown\n", "sbx-batch 2 x\n"):
            with open(journal, "w", encoding="utf-8") as stream:
                stream.write(text)
            done = self.submit("batch", path, "--resume", journal)
            self.assertEqual(done.returncode, 2)
            self.assertIn("is no journal", done.stderr)
            with open(journal, encoding="utf-8") as stream:
                self.assertEqual(stream.read(), text)

    def interrupt(self, number):
        """Kills a batch in its midst, then repeats it; the jobs by id."""
        count = 5000
        path = self.file("cut.jsonl", ({"stage": str(n)} for n in range(count)))
        journal = self.journal("cut.done")
        process = self.start("batch", path, "--resume", journal)
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(number)
        rest, said = process.communicate(timeout=60)
        sbxtest.poll(lambda: self.client.depth("jobs") >= 100, "the first jobs")
        self.assertLess(len(rest.split()), count - 100, "the batch was over before the signal")
        done = self.submit("batch", path, "--resume", journal, "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        jobs = {}
        for job in self.queued():
            jobs.setdefault(job["id"], []).append(job["stage"])
        self.assertEqual(sorted(stages[0] for stages in jobs.values()),
                         sorted(str(n) for n in range(count)))
        self.assertTrue(all(len(set(stages)) == 1 for stages in jobs.values()))
        return process.returncode, said, sum(len(stages) - 1 for stages in jobs.values())

    def test_an_interrupted_batch_goes_on(self):
        code, said, twice = self.interrupt(signal.SIGINT)
        self.assertEqual(code, 1)
        self.assertIn("repeat the command to go on", said)
        self.assertEqual(twice, 0)

    def test_a_killed_batch_goes_on(self):
        code, _, twice = self.interrupt(signal.SIGKILL)
        self.assertEqual(code, -signal.SIGKILL)
        # At most what was not noted yet was sent again, under the same ids.
        self.assertLess(twice, 4000)

    def test_two_batches_may_not_share_a_journal(self):
        journal = self.journal("shared.done")
        process = self.start("batch", "-", "--resume", journal, stdin=subprocess.PIPE)
        process.stdin.write('{"id":"a"}\n')
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "a\n")
        done = self.submit("batch", "-", "--resume", journal, stdin='{"id":"b"}')
        self.assertEqual(done.returncode, 2)
        self.assertIn("used by another batch", done.stderr)
        process.stdin.write('{"id":"c"}')
        out, said = process.communicate(timeout=30)
        self.assertEqual((process.returncode, out), (0, "c\n"), said)

    def test_a_lost_connection_is_made_again(self):
        process = self.start("batch", "-", stdin=subprocess.PIPE)
        for n in range(50):
            process.stdin.write(f'{{"id":"r{n}"}}\n')
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), f"r{n}\n")
            if n == 20:
                sbxtest.poll(self.drop, "the connection to be closed")
        out, said = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (0, ""), said)
        self.assertIn("connected again", said)
        self.assertEqual({job["id"] for job in self.queued()}, {f"r{n}" for n in range(50)})

    def drop(self):
        """Closes the connections that sbx-submit has open; how many there were."""
        listed = self.control("list_connections", "pid", "client_properties")
        names = [line.split("\t")[0] for line in listed.splitlines()
                 if "sbx-submit batch" in line]
        for name in names:
            self.control("close_connection", name, "test")
        return len(names)


class Blocked(BatchCase):
    def test_a_broker_that_confirms_nothing_is_given_up_after_the_timeout(self):
        if not sbxtest.BROKER_DIR:
            self.skipTest("the broker is not ours")
        self.assertEqual(self.submit("batch", "-", stdin='{"id": "before"}\n').returncode, 0)
        lines = "".join(json.dumps({"id": f"b-{number}"}) + "\n" for number in range(2000))
        ctl = [sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "set_vm_memory_high_watermark"]
        subprocess.run([*ctl, "absolute", "1"], check=True, stdout=subprocess.DEVNULL)
        try:
            done = self.submit("batch", "-", "--timeout", "2s", stdin=lines)
        finally:
            subprocess.run([*ctl, "0.6"], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertIn("takes nothing now", done.stderr)
        self.assertIn("confirmed nothing for", done.stderr)
        self.assertIn("is not known", done.stderr)


class Wait(BatchCase):
    def test_results_of_before_and_after(self):
        self.publish_result("w1")
        self.publish_result("other", "error")
        process = self.start("wait", "w1", "w2", "w3", "w1", "--json")
        self.assertEqual(json.loads(process.stdout.readline())["job"], "w1")
        self.publish_result("w3", "limit")
        self.assertEqual(json.loads(process.stdout.readline())["job"], "w3")
        self.publish_result("w3", "error")
        self.publish_result("w2", "failed")
        out, said = process.communicate(timeout=30)
        self.assertEqual(json.loads(out)["job"], "w2")
        self.assertEqual(process.returncode, 4, said)
        # Nothing was taken from those who read the shared queue.
        self.assertEqual(self.client.depth("results"), 5)

    def test_one_line_each_for_several_and_a_report_for_one(self):
        self.publish_result("l1")
        self.publish_result("l2", "rejected", reason={"code": "patch.empty", "message": "so\x1b[m"})
        done = self.submit("wait", "-", stdin="l1\nl2\n\n")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(sorted(done.stdout.splitlines()),
                         ["passed  l1", "rejected  l2  patch.empty: so\\x1b[m"])
        done = self.submit("wait", "l1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("l1", done.stdout)

    def test_a_result_behind_more_than_a_consumer_can_hold_is_found(self):
        def fill(_):
            # Without confirms, for the time it takes; the last one tells that all are there.
            channel = self.client.connection.channel()
            for number in range(66000):
                channel.basic_publish(self.client.name("results"), f"default.f{number}", b"\x80",
                                      pika.BasicProperties(message_id=f"f{number}.1"))
            channel.close()

        self.client.with_channel(fill)
        self.publish_result("behind")
        sbxtest.poll(lambda: self.client.depth("results") > 66000, "all results")
        before = self.client.depth("results")
        done = self.submit("wait", "behind", "--json", "--timeout", "5s")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["job"], "behind")
        sbxtest.poll(lambda: self.client.depth("results") == before, "nothing to be taken")
        self.client.purge("results")

    def test_the_latest_run_counts(self):
        self.publish_result("again", "error")
        self.publish_result("again", "passed", run=2)
        self.publish_result("again", "failed", run=1)
        done = self.submit("wait", "again", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["run"]), (0, 2), done.stderr)
        done = self.submit("wait", "again", "--run", "3", "--timeout", "300ms")
        self.assertEqual(done.returncode, 6)
        self.assertIn("no result of 'again' within 300 ms", done.stderr)

    def test_results_of_any_tenant_are_waited_for_unless_one_is_named(self):
        for number, (options, binding) in enumerate((((), "#"), (("--tenant", "acme"), "acme.#"))):
            ids = [f"t{number}.1", f"t{number}.2"]
            process = self.start("wait", *ids, *options, "--json", "--timeout", "30s")
            sbxtest.poll(lambda: self.is_waiting(process, binding), "the waiting producer's queue")
            for job_id in ids:
                self.publish_result(job_id, tenant="acme")
            out, said = process.communicate(timeout=40)
            self.assertEqual(process.returncode, 0, said)
            self.assertEqual(len(out.splitlines()), 2)

    def test_one_job_of_any_tenant_is_waited_for_and_followed(self):
        for command in ("wait", "follow"):
            job_id = f"any.{command}"
            process = self.start(command, job_id, "--json", "--timeout", "30s")
            sbxtest.poll(lambda: self.is_waiting(process, f"#.{job_id}"), "its queue")
            self.publish_result(f"other.{job_id}", "failed", tenant="acme.inc")
            self.publish_result(job_id, tenant="acme.inc")
            out, said = process.communicate(timeout=40)
            self.assertEqual((process.returncode, json.loads(out)["job"]), (0, job_id), said)

    def is_waiting(self, process, binding):
        bindings = self.control("list_bindings", "source_name", "destination_name", "routing_key")
        return any(line.startswith(f"{self.prefix}.results\t{self.prefix}.reply.") and
                   line.endswith(f"\t{binding}") for line in bindings.splitlines()) or \
            process.poll() is not None

    def test_a_batch_is_waited_for(self):
        done = self.submit("batch", "-", stdin='{"id":"p1"}\n{"id":"p2"}\n')
        for job_id in done.stdout.split():
            self.publish_result(job_id)
        self.assertEqual(self.submit("wait", "-", "--quiet", stdin=done.stdout).returncode, 0)

    def test_following_a_job_that_runs(self):
        process = self.start("follow", "f1")

        def event(channel):
            channel.basic_publish(
                self.client.name("events"), "job.f1.output",
                msgpack.packb({"v": 1, "id": "f1", "run": 1, "kind": "output", "step": "unit",
                               "stream": "stdout", "data": b"live\n"}))
            return self.has_said(process)

        sbxtest.poll(lambda: self.client.with_channel(event), "a live line")
        self.assertEqual(process.stdout.readline(), "unit | live\n")
        self.publish_result("f1", "failed")
        out, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("f1", out)

    def has_said(self, process):
        return bool(select.select([process.stdout], [], [], 0)[0])

    def test_following_a_job_that_is_over(self):
        self.publish_result("f2", "limit")
        done = self.submit("follow", "f2", "--json")
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertEqual(json.loads(done.stdout)["job"], "f2")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
