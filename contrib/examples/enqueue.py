#!/usr/bin/python3
"""Enqueues one job without any code of the project: pika, msgpack and the wire's description.

    SBX_QUEUE_URL=amqp://user:password@host/vhost enqueue.py REPO COMMIT COMMAND [ARGUMENT...]

The queues must be there: a worker or sbx-submit that ran once has made them. A
diff on standard input, if there is one, becomes the job's patch. Prints the
job's id once the broker has confirmed it, then the verdict when it comes.
"""
import os
import sys
import time
import uuid

import msgpack
import pika

PREFIX = os.environ.get("SBX_PREFIX", "sbx")


def make_job(repo, commit, command, diff):
    job = {
        "v": 1,
        "id": str(uuid.uuid4()),  # the key of idempotency: the same id is the same job
        "source": {"repo": repo, "commit": commit},
        "steps": [{"run": command}],
    }
    if diff:
        job["patch"] = {"diff": diff}  # bytes become msgpack's bin, text its str
    return job


def enqueue(channel, job):
    """Mandatory and confirmed: returns only when the job is safe, else raises."""
    channel.confirm_delivery()
    channel.basic_publish(
        exchange=PREFIX,
        routing_key="jobs",  # or jobs.high, jobs.low
        body=msgpack.packb(job, use_bin_type=True),
        properties=pika.BasicProperties(
            content_type="application/msgpack", delivery_mode=2, message_id=job["id"],
            timestamp=int(time.time())),
        mandatory=True)


def listen(channel, job):
    """A queue of our own for this job's result, bound before the job is sent."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    key = f"{job.get('tenant', 'default')}.{job['id']}"
    channel.queue_bind(queue, f"{PREFIX}.results", key)
    return queue


def wait(channel, queue):
    for _, _, body in channel.consume(queue, auto_ack=True):
        return msgpack.unpackb(body)
    return None


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    diff = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    job = make_job(sys.argv[1], sys.argv[2], sys.argv[3:], diff)
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["SBX_QUEUE_URL"]))
    channel = connection.channel()
    queue = listen(channel, job)
    enqueue(channel, job)
    print(job["id"], flush=True)
    result = wait(channel, queue)
    print(result["verdict"], (result.get("reason") or {}).get("message", ""))
    connection.close()


if __name__ == "__main__":
    main()
