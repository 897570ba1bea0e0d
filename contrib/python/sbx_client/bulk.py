"""Many jobs with their confirms under way: pika's blocking channel waits for each one, so this
is its other interface, a loop of callbacks that ends when every job has its fate."""
import collections
import time

import msgpack
import pika

CONTENT_TYPE = "application/msgpack"
ROUTING_KEYS = {None: "jobs", "normal": "jobs", "high": "jobs.high", "low": "jobs.low"}

Outcome = collections.namedtuple("Outcome", "id queued error")


def properties_of(job, reply_to=None):
    now_us = time.time_ns() // 1000
    return pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=2, message_id=job.id,
                                timestamp=now_us // 1000000, reply_to=reply_to, type="job",
                                headers={"x-sbx-timestamp-us": now_us})


class Bulk:
    def __init__(self, parameters, prefix, window, patience):
        self.parameters = parameters
        self.prefix = prefix
        self.window = window
        self.patience = patience  # seconds without any progress
        self.waiting = collections.deque()  # numbers of jobs
        self.pending = {}  # delivery tag -> number, in order of sending
        self.returned = set()  # ids that no queue took
        self.jobs, self.bodies, self.outcomes = [], [], []
        self.channel = self.connection = self.lost = None
        self.moved = 0.0
        self.tag = 0

    def send(self, jobs):
        self.jobs = jobs
        self.outcomes = [None] * len(jobs)
        self.bodies = [self.encode(number) for number in range(len(jobs))]
        self.waiting.extend(n for n, body in enumerate(self.bodies) if body is not None)
        self.moved = time.monotonic()
        while self.waiting:
            self.lost = None
            self.connection = pika.SelectConnection(
                self.parameters, self.opened, self.refused, self.closed)
            self.connection.ioloop.start()
            # What has no fate is sent again, in its order, under the same id.
            self.waiting.extendleft(reversed(self.pending.values()))
            self.pending.clear()
            if self.waiting and time.monotonic() - self.moved > self.patience:
                self.give_up()
            elif self.waiting:
                self.await_broker()
        return self.outcomes

    def await_broker(self):
        """Only this interface of pika tries again by itself, with pauses."""
        try:
            pika.BlockingConnection(self.parameters).close()
        except pika.exceptions.AMQPError as error:
            self.lost = error
            self.give_up()

    def encode(self, number):
        try:
            return msgpack.packb(self.jobs[number].to_map(), use_bin_type=True)
        except (TypeError, ValueError, OverflowError) as error:
            self.settle(number, str(error))
            return None

    def settle(self, number, error=None):
        self.outcomes[number] = Outcome(self.jobs[number].id, error is None, error)
        self.moved = time.monotonic()

    def give_up(self):
        while self.waiting:
            self.settle(self.waiting.popleft(), f"not confirmed: {self.lost!r}")

    # --- callbacks ------------------------------------------------------

    def opened(self, connection):
        connection.channel(on_open_callback=self.channel_opened)

    def channel_opened(self, channel):
        self.channel = channel
        self.tag = 0
        channel.add_on_close_callback(self.channel_closed)
        channel.add_on_return_callback(
            lambda _channel, _method, properties, _body: self.returned.add(properties.message_id))
        channel.confirm_delivery(self.confirmed, callback=lambda _frame: self.fill())

    def fill(self):
        while self.waiting and len(self.pending) < self.window and self.channel.is_open:
            number = self.waiting.popleft()
            job = self.jobs[number]
            self.tag += 1
            self.pending[self.tag] = number
            self.channel.basic_publish(self.prefix, ROUTING_KEYS[job.priority],
                                       self.bodies[number], properties_of(job), mandatory=True)
        if not self.waiting and not self.pending and self.connection.is_open:
            self.connection.close()

    def confirmed(self, frame):
        tags = [tag for tag in self.pending if tag <= frame.method.delivery_tag] \
            if frame.method.multiple else [frame.method.delivery_tag]
        acked = isinstance(frame.method, pika.spec.Basic.Ack)
        for tag in tags:
            number = self.pending.pop(tag)
            if self.jobs[number].id in self.returned:
                self.settle(number, "no queue takes it; start a worker once")
            else:
                self.settle(number, None if acked else "refused by the broker")
        self.fill()

    def channel_closed(self, _channel, reason):
        self.lost = self.lost or reason
        if self.connection.is_open:
            self.connection.close()

    def refused(self, connection, error):
        self.lost = error
        connection.ioloop.stop()

    def closed(self, connection, reason):
        self.lost = self.lost or reason
        connection.ioloop.stop()
