"""Dead letters that an independent client put there are listed, shown and replayed."""
import json
import signal

import msgpack
import pika
import sbxtest
from submitting import SubmitCase


class Dead(SubmitCase):
    def bury(self, body, message_id=None, reply_to=None, **headers):
        """Puts a dead letter; a dict is a job."""
        if isinstance(body, dict):
            message_id = message_id or body.get("id")
            body = msgpack.packb(body)
        self.client.with_channel(lambda channel: channel.basic_publish(
            self.client.name("dead"), "jobs", body,
            pika.BasicProperties(content_type="application/msgpack", delivery_mode=2,
                                 message_id=message_id, reply_to=reply_to, headers=headers),
            mandatory=True))

    def depths(self):
        return {suffix: self.client.depth(suffix)
                for suffix in ("dead", "jobs", "jobs.high", "jobs.low")
                if self.client.depth(suffix)}

    def take(self, suffix="jobs"):
        properties, body = super().take(suffix)
        return properties, msgpack.unpackb(body, strict_map_key=True)

    def listed(self):
        done = self.submit("dead", "list", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # --- looking --------------------------------------------------------

    def test_nothing_there(self):
        done = self.submit("dead", "list")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "", "no dead letters\n"))
        self.assertEqual(self.submit("dead", "show", "x").returncode, 1)
        self.assertEqual(self.submit("replay", "x").returncode, 1)
        self.assertEqual(self.submit("replay", "--all", "--yes").returncode, 0)

    def test_list_and_show(self):
        job = {"v": 1, "id": "d1", "tenant": "acme", "run": 3, "mine": b"\xff",
               "replayed_from": "d1.2\x1b"}
        self.bury(job, **{"x-sbx-reason": "job.attempts", "x-sbx-error": "fetch\x1b[31m failed",
                          "x-sbx-worker": "w1", "x-sbx-attempts": 5,
                          "x-sbx-first-at": 1700000000000, "x-sbx-last-at": 1700000100000,
                          "x-sbx-queue": "q"})
        self.bury({"v": 1, "id": "d2"})
        self.assertEqual(self.listed(), [
            {"id": "d1", "run": 3, "tenant": "acme", "reason": "job.attempts",
             "error": "fetch\\x1b[31m failed", "worker": "w1", "attempts": 5,
             "first_at_ms": 1700000000000, "last_at_ms": 1700000100000, "queue": "q",
             "size_bytes": len(msgpack.packb(job)), "decodable": True},
            {"id": "d2", "run": 1, "tenant": "default",
             "size_bytes": len(msgpack.packb({"v": 1, "id": "d2"})), "decodable": True}])
        done = self.submit("dead", "list")
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertTrue(lines[0].startswith("ID "))
        for part in ("d1", " 3 ", "job.attempts", " 5 ", "2023-11-14 22:15:00Z",
                     "fetch\\x1b[31m failed"):
            self.assertIn(part, lines[1])
        self.assertEqual(done.stderr, "2 dead letters, 0 not decodable\n")
        done = self.submit("dead", "show", "d1")
        for part in ("d1  run 3", "acme", "job.attempts", "w1", '"mine"', '"base64": "/w=="',
                     "replay of  d1.2\\x1b"):
            self.assertIn(part, done.stdout)
        self.assertNotIn("d2", done.stdout)
        done = self.submit("dead", "show", "d1", "--json")
        self.assertEqual(json.loads(done.stdout)["job"]["mine"], {"base64": "/w=="})
        self.assertEqual(self.depths(), {"dead": 2})

    def test_limit(self):
        for number in range(5):
            self.bury({"v": 1, "id": f"n{number}"})
        done = self.submit("dead", "list", "--json", "--limit", "3")
        self.assertEqual([json.loads(line)["id"] for line in done.stdout.splitlines()],
                         ["n0", "n1", "n2"])
        self.assertEqual([letter["id"] for letter in self.listed()],
                         ["n0", "n1", "n2", "n3", "n4"])

    def test_garbage_is_shown_and_stays(self):
        self.bury(b"\xc1\x1b[2Jxyz", "g1", **{"x-sbx-reason": "job.malformed"})
        self.bury(b"")
        self.bury(b'{"v":1,"id":"text"}', "g3")
        letters = self.listed()
        self.assertEqual([letter["decodable"] for letter in letters], [False] * 3)
        self.assertEqual([letter["id"] for letter in letters], ["g1", "?", "g3"])
        done = self.submit("dead", "show", "g1")
        self.assertIn("c1 1b 5b 32 4a 78 79 7a", done.stdout)
        self.assertIn("problem", done.stdout)
        done = self.submit("replay", "--all", "--yes")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.count("refused: job.malformed"), 3)
        self.assertEqual(self.depths(), {"dead": 3})

    # --- replay ---------------------------------------------------------

    def test_replay_keeps_all_but_the_run(self):
        job = {"zz": [1, {"y": b"\xff"}, 2.5, None], "v": 1, "id": "r1", "priority": "high",
               "stage": "s"}
        self.bury({"v": 1, "id": "r0"})
        self.bury(job, reply_to=f"{self.prefix}.reply.x", mark="kept",
                  **{"x-sbx-reason": "job.attempts", "x-sbx-attempts": 5,
                     "x-death": [{"queue": "q"}]})
        self.bury({"v": 1, "id": "r2"})
        done = self.submit("replay", "r1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "r1  sent as run 2, priority high\n")
        properties, got = self.take("jobs.high")
        self.assertEqual(got, {**job, "run": 2, "replayed_from": "r1.1"})
        self.assertEqual(list(got)[:len(job)], list(job))
        self.assertEqual(properties.message_id, "r1")
        self.assertEqual(properties.reply_to, f"{self.prefix}.reply.x")
        headers = properties.headers or {}
        self.assertEqual(headers.get("mark"), "kept")
        self.assertFalse(headers.get("x-sbx-attempts"))
        self.assertNotIn("x-sbx-reason", headers)
        self.assertNotIn("x-death", headers)
        self.assertEqual([letter["id"] for letter in self.listed()], ["r0", "r2"])

    def test_replay_all_keeps_the_order_and_what_it_refuses(self):
        for number in range(20):
            self.bury({"v": 1, "id": f"a{number:02}", "run": number + 1})
        self.bury({"v": 1, "id": "late", "deadline_ms": 1})
        self.bury({"v": 7, "id": "newer"})
        done = self.submit("replay", "--all", "--dry-run", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(self.depths(), {"dead": 22})
        done = self.submit("replay", "--all", "--yes", "--json")
        said = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["id"] for line in said if line.get("sent")],
                         [f"a{number:02}" for number in range(20)])
        self.assertEqual({line["id"]: line["refused"] for line in said if "refused" in line},
                         {"late": "job.expired", "newer": "job.version"})
        for number in range(20):
            self.assertEqual(self.take()[1],
                             {"v": 1, "id": f"a{number:02}", "run": number + 2,
                              "replayed_from": f"a{number:02}.{number + 1}"})
        self.assertEqual([letter["id"] for letter in self.listed()], ["late", "newer"])

    def test_an_interrupted_replay_loses_nothing(self):
        ids = {f"i{number:03}" for number in range(300)}
        for each in sorted(ids):
            self.bury({"v": 1, "id": each})
        process = self.start("replay", "--all", "--yes", "--json", stderr=None)
        for _ in range(50):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The broker notices the end of the connection in its own time.
        sbxtest.poll(lambda: self.client.depth("dead") + self.client.depth("jobs") >= len(ids),
                     lambda: f"all messages to be back: {self.depths()}")
        self.assertGreaterEqual(self.client.depth("jobs"), 50)
        self.assertLess(self.client.depth("jobs"), 300)
        done = self.submit("replay", "--all", "--yes", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        sent = {}
        while self.client.depth("jobs"):
            job = self.take()[1]
            sent.setdefault(job["id"], []).append(job)
        self.assertEqual(set(sent), ids)
        self.assertEqual(self.client.depth("dead"), 0)
        # At most the one letter that the interruption met was sent twice, and
        # then as the same job, which a worker recognises.
        twice = [jobs for jobs in sent.values() if len(jobs) > 1]
        self.assertLessEqual(len(twice), 1)
        for jobs in twice:
            self.assertEqual(jobs[0], jobs[1])

    def test_unknown_ids_are_named_and_the_rest_is_sent(self):
        self.bury({"v": 1, "id": "k1"})
        done = self.submit("replay", "k1", "k2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no dead letter has the id 'k2'", done.stderr)
        self.assertEqual(self.depths(), {"jobs": 1})


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
