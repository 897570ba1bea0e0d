#!/usr/bin/python3
"""The topology as another language sees it: pika and msgpack, nothing of sbx.

usage: test_wire_pika.py [--prefix PREFIX]

SBX_TEST_BROKER_URL names the broker; the topology under PREFIX ("sbx") is
declared already, and no worker consumes its queues. Ends with 0 when all
holds, else says what does not.
"""
import argparse
import os
import sys
import time
import uuid

import msgpack
import pika


def wait_for(channel, queue, seconds=15):
    """The next message of `queue`, acked; None when none comes in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        method, properties, body = channel.basic_get(queue)
        if method is not None:
            channel.basic_ack(method.delivery_tag)
            return method, properties, body
        time.sleep(0.05)
    return None


def publish(channel, exchange, key, body, **properties):
    properties.setdefault("content_type", "application/msgpack")
    properties.setdefault("delivery_mode", 2)
    channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=True)


def jobs_are_routed(channel, prefix):
    for key in ("jobs.high", "jobs", "jobs.low"):
        job = {"v": 1, "id": str(uuid.uuid4()), "steps": [{"run": ["true"]}], "later": {"x": b"\0"}}
        publish(channel, prefix, key, msgpack.packb(job), message_id=job["id"])
        got = wait_for(channel, f"{prefix}.{key}")
        assert got is not None, f"nothing came to {key}"
        assert got[0].routing_key == key
        assert got[1].message_id == job["id"]
        assert msgpack.unpackb(got[2]) == job


def unknown_keys_are_returned(channel, prefix):
    try:
        publish(channel, prefix, "no.such.key", b"x")
    except pika.exceptions.UnroutableError:
        return
    raise AssertionError("a message that no queue takes was confirmed")


def waiting_returns_to_the_queue(channel, prefix):
    start = time.monotonic()
    publish(channel, f"{prefix}.wait.5s", "jobs.low", b"w", message_id="waits")
    got = wait_for(channel, f"{prefix}.jobs.low")
    took = time.monotonic() - start
    assert got is not None and got[1].message_id == "waits", "the wait lost the message"
    assert got[0].routing_key == "jobs.low"
    assert 4.5 < took < 12, f"the wait took {took:.1f} s"


def rejects_are_dead_letters(channel, prefix):
    publish(channel, prefix, "jobs", b"bad", message_id="bad")
    end = time.monotonic() + 10
    method = None
    while method is None and time.monotonic() < end:
        method, _, _ = channel.basic_get(f"{prefix}.jobs")
    assert method is not None
    channel.basic_reject(method.delivery_tag, requeue=False)
    got = wait_for(channel, f"{prefix}.dead")
    assert got is not None and got[1].message_id == "bad", "the rejected message is gone"
    assert got[1].headers["x-death"][0]["queue"] == f"{prefix}.jobs"


def results_are_kept_and_copied(channel, prefix):
    own = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(own, f"{prefix}.results", "tenant.job-1")
    publish(channel, f"{prefix}.results", "tenant.job-1", b"r", message_id="job-1.1")
    publish(channel, f"{prefix}.results", "tenant.job-2", b"r", message_id="job-2.1")
    assert wait_for(channel, own)[1].message_id == "job-1.1"
    kept = [wait_for(channel, f"{prefix}.results")[1].message_id for _ in range(2)]
    assert kept == ["job-1.1", "job-2.1"], kept


def events_may_have_no_reader(channel, prefix):
    channel.basic_publish(f"{prefix}.events", "job.x.state", b"e")
    own = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(own, f"{prefix}.events", "job.x.*")
    publish(channel, f"{prefix}.events", "job.x.state", b"f")
    assert wait_for(channel, own)[2] == b"f"


def control_replays_what_was_missed(channel, prefix):
    body = uuid.uuid4().bytes
    publish(channel, f"{prefix}.control", "", body)
    channel.basic_qos(prefetch_count=10)
    for method, _, got in channel.consume(f"{prefix}.control", inactivity_timeout=10,
                                          arguments={"x-stream-offset": "first"}):
        assert method is not None, "the stream does not replay"
        channel.basic_ack(method.delivery_tag)
        if got == body:
            break
    channel.cancel()


CHECKS = (
    jobs_are_routed,
    unknown_keys_are_returned,
    waiting_returns_to_the_queue,
    rejects_are_dead_letters,
    results_are_kept_and_copied,
    events_may_have_no_reader,
    control_replays_what_was_missed,
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefix", default="sbx")
    prefix = parser.parse_args().prefix
    url = os.environ.get("SBX_TEST_BROKER_URL")
    if not url:
        sys.exit("SBX_TEST_BROKER_URL is not set")
    connection = pika.BlockingConnection(pika.URLParameters(url.rstrip("/") + "/%2f"))
    for check in CHECKS:
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            check(channel, prefix)
        except Exception as error:  # whatever it is, name the check
            sys.exit(f"not ok {check.__name__}: {error!r}")
        channel.close()
        print(f"ok {check.__name__}")
    connection.close()


if __name__ == "__main__":
    main()
