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
import os
import time

import msgpack
import pika

from .client import RETRY_S, NotConfirmed, SbxError
from .result import Result

REMEMBERED = 50000


class Reader:
    """`url` is the environment's SBX_QUEUE_URL when it is not given."""

    def __init__(self, url=None, prefix="sbx", timeout=30, name="sbx_reader", prefetch=16):
        url = url or os.environ.get("SBX_QUEUE_URL")
        if not url:
            raise SbxError("no queue is named; give a url or set SBX_QUEUE_URL")
        self._queue = f"{prefix}.results"
        self._prefetch = prefetch
        self._parameters = pika.URLParameters(url)
        self._parameters.client_properties = {"connection_name": name}
        self._parameters.retry_delay = RETRY_S
        self._parameters.connection_attempts = max(1, int(timeout / RETRY_S))
        self._connection = self._channel = None
        self._done = collections.OrderedDict()  # message ids, the oldest first
        self._connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """What was handed out and not done with is delivered again."""
        try:
            if self._connection and self._connection.is_open:
                self._connection.close()
        except pika.exceptions.AMQPError:
            pass
        self._connection = self._channel = None

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
            except (pika.exceptions.AMQPConnectionError, pika.exceptions.ChannelWrongStateError):
                self._channel = None  # all that was not acked comes again

    def _note(self, message_id):
        if message_id is None:
            return
        self._done[message_id] = True
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _connect(self):
        if self._channel and self._channel.is_open:
            return
        try:
            self._connection = pika.BlockingConnection(self._parameters)
        except pika.exceptions.AMQPConnectionError as error:
            raise NotConfirmed(f"no connection: {error!r}") from error
        self._channel = self._connection.channel()
        self._channel.basic_qos(prefetch_count=self._prefetch)
