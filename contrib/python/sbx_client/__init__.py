"""Enqueue jobs for sbx workers and wait for their results, over pika and msgpack.

    from sbx_client import Client, Job, Patch, Source, Step

    job = Job(source=Source("https://git.example/calc.git", "main"),
              patch=Patch(diff), steps=[Step(run=["make", "test"])])
    with Client("amqp://user:password@host/vhost") as client:
        client.submit(job)                      # returns once the broker has confirmed it
        result = client.wait(job, timeout=600)  # each result once, whatever is delivered twice
        print(result.verdict, result.reason)

`client.cancel(job)` stops it wherever it is; a `Reader` takes everybody's results
from the shared queue, each once.

The fields are those of the protocol's description; what this package does not
know is kept in `extra`, in jobs and in results.
"""
from .bulk import Outcome
from .client import Client, NotConfirmed, SbxError, WaitTimeout
from .job import Artifacts, Job, Limits, Patch, Protect, Sandbox, Source, Step, Tests
from .reader import Reader
from .result import (Artifact, Case, Change, Finding, Metrics, PatchResult, Reason, Result,
                     Security, State, StepResult, TestsResult)

__all__ = ["Artifact", "Artifacts", "Case", "Change", "Client", "Finding", "Job", "Limits",
           "Metrics", "NotConfirmed", "Outcome", "Patch", "PatchResult", "Protect", "Reader",
           "Reason",
           "Result", "Sandbox", "SbxError", "Security", "Source", "State", "Step", "StepResult",
           "Tests", "TestsResult", "WaitTimeout"]
__version__ = "0.1.0"
