"""Bad messages: nothing is lost without a result or a dead letter, and the worker goes on."""
import secrets

import msgpack

import sbxtest


class Messages(sbxtest.WorkerCase):
    def tearDown(self):
        # Whatever the message was, the worker still works.
        self.assert_verdict(self.run_job(), "passed")
        self.assertEqual(self.client.depth("jobs"), 0)

    def dead(self, body):
        return self.client.dead_letter(accept=lambda letter: letter["body"] == body)

    def assert_dead(self, body, reason):
        letter = self.dead(body)
        self.assertEqual(letter["headers"].get("x-sbx-reason"), reason, letter["headers"])
        self.assertTrue(letter["headers"].get("x-sbx-error"))
        self.assertTrue(letter["headers"].get("x-sbx-queue"))

    def send(self, message, **properties):
        """Sends any value; returns its body."""
        body = message if isinstance(message, bytes) else msgpack.packb(message)
        self.client.publish_raw(body, **properties)
        return body

    def test_a_letter_keeps_the_message_id_of_its_producer(self):
        self.send(b"\xc1", message_id="named-by-the-producer")
        letter = self.dead(b"\xc1")
        self.assertEqual(letter["message_id"], "named-by-the-producer")

    def test_what_is_no_msgpack_is_dead_lettered(self):
        for body in (b"\xc1", b"", b"\xdd\x0f\xff\xff\xff", b"{\"v\": 1}", b"\x81\xa1v\x01trailing",
                     secrets.token_bytes(300), b"\x91" * 1000):
            with self.subTest(body=body[:20]):
                self.assert_dead(self.send(body), "job.malformed")

    def test_what_is_no_job_is_dead_lettered(self):
        for message in (17, [], "text", {}, {"v": 1}, {"v": 1, "id": "a/b"}, {"v": 1, "id": 7}):
            with self.subTest(message=message):
                letter = self.dead(self.send(message))
                self.assertIn(letter["headers"]["x-sbx-reason"], ("job.malformed", "job.invalid",
                                                                  "job.version"))

    def test_duplicate_keys_and_wrong_utf8(self):
        self.assert_dead(self.send(b"\x82\xa1v\x01\xa1v\x01"), "job.malformed")
        self.assert_dead(self.send(b"\x82\xa1v\x01\xa2id\xa2\xff\xfe"), "job.malformed")

    def test_an_invalid_job_with_an_id_has_a_result_as_well(self):
        job_id = "t-" + secrets.token_hex(8)
        body = self.send({"v": 1, "id": job_id, "tenant": "acme", "steps": [{"run": []}]})
        result = self.result_of(job_id)
        self.assert_verdict(result, "rejected", "job.invalid")
        self.assertEqual(result["tenant"], "acme")
        self.assertEqual(self.client.results[job_id][0]["key"], f"acme.{job_id}")
        self.assert_dead(body, "job.invalid")

    def test_an_unknown_version(self):
        job_id = "t-" + secrets.token_hex(8)
        body = self.send({"v": 2, "id": job_id, "steps": 1})
        self.assert_verdict(self.result_of(job_id), "rejected", "job.version")
        self.assert_dead(body, "job.version")

    def test_wrong_types_name_the_field(self):
        for field, value, subject in (("steps", "true", "steps"), ("limits", [], "limits"),
                                      ("labels", {"a": 1}, "labels"),
                                      ("deadline_ms", "soon", "deadline_ms"),
                                      ("source", {"repo": 3, "commit": "x"}, "source.repo")):
            with self.subTest(field=field):
                job_id = "t-" + secrets.token_hex(8)
                self.send({"v": 1, "id": job_id, field: value})
                result = self.result_of(job_id)
                self.assert_verdict(result, "rejected", "job.invalid")
                self.assertTrue(result["reason"]["subject"].startswith(subject), result["reason"])

    def test_a_message_that_is_too_large(self):
        body = msgpack.packb({"v": 1, "id": "t-" + secrets.token_hex(8), "x": b"\0" * (9 << 20)})
        self.assert_dead(self.send(body), "job.too_large")

    def test_a_diff_that_is_too_large(self):
        result = self.run_job(b"x" * (7 << 20))
        self.assertEqual(result["verdict"], "rejected")
        self.assertIn(result["reason"]["code"], ("job.invalid", "patch.too_large"))

    def test_unknown_keys_are_ignored(self):
        self.assert_verdict(self.run_job(limit={"wall_ms": 1}, future={"a": [1]}), "passed")

    def test_all_priorities_are_consumed(self):
        jobs = {priority: sbxtest.job_of(self.repo) for priority in ("high", "normal", "low")}
        for priority, job in jobs.items():
            self.client.publish(job, priority)
        for job in jobs.values():
            self.assert_verdict(self.result_of(job["id"]), "passed")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
