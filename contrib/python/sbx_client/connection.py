"""The broker's connection that a Client and a Reader have alike, and what they raise."""
import os

import pika

RETRY_S = 0.5

# The connection is gone: what was under way may be done again on another one.
LOST = (pika.exceptions.AMQPConnectionError, pika.exceptions.ChannelWrongStateError)


class SbxError(Exception):
    """What this package raises."""


class NotConfirmed(SbxError):
    """The broker did not take a job, or did not say so in time."""


class Connection:
    """One connection with one channel, made when it is asked for and made again when it was lost.
    `url` is the environment's SBX_QUEUE_URL when it is not given."""

    def __init__(self, url, timeout, name):
        url = url or os.environ.get("SBX_QUEUE_URL")
        if not url:
            raise SbxError("no queue is named; give a url or set SBX_QUEUE_URL")
        self._parameters = pika.URLParameters(url)
        self._parameters.client_properties = {"connection_name": name}
        self._parameters.retry_delay = RETRY_S
        self._parameters.connection_attempts = max(1, int(timeout / RETRY_S))
        self._connection = self._channel = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            if self._channel and self._channel.is_open:
                self._leave()
            if self._connection and self._connection.is_open:
                self._connection.close()
        except pika.exceptions.AMQPError:
            pass
        self._connection = self._channel = None

    def _connect(self):
        if self._channel and self._channel.is_open:
            return
        self._connection = self._dial()
        self._channel = self._connection.channel()
        self._joined()

    def _dial(self):
        return pika.BlockingConnection(self._parameters)

    def _joined(self):
        """What a new channel is told first."""

    def _leave(self):
        """What a channel is told last."""
