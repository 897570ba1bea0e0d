"""Sending jobs with confirms, and reading their results once each.

A client is for one thread. Whatever it waits for, a connection that is lost is
made again: jobs without a confirm are sent again under the same id, which
workers recognise, and the queue for results outlives the connection by ten
minutes.
"""
import time
import uuid

import msgpack
import pika

from .bulk import ROUTING_KEYS, Bulk, properties_of
from .connection import LOST, Connection, NotConfirmed, SbxError
from .result import Result

QUEUE_EXPIRES_MS = 600000


class WaitTimeout(SbxError):
    """A result did not come in time; the job goes on."""


def tenant_of(job):
    return job.tenant or "default"


class Client(Connection):
    """`url` is the environment's SBX_QUEUE_URL when it is not given."""

    def __init__(self, url=None, prefix="sbx", timeout=30, name="sbx_client"):
        super().__init__(url, timeout, name)
        self.prefix = prefix
        self.timeout = timeout
        self._queue = f"{prefix}.reply.{uuid.uuid4()}"
        self._keys = set()  # what the queue is bound by; empty: there is none yet
        self._wanted = {}  # id -> run
        self._seen = set()  # ids of messages
        self._results = {}  # id -> Result, not handed out yet
        self._retry(self._connect)

    def close(self):
        """Removes the queue for results; what was not read is in the shared one still."""
        super().close()

    # --- sending --------------------------------------------------------

    def submit(self, job, reply_to=None, expect=True):
        """Returns the job's id once the broker has it safe. With `expect` its result can be
        waited for."""
        body = msgpack.packb(job.to_map(), use_bin_type=True)
        if expect:
            self._expect(job, f"{tenant_of(job)}.{job.id}")
        self._retry(lambda: self._publish(job, body, reply_to))
        return job.id

    def submit_many(self, jobs, window=256, expect=True):
        """Sends with up to `window` confirms under way. An Outcome for each job, in order: what
        the broker did not take, or could not be encoded, has its error and does not stop the
        others."""
        jobs = list(jobs)
        if expect:
            for job in jobs:
                self._expect(job, f"{tenant_of(job)}.#")
        return Bulk(self._parameters, self.prefix, window, self.timeout).send(jobs)

    def cancel(self, job, run=None):
        """Tells all workers that a run of a job (or id) is not to run: queued, it is answered as
        `cancelled`; running, it is ended within a second; finished, it keeps its result."""
        job_id, first = (job, 1) if isinstance(job, str) else (job.id, job.run or 1)
        body = msgpack.packb({"v": 1, "kind": "cancel", "id": job_id, "run": run or first})
        properties = pika.BasicProperties(content_type="application/msgpack", delivery_mode=2,
                                          type="control", message_id=job_id)
        self._retry(lambda: self._channel.basic_publish(f"{self.prefix}.control", "", body,
                                                        properties, mandatory=True))

    def _publish(self, job, body, reply_to):
        try:
            self._channel.basic_publish(self.prefix, ROUTING_KEYS[job.priority], body,
                                        properties_of(job, reply_to), mandatory=True)
        except pika.exceptions.UnroutableError as error:
            raise NotConfirmed(f"no queue takes '{job.id}'; start a worker once") from error
        except pika.exceptions.NackError as error:
            raise NotConfirmed(f"the broker refused '{job.id}'; is the queue full?") from error

    # --- reading --------------------------------------------------------

    def wait(self, job, timeout=None):
        """The result of one job that was submitted here."""
        for result in self.results([job], timeout):
            return result
        return None

    def results(self, jobs, timeout=None):
        """Yields the result of each job once, as they come. `jobs` are jobs or ids that were
        submitted here with `expect`. WaitTimeout when some are missing in the end."""
        left = {job if isinstance(job, str) else job.id for job in jobs}
        unknown = left - self._wanted.keys()
        if unknown:
            raise SbxError(f"not submitted here, or handed out before: {sorted(unknown)}")
        deadline = None if timeout is None else time.monotonic() + timeout
        while left:
            ready = left & self._results.keys()
            for job_id in ready:
                left.discard(job_id)
                self._wanted.pop(job_id)
                yield self._results.pop(job_id)
            if left and not ready:
                self._receive(left, deadline)

    def _receive(self, left, deadline):
        pause = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
        if pause <= 0:
            raise WaitTimeout(f"no result in time of {sorted(left)}")
        self._retry(lambda: self._connection.process_data_events(pause))

    def _expect(self, job, key):
        self._wanted[job.id] = job.run or 1
        if not self._keys & {key, f"{tenant_of(job)}.#"}:
            self._keys.add(key)
            self._retry(self._listen)

    def _delivered(self, channel, method, properties, body):
        """A message id is '<id>.<run>': whoever has seen it drops a repetition."""
        job_id, _, run = (properties.message_id or "").rpartition(".")
        if job_id in self._wanted and properties.message_id not in self._seen and \
                run.isdigit() and int(run) >= self._wanted[job_id]:
            result = Result.from_map(msgpack.unpackb(body, strict_map_key=True))
            self._seen.add(properties.message_id)
            self._results.setdefault(job_id, result)
        channel.basic_ack(method.delivery_tag)

    # --- connections ----------------------------------------------------

    def _joined(self):
        self._channel.confirm_delivery()
        if self._keys:
            self._listen()

    def _leave(self):
        if self._keys:
            self._channel.queue_delete(self._queue)

    def _listen(self):
        """The queue with all its bindings; each step may be repeated."""
        self._channel.queue_declare(self._queue, arguments={"x-expires": QUEUE_EXPIRES_MS})
        for key in self._keys:
            self._channel.queue_bind(self._queue, f"{self.prefix}.results", key)
        if not self._channel.consumer_tags:
            self._channel.basic_qos(prefetch_count=64)
            self._channel.basic_consume(self._queue, self._delivered)

    def _retry(self, work):
        """`work`, on new connections while the old ones are lost."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._connect()
                return work()
            except LOST as error:
                if time.monotonic() > deadline:
                    raise NotConfirmed(f"no connection: {error!r}") from error
