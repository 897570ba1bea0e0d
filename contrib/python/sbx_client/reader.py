"""Everybody's results, from the shared queue where each waits until one reader has taken it.

    with Reader("amqp://user:password@host/vhost") as reader:
        for result in reader.results():
            store(result)       # taken off the queue when the loop comes round

A result is the reader's once the loop asks for the next one; a program that ends
before has it delivered again. Workers publish at least once, under the message
id '<job>.<run>': what a reader has done with, it drops when it comes again.
Repetitions across restarts and readers have the same `job` and `run`, by which
a store drops them.
"""
import collections
import time

import msgpack
import pika

from .connection import LOST, Connection, NotConfirmed
from .result import Result

REMEMBERED = 50000


class Reader(Connection):
    """`url` is the environment's SBX_QUEUE_URL when it is not given."""

    def __init__(self, url=None, prefix="sbx", timeout=30, name="sbx_reader", prefetch=16):
        super().__init__(url, timeout, name)
        self._queue = f"{prefix}.results"
        self._prefetch = prefetch
        self._done = collections.OrderedDict()  # message ids, the oldest first
        self._connect()

    def close(self):
        """What was handed out and not done with is delivered again."""
        super().close()

    def results(self, idle=None):
        """Yields results as they come; ends when none has come for `idle` seconds."""
        last = time.monotonic()
        while idle is None or time.monotonic() - last < idle:
            try:
                self._connect()
                for method, properties, body in self._channel.consume(
                        self._queue, inactivity_timeout=min(1.0, idle or 1.0)):
                    if method is None:
                        break
                    if properties.message_id not in self._done:
                        yield Result.from_map(msgpack.unpackb(body, strict_map_key=True))
                        self._note(properties.message_id)
                        last = time.monotonic()
                    self._channel.basic_ack(method.delivery_tag)
            except LOST:
                self._channel = None  # all that was not acked comes again

    def _note(self, message_id):
        if message_id is None:
            return
        self._done[message_id] = True
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _dial(self):
        try:
            return super()._dial()
        except pika.exceptions.AMQPConnectionError as error:
            raise NotConfirmed(f"no connection: {error!r}") from error

    def _joined(self):
        self._channel.basic_qos(prefetch_count=self._prefetch)
