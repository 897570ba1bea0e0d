"""Dead letters chosen by filters: listed, edited and replayed, purged, exported and imported."""
import json
import os
import pty
import select
import signal
import subprocess
import time

import msgpack
import pika
import sbxtest
from submitting import SubmitCase

HOUR_MS = 3600000


class Filters(SubmitCase):
    def bury(self, body, reason="host.fault", age_ms=0, **properties):
        message_id = body.get("id") if isinstance(body, dict) else None
        headers = {"x-sbx-reason": reason, "x-sbx-attempts": 3, "x-sbx-error": "why",
                   "x-sbx-worker": "w", "x-sbx-queue": "q", "x-sbx-first-at": 1700000000000,
                   "x-sbx-last-at": int(time.time() * 1000) - age_ms,
                   "x-sbx-timestamp-us": 1700000000123456}
        headers.update(properties.pop("headers", {}))
        self.client.with_channel(lambda channel: channel.basic_publish(
            self.client.name("dead"), properties.pop("key", "jobs"),
            body if isinstance(body, bytes) else msgpack.packb(body),
            pika.BasicProperties(content_type="application/msgpack", delivery_mode=2,
                                 timestamp=1700000000, headers=headers,
                                 **{"message_id": message_id, **properties})))

    def bury_some(self):
        self.bury({"v": 1, "id": "build-1", "tenant": "acme"}, "limit.memory")
        self.bury({"v": 1, "id": "build-2"}, "limit.wall", 5 * HOUR_MS)
        self.bury({"v": 1, "id": "test-1", "tenant": "acme"}, "source.unreachable", 5 * HOUR_MS)
        self.bury({"v": 1, "id": "test-2"}, "limit.memory")
        self.bury(b"\xc1", "job.malformed")

    def ids(self, *options):
        done = self.submit("dead", "list", "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    def raw_letters(self):
        """Every letter as the broker has it, taken: (key, properties, body)."""
        found = self.client.take_all("dead")
        for _, properties, _ in found:
            properties.headers = {key: value for key, value in properties.headers.items()
                                  if key != "x-delivery-count"}
        return [(method.routing_key, properties, body) for method, properties, body in found]

    # --- edits ----------------------------------------------------------

    def test_an_edit_of_an_unknown_field_is_warned_of(self):
        self.bury({"v": 1, "id": "e1", "labels": {"a": "1", "b": "2"}, "future": 7})
        done = self.submit("replay", "e1", "--edit", "limit.wall_ms=5m", "--edit", "labels.a=",
                           "--edit", "future=")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--edit: limit.wall_ms: unknown field", done.stderr)
        self.assertEqual([body for _, body in self.queued()],
                         [{"v": 1, "id": "e1", "labels": {"b": "2"}, "limit": {"wall_ms": "5m"},
                           "replayed_from": "e1.1", "run": 2}])

    def test_another_id_is_said_and_only_given_to_one_letter(self):
        for job_id in ("o1", "o2"):
            self.bury({"v": 1, "id": job_id})
        for which in (["--all", "--yes"], ["o1", "o2"]):
            done = self.submit("replay", *which, "--edit", "id=new")
            self.assertEqual(done.returncode, 2)
            self.assertIn("one ID", done.stderr)
        done = self.submit("replay", "o1", "--edit", "id=new")
        self.assertEqual(done.stdout, "o1  sent as new, run 2, priority normal\n")
        done = self.submit("replay", "o2", "--edit", "id=new2", "--json")
        self.assertEqual(json.loads(done.stdout),
                         {"id": "o2", "as": "new2", "run": 2, "sent": True})

    def test_a_pattern_in_the_place_of_an_id_is_pointed_out(self):
        self.bury({"v": 1, "id": "p1"})
        done = self.submit("replay", "p*")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no dead letter has the id 'p*'; patterns go with --id", done.stderr)

    def test_one_letter_is_no_letters(self):
        self.bury({"v": 1, "id": "s1"})
        self.assertEqual(self.submit("dead", "list").stderr, "1 dead letter, 0 not decodable\n")
        self.bury({"v": 1, "id": "s2"})
        self.assertEqual(self.submit("dead", "list", "--limit", "1").stderr,
                         "1 dead letter shown, 0 not decodable\n")

    # --- which ----------------------------------------------------------

    def test_each_filter_and_all_together(self):
        self.bury_some()
        for options, wanted in (
                (["--reason", "limit.*"], ["build-1", "build-2", "test-2"]),
                (["--reason", "source.unreachable"], ["test-1"]),
                (["--tenant", "acme"], ["build-1", "test-1"]),
                (["--tenant", "default"], ["build-2", "test-2"]),
                (["--since", "1h"], ["build-1", "test-2", "?"]),
                (["--id", "build-*"], ["build-1", "build-2"]),
                (["--id", "*-1", "--tenant", "acme", "--since", "1h"], ["build-1"]),
                (["--reason", "limit.*", "--limit", "2"], ["build-1", "build-2"]),
                (["--reason", "nothing"], []),
                ([], ["build-1", "build-2", "test-1", "test-2", "?"])):
            self.assertEqual(self.ids(*options), wanted, options)
        done = self.submit("dead", "list", "--since", "soon")
        self.assertEqual(done.returncode, 2)

    def test_what_changes_letters_asks_first(self):
        self.bury_some()
        for command in (["replay"], ["dead", "purge"]):
            self.assertEqual(self.submit(*command).returncode, 2)
            self.assertEqual(self.submit(*command, "--all", "x").returncode, 2)
            for which in (["--all"], ["--reason", "limit.*"], ["--limit", "1"]):
                done = self.submit(*command, *which)
                self.assertEqual(done.returncode, 2)
                self.assertIn("--yes", done.stderr)
        self.assertEqual(len(self.ids()), 5)

    def on_terminal(self, answer, *arguments):
        """What is said and how it ends, for a person who gives one answer."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = subprocess.Popen(
            [os.path.join(sbxtest.BIN, "sbx-submit"), *self.command(*arguments)], stdin=theirs,
            stdout=subprocess.DEVNULL, stderr=theirs, env=sbxtest.clean_env(self.folder))
        os.close(theirs)
        seen = b""

        def said(text):
            nonlocal seen
            if select.select([ours], [], [], 0)[0]:
                seen += os.read(ours, 4096)
            return text in seen

        sbxtest.poll(lambda: said(b"[y/N] "), lambda: f"the question; {seen!r}")
        os.write(ours, answer)
        return seen, process.wait(30)

    def test_a_person_is_asked_once_it_is_known_how_many(self):
        self.bury_some()
        seen, code = self.on_terminal(b"n\n", "dead", "purge", "--reason", "limit.*")
        self.assertEqual((code, len(self.ids())), (1, 5))
        self.assertIn(b"purge 3 dead letters? [y/N] ", seen)
        seen, code = self.on_terminal(b"y\n", "replay", "--id", "test-2")
        self.assertEqual((code, len(self.ids())), (0, 4))
        self.assertIn(b"replay 1 dead letter? [y/N] ", seen)
        _, code = self.on_terminal(b"y\n", "dead", "purge", "--all", "--limit", "1")
        self.assertEqual((code, self.ids()), (0, ["build-2", "test-1", "?"]))

    # --- replay ---------------------------------------------------------

    def test_replay_by_filter_leaves_the_others_in_their_order(self):
        self.bury_some()
        done = self.submit("replay", "--reason", "limit.*", "--limit", "2", "--yes")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([job["id"] for _, job in self.queued()], ["build-1", "build-2"])
        self.assertEqual(self.ids(), ["test-1", "test-2", "?"])

    def test_edits_are_typed_and_reach_into_lists(self):
        job = {"v": 1, "id": "e1", "source": {"repo": "/r", "commit": "c"}, "mine": {"keep": 1},
               "steps": [{"run": ["make", "test"]}], "stage": "s"}
        self.bury(job)
        done = self.submit(
            "replay", "e1", "--edit", "limits.memory_bytes=2g", "--edit", "limits.wall_ms=5m",
            "--edit", "limits.cpus=1.5", "--edit", "steps[0].run[1]=check", "--edit",
            "steps[0].run[2]=-v", "--edit", 'steps[1]={"shell": "true", "always": true}',
            "--edit", "steps[0].always=true", "--edit", "labels.why=123", "--edit", "stage=",
            "--edit", "mine.new=[1, 2]", "--edit", "source.commit=0123", "--edit",
            "steps[0].stdin=x=y", "--queue", "low")
        self.assertEqual((done.returncode, done.stdout),
                         (0, "e1  sent as run 2, priority low\n"), done.stderr)
        [(_, got)] = self.queued("jobs.low")
        self.assertEqual(got, {
            "v": 1, "id": "e1", "source": {"repo": "/r", "commit": "0123"},
            "mine": {"keep": 1, "new": [1, 2]}, "priority": "low",
            "steps": [{"run": ["make", "check", "-v"], "always": True, "stdin": b"x=y"},
                      {"shell": "true", "always": True}],
            "limits": {"memory_bytes": 2 << 30, "wall_ms": 300000, "cpus": 1.5},
            "labels": {"why": "123"}, "run": 2, "replayed_from": "e1.1"})

    def test_an_edit_that_cannot_be_right_is_said_before_anything_is_sent(self):
        self.bury({"v": 1, "id": "e2"})
        for edit in ("limits.wall_ms", "=1", "limits.wall_ms=soon", "limits.cpus=many", "run=7",
                     "replayed_from=x", "steps[=1", "steps[x]=1", "a..b=1", "steps=[",
                     "tests.report=no list", ".".join("a" * 40) + "=1"):
            done = self.submit("replay", "e2", "--edit", edit)
            self.assertEqual((done.returncode, done.stdout), (2, ""), edit)
            self.assertIn("--edit", done.stderr)
        for edit in ("steps[1].cwd=x", "id.x=1", "tenant[0]=1", "limits.wall_ms=0"):
            done = self.submit("replay", "e2", "--edit", edit)
            self.assertEqual(done.returncode, 1, edit)
            self.assertIn("refused: job.invalid", done.stdout)
        self.assertEqual((self.queued(), self.ids()), ([], ["e2"]))

    def test_an_edit_mends_what_was_refused(self):
        self.bury({"v": 1, "id": "e3", "limits": {"wall_ms": -5}}, "job.invalid")
        self.assertEqual(self.submit("replay", "e3").returncode, 1)
        self.assertEqual(self.submit("replay", "e3", "--edit", "limits.wall_ms=9s").returncode, 0)
        self.assertEqual(self.queued()[0][1]["limits"], {"wall_ms": 9000})

    def test_queue_may_name_both(self):
        self.bury({"v": 1, "id": "q1", "priority": "low"})
        self.assertEqual(self.submit("replay", "q1", "--queue", "first").returncode, 2)
        self.assertEqual(self.submit("replay", "q1", "--queue", "high").returncode, 0)
        [(properties, job)] = self.queued("jobs.high")
        self.assertEqual((properties.message_id, job["priority"]), ("q1", "high"))

    def test_the_rate_is_kept(self):
        for number in range(8):
            self.bury({"v": 1, "id": f"r{number}"})
        for rate in ("0/s", "x", "5/d", "-1/s"):
            self.assertEqual(self.submit("replay", "--all", "--yes", "--rate", rate).returncode, 2)
        begun = time.monotonic()
        done = self.submit("replay", "--all", "--yes", "--rate", "5/s")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(time.monotonic() - begun, 7 / 5)
        self.assertEqual(len(self.queued()), 8)

    def test_an_interrupted_replay_leaves_everything_in_order(self):
        for number in range(40):
            self.bury({"v": 1, "id": f"i{number:02}"}, "limit.wall" if number % 2 else "x")
        process = self.start("replay", "--reason", "limit.*", "--yes", "--rate", "1/m")
        self.assertEqual(process.stdout.readline(), "i01  sent as run 2, priority normal\n")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn("interrupted; every letter that was not sent is still there", said)
        self.assertEqual(self.ids(), [f"i{number:02}" for number in range(40) if number != 1])
        self.assertEqual(len(self.queued()), 1)

    # --- purge ----------------------------------------------------------

    def test_purge(self):
        self.bury_some()
        done = self.submit("dead", "purge", "--reason", "limit.*", "--dry-run")
        self.assertEqual((done.returncode, len(self.ids())), (0, 5))
        self.assertIn("3 would be purged", done.stderr)
        done = self.submit("dead", "purge", "--reason", "limit.*", "--yes", "--json")
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()],
                         [{"id": name, "purged": True}
                          for name in ("build-1", "build-2", "test-2")])
        self.assertEqual(self.ids(), ["test-1", "?"])
        done = self.submit("dead", "purge", "test-1", "no-such")
        self.assertEqual((done.returncode, done.stdout), (1, "test-1  purged\n"))
        self.assertIn("no dead letter has the id 'no-such'", done.stderr)
        self.assertEqual(self.submit("dead", "purge", "--all", "--yes").returncode, 0)
        self.assertEqual(self.ids(), [])

    # --- export and import ----------------------------------------------

    def test_what_comes_back_is_what_went(self):
        self.bury({"v": 1, "id": "x1", "b": b"\xff\0", "t": "\u00e4\0"}, reply_to="r",
                  key="jobs.high", correlation_id="c",
                  headers={"mark": "kept", "\u00fc": "\u20ac\n\"\\"})
        self.bury(b"plain text", message_id="x2", key="jobs.low")
        self.bury(b"", message_id="x3")
        self.bury(b"\xc1" * 300000, message_id="x4")
        self.bury(b"a\0b", message_id="x5")
        self.bury(b'{"base64": "AAAA"}')
        path = os.path.join(self.folder, "letters.jsonl")
        done = self.submit("dead", "export", path)
        self.assertEqual((done.returncode, done.stderr), (0, "6 exported\n"))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        before = self.raw_letters()
        self.assertEqual(len(before), 6)
        with open(path, "a", encoding="utf-8") as stream:
            stream.write("\n \t\r\n")  # as in a batch
        done = self.submit("dead", "import", path, "--dry-run")
        self.assertEqual((done.returncode, self.client.depth("dead")), (0, 0), done.stderr)
        done = self.submit("dead", "import", path)
        self.assertEqual((done.returncode, done.stderr), (0, "6 imported, 0 failed\n"))
        after = self.raw_letters()
        for (key, properties, body), (key2, properties2, body2) in zip(before, after):
            self.assertEqual((key, body), (key2, body2))
            for name in ("message_id", "correlation_id", "reply_to", "timestamp", "headers",
                         "content_type", "delivery_mode"):
                self.assertEqual(getattr(properties, name), getattr(properties2, name), name)
        self.assertEqual(len(after), 6)

    def test_export_chooses_and_overwrites_nothing(self):
        self.bury_some()
        path = os.path.join(self.folder, "some.jsonl")
        done = self.submit("dead", "export", path, "test-1", "nobody")
        self.assertEqual(done.returncode, 1)
        self.assertIn("'nobody'", done.stderr)
        with open(path, encoding="utf-8") as stream:
            self.assertEqual([json.loads(line)["id"] for line in stream], ["test-1"])
        done = self.submit("dead", "export", path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("exists already", done.stderr)
        done = self.submit("dead", "export", "-", "--tenant", "acme", "--quiet")
        self.assertEqual([json.loads(line)["id"] for line in done.stdout.splitlines()],
                         ["build-1", "test-1"])
        self.assertEqual(len(self.ids()), 5)
        self.assertNotIn("some.jsonl.part", os.listdir(self.folder))

    def test_a_line_that_is_no_letter_is_named(self):
        good = '{"sbx_dead":1,"id":"y%d","body":"x"}'
        lines = [good % 1, "{", "{}", '{"sbx_dead":1}', '{"sbx_dead":1,"body":"x","headers":[1]}',
                 '{"sbx_dead":1,"body":"x","attempts":-1}',
                 '{"sbx_dead":1,"body":{"base64":"!"}}', good % 2,
                 '{"sbx_dead":1,"body":"x","priority":"urgent"}']
        done = self.submit("dead", "import", "-", stdin="\n".join(lines))
        self.assertEqual(done.returncode, 1)
        for number in (2, 3, 4, 5, 6, 7, 9):
            self.assertIn(f"line {number}: ", done.stderr)
        self.assertIn("2 imported, 7 failed", done.stderr)
        self.assertEqual(self.ids(), ["y1", "y2"])
        done = self.submit("dead", "import", "-", "--from-line", "8", stdin="\n".join(lines[:8]))
        self.assertEqual((done.returncode, self.ids()), (0, ["y1", "y2", "y2"]))

    def test_a_thousand_letters_keep_their_order(self):
        lines = "".join(f'{{"sbx_dead":1,"id":"o{n:04}","body":"{n}"}}\n' for n in range(1000))
        self.assertEqual(self.submit("dead", "import", "-", stdin=lines).returncode, 0)
        self.assertEqual(self.ids(), [f"o{n:04}" for n in range(1000)])
        done = self.submit("dead", "export", "-", "--quiet")
        self.assertEqual([json.loads(line)["body"] for line in done.stdout.splitlines()],
                         [str(n) for n in range(1000)])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
