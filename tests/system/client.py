"""A producer that shares no code with the project: pika, msgpack, and the wire's description.

Everything it knows is in schema/PROTOCOL.md and in the topology: jobs go to the
exchange <prefix> with the job queue's name, less the prefix, as routing key;
results come from the queue <prefix>.results.
"""
import time

import msgpack
import pika

EXCHANGES = ("", "wait.5s", "wait.30s", "wait.2m", "wait.10m", "wait.1h", "dead", "results",
             "events", "control")
QUEUES = ("dead", "jobs.high", "jobs", "jobs.low", "wait.5s", "wait.30s", "wait.2m", "wait.10m",
          "wait.1h", "results", "control")
JOB_KEYS = {"normal": "jobs", "high": "jobs.high", "low": "jobs.low"}


class Client:
    def __init__(self, url, prefix):
        self.prefix = prefix
        self.parameters = pika.URLParameters(url)
        self.connection = self.channel = None
        self.alive = lambda: None
        self.results = {}  # job id -> list of {"message_id", "result", "key"}

    def name(self, suffix):
        return f"{self.prefix}.{suffix}" if suffix else self.prefix

    def connect(self, timeout=60):
        """(Re)connects; a broker that is starting is waited for."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.connection = pika.BlockingConnection(self.parameters)
                self.channel = self.connection.channel()
                self.channel.confirm_delivery()
                return
            except pika.exceptions.AMQPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # without a pause it would use up all ports of the machine

    def with_channel(self, work):
        """`work(channel)`, once more on a new connection when the old one is lost."""
        for last in (False, True):
            if self.connection is None or not self.connection.is_open or \
                    not self.channel.is_open:
                self.connect()
            try:
                return work(self.channel)
            except (pika.exceptions.ConnectionClosed, pika.exceptions.StreamLostError,
                    pika.exceptions.ChannelWrongStateError):
                if last:
                    raise
        return None

    # --- jobs -----------------------------------------------------------

    def publish(self, job, priority="normal", reply_to=None):
        """Encodes and sends with confirm and mandatory; an unroutable job raises."""
        self.publish_raw(msgpack.packb(job, use_bin_type=True), priority,
                         message_id=job.get("id") if isinstance(job, dict) else None,
                         reply_to=reply_to)

    def publish_raw(self, body, priority="normal", **properties):
        properties = pika.BasicProperties(content_type="application/msgpack", delivery_mode=2,
                                          timestamp=int(time.time()), **properties)
        self.with_channel(lambda channel: channel.basic_publish(
            self.name(""), JOB_KEYS[priority], body, properties, mandatory=True))

    # --- results and dead letters ---------------------------------------

    def collect(self):
        """Takes all results that are there; returns how many."""
        def take(channel):
            got = 0
            while True:
                method, properties, body = channel.basic_get(self.name("results"))
                if method is None:
                    return got
                result = msgpack.unpackb(body, raw=False, strict_map_key=True)
                self.results.setdefault(result.get("job"), []).append(
                    {"message_id": properties.message_id, "result": result,
                     "key": method.routing_key})
                channel.basic_ack(method.delivery_tag)
                got += 1

        return self.with_channel(take)

    def results_of(self, job_id):
        self.collect()
        return self.results.get(job_id, [])

    def wait(self, job_id, timeout=60, copies=1):
        """The result of a job, the last of `copies` publications. `self.alive` is asked now and
        then, to fail at once where nobody is left who could answer."""
        deadline = time.monotonic() + timeout
        while len(self.results_of(job_id)) < copies:
            self.alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"no result of '{job_id}' within {timeout} s")
            self.connection.sleep(0.02)
        return self.results[job_id][-1]["result"]

    def dead_letter(self, timeout=30, accept=lambda letter: True):
        """Takes the next dead letter that is accepted: {"body", "headers", "message_id"}."""
        deadline = time.monotonic() + timeout
        while True:
            method, properties, body = self.with_channel(
                lambda channel: channel.basic_get(self.name("dead")))
            if method is not None:
                self.channel.basic_ack(method.delivery_tag)
                letter = {"body": body, "headers": properties.headers or {},
                          "message_id": properties.message_id}
                if accept(letter):
                    return letter
                continue
            if time.monotonic() > deadline:
                raise AssertionError(f"no dead letter within {timeout} s")
            self.connection.sleep(0.02)

    def take_all(self, suffix):
        """All messages that are ready in a queue, taken: [(method, properties, body)]."""
        def take(channel):
            found = []
            while True:
                got = channel.basic_get(self.name(suffix), auto_ack=True)
                if got[0] is None:
                    return found
                found.append(got)

        return self.with_channel(take)

    def depth(self, suffix):
        """Messages that are ready in a queue."""
        return self.with_channel(
            lambda channel: channel.queue_declare(self.name(suffix), passive=True)
        ).method.message_count

    def purge(self, suffix):
        self.with_channel(lambda channel: channel.queue_purge(self.name(suffix)))

    def close(self):
        """Removes everything under the prefix."""
        for suffix in QUEUES:
            self.with_channel(lambda channel, name=self.name(suffix): channel.queue_delete(name))
        for suffix in EXCHANGES:
            self.with_channel(
                lambda channel, name=self.name(suffix): channel.exchange_delete(name))
        self.connection.close()
