"""Any language with AMQP and msgpack can enqueue and read: many jobs, replies, order, replays."""
import hashlib
import secrets

import msgpack
import pika
import sbxtest


class Client(sbxtest.WorkerCase):
    config = {"worker__slots": 2}

    def test_many_jobs_each_with_its_own_result(self):
        jobs = []
        for number in range(40):
            diff = self.repo.diff({f"file-{number}": f"{number}\n"})
            jobs.append(sbxtest.job_of(self.repo, diff, [["cat", f"file-{number}"]],
                                       labels={"number": str(number)}))
            self.client.publish(jobs[-1], ("high", "normal", "low")[number % 3])
        for number, job in enumerate(jobs):
            result = self.result_of(job["id"])
            self.assert_verdict(result, "passed")
            self.assertEqual(result["steps"][0]["stdout"], f"{number}\n".encode())
            self.assertEqual(result["labels"], {"number": str(number)})
            self.assertEqual(result["patch"]["digest"],
                             hashlib.sha256(job["patch"]["diff"]).hexdigest())
            self.assert_one_result(job["id"])
        self.assertEqual([self.client.depth(name) for name in ("jobs.high", "jobs", "jobs.low")],
                         [0, 0, 0])

    def test_a_reply_queue_has_a_copy(self):
        name = f"{self.prefix}.reply.{secrets.token_hex(4)}"
        self.client.with_channel(lambda channel: channel.queue_declare(name, exclusive=True))
        job = sbxtest.job_of(self.repo)
        self.client.publish(job, reply_to=name)
        self.assert_verdict(self.result_of(job["id"]), "passed")
        body = sbxtest.poll(lambda: self.client.channel.basic_get(name, auto_ack=True)[2],
                            "the reply")
        self.assertEqual(msgpack.unpackb(body), self.client.results[job["id"]][0]["result"])

    def test_a_reply_queue_that_is_gone_costs_nothing(self):
        job = sbxtest.job_of(self.repo)
        self.client.publish(job, reply_to=f"{self.prefix}.reply.gone")
        self.assert_verdict(self.result_of(job["id"]), "passed")
        self.assert_verdict(self.run_job(), "passed")

    def test_a_reply_may_not_go_anywhere(self):
        job = sbxtest.job_of(self.repo)
        self.client.publish(job, reply_to=f"{self.prefix}.jobs")
        self.assert_verdict(self.result_of(job["id"]), "passed")
        self.assert_verdict(self.run_job(), "passed")

    def test_the_key_of_a_result_selects_a_tenant(self):
        def bind(channel):
            name = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(name, self.client.name("results"), "acme.*")
            return name

        name = self.client.with_channel(bind)
        mine = sbxtest.job_of(self.repo, tenant="acme")
        self.client.publish(sbxtest.job_of(self.repo, tenant="other"))
        self.client.publish(mine)
        self.result_of(mine["id"])
        method, properties, body = sbxtest.poll(
            lambda: self.got(name), "the tenant's result")
        self.assertEqual(method.routing_key, f"acme.{mine['id']}")
        self.assertEqual(properties.message_id, f"{mine['id']}.1")
        self.assertEqual(properties.content_type, "application/msgpack")
        self.assertEqual(msgpack.unpackb(body)["job"], mine["id"])
        self.assertIsNone(self.got(name))

    def got(self, name):
        found = self.client.channel.basic_get(name, auto_ack=True)
        return found if found[0] is not None else None

    def test_events_tell_the_states(self):
        def bind(channel):
            name = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(name, self.client.name("events"), "job.#")
            return name

        name = self.client.with_channel(bind)
        job = sbxtest.job_of(self.repo, steps=["echo a line"])
        self.client.publish(job)
        self.result_of(job["id"])
        events = []

        def finished():
            found = self.got(name)
            if found:
                events.append((found[0].routing_key, msgpack.unpackb(found[2])))
            return any(event.get("state") in ("published", "done") for _, event in events)

        sbxtest.poll(finished, lambda: f"the last state; {events}")
        self.assertTrue(all(key.startswith(f"job.{job['id']}.") for key, _ in events), events)
        self.assertIn("running", [event.get("state") for _, event in events])
        self.assertIn("a line", repr(events))

    def test_an_unroutable_job_is_refused_to_its_sender(self):
        with self.assertRaises(pika.exceptions.UnroutableError):
            self.client.channel.basic_publish(self.client.name(""), "no.such.queue", b"x",
                                              mandatory=True)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
