"""Whose turn it is: tenants, concurrency keys, priorities and deadlines, on both carriers."""
import os
import secrets
import time
import unittest

import sbxtest
from test_42_cancel import Broker as BrokerRoad
from test_85_embedded import EmbeddedCase


class Fairness:
    def job(self, steps=(["true"],), **fields):
        return sbxtest.job_of(self.repo, steps=steps, **fields)

    def wait_all(self, worker, jobs):
        return {job["id"]: self.result_of(worker, job["id"]) for job in jobs}

    def span(self, result):
        """When the job had a slot, by the supervisor's clock."""
        at = {state["state"]: state["at_us"] for state in result["states"]}
        return at["prepared"], at["collected"]

    def most_at_once(self, results):
        spans = [self.span(result) for result in results]
        return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)

    def test_one_tenant_takes_no_more_than_its_share(self):
        worker = self.start(worker__slots=3, worker__max_per_tenant=1)
        greedy = [self.job(["sleep 0.4"], tenant="greedy") for _ in range(6)]
        modest = [self.job(tenant=f"modest{number}") for number in range(3)]
        for job in greedy + modest:
            self.publish(job)
        results = self.wait_all(worker, greedy + modest)
        self.assertEqual({result["verdict"] for result in results.values()}, {"passed"})
        self.assertEqual(self.most_at_once([results[job["id"]] for job in greedy]), 1)
        last_greedy = max(self.span(results[job["id"]])[1] for job in greedy)
        for job in modest:
            self.assertLess(self.span(results[job["id"]])[1], last_greedy, "it overtakes")

    def test_jobs_with_one_key_do_not_run_side_by_side(self):
        worker = self.start(worker__slots=3)
        same = [self.job(["sleep 0.3"], concurrency_key="deploy") for _ in range(4)]
        other = [self.job(["sleep 0.3"], concurrency_key="other"), self.job(["sleep 0.3"])]
        for job in same + other:
            self.publish(job)
        results = self.wait_all(worker, same + other)
        self.assertEqual(self.most_at_once([results[job["id"]] for job in same]), 1)
        self.assertGreater(self.most_at_once(list(results.values())), 1, "others overtake")

    def test_a_flood_of_one_tenant_blocks_nobody(self):
        """More than a worker would ever hold stand before the other's job."""
        worker = self.start(worker__slots=2, worker__max_per_tenant=1, worker__events="false")
        flood = [self.job(["sleep 30"], tenant="flood")]
        flood += [self.job(tenant="flood") for _ in range(400)]
        self.publish_many(flood)
        other = self.job(tenant="other")
        self.publish(other)
        self.assert_verdict(self.result_of(worker, other["id"], 25), "passed")
        self.assertTrue(worker.logged("job put aside"))
        done = self.submit("cancel", flood[0]["id"])
        self.assertEqual(done.returncode, 0, done.stderr)
        results = self.wait_all(worker, flood[1:])
        self.assertEqual({result["verdict"] for result in results.values()}, {"passed"})
        self.assertEqual({result["attempt"] for result in results.values()}, {1},
                         "to be put aside is no attempt")

    def test_high_comes_before_normal_before_low_and_low_comes(self):
        worker = self.start(worker__slots=1)
        gate = self.job(["sleep 2"])
        self.publish(gate)
        sbxtest.poll(lambda: worker.logged("ready"), "the worker")
        jobs = {name: [self.job(priority=name) for _ in range(count)]
                for name, count in (("low", 3), ("normal", 12), ("high", 60))}
        for name, some in jobs.items():
            self.publish_many(some, name)
        results = self.wait_all(worker, [gate, *sum(jobs.values(), [])])
        name_of = {job["id"]: name for name, some in jobs.items() for job in some}
        order = [name_of[job] for job in sorted(name_of, key=lambda job: self.span(results[job]))]
        self.assertEqual(set(order[:4]), {"high"}, order)
        middle = {name: sum(place for place, each in enumerate(order) if each == name) /
                  len(jobs[name]) for name in jobs}
        self.assertLess(order.index("normal"), 20, order)
        self.assertLess(order.index("low"), 40, "low is not starved")
        self.assertLess(middle["high"], middle["normal"], order)

    def test_a_job_past_its_deadline_is_not_run(self):
        worker = self.start(worker__slots=1)
        gate = self.job(["sleep 2.5"])
        self.publish(gate)
        late = self.job(deadline_ms=int(time.time() * 1000) + 1000)
        soon = self.job(deadline_ms=int(time.time() * 1000) + 600000)
        for job in (late, soon):
            self.publish(job)
        results = self.wait_all(worker, (gate, late, soon))
        self.assert_verdict(results[late["id"]], "expired", "job.expired")
        self.assertNotIn("steps", results[late["id"]])
        self.assert_verdict(results[soon["id"]], "passed")


class Broker(Fairness, BrokerRoad):
    def publish_many(self, jobs, priority="normal"):
        for job in jobs:
            self.client.publish(job, priority)

    def result_of(self, worker, job_id, timeout=120):
        self.client.alive = worker.assert_alive
        return self.client.wait(job_id, timeout)


class Embedded(Fairness, EmbeddedCase):
    def setUp(self):
        self.place(os.path.join(self.folder, "queue-" + secrets.token_hex(3)))

    def start(self, **config):
        return super().start("worker-" + secrets.token_hex(3), **config)

    def publish(self, job):
        self.publish_many([job])

    def publish_many(self, jobs, _="normal"):
        done = self.submit("batch", "-", stdin="\n".join(map(sbxtest.json_of, jobs)))
        self.assertEqual(done.returncode, 0, done.stderr)

    def result_of(self, worker, job_id, timeout=120):
        return super().result_of(worker, job_id, timeout)


# What is inherited for its road alone is no test of this program.
for name in [name for name in dir(BrokerRoad) if name.startswith("test_")]:
    if not hasattr(Fairness, name):
        setattr(Broker, name, None)
del BrokerRoad, EmbeddedCase

if __name__ == "__main__":
    unittest.main(verbosity=2)
