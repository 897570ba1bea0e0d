#!/usr/bin/python3
"""A small pipeline: many patches are tried at once, those that pass are tried on a second command.

    SBX_QUEUE_URL=... pipeline.py REPO COMMIT "QUICK COMMAND" "FULL COMMAND" PATCH...

Prints one line for each patch, the best first; ends with 0 when at least one passed both.
"""
import os
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from sbx_client import Client, Job, Limits, Patch, Source, Step  # noqa: E402


def make_job(repo, commit, command, path, stage):
    with open(path, "rb") as stream:
        return Job(source=Source(repo, commit), patch=Patch(stream.read()), stage=stage,
                   steps=[Step(run=shlex.split(command), name=stage)],
                   limits=Limits(wall_ms=600000), labels={"patch": path})


def run_stage(client, jobs):
    """path -> Result of one stage; a job that was not queued is said and left out."""
    outcomes = client.submit_many(jobs)
    for outcome in outcomes:
        if not outcome.queued:
            print(f"{outcome.id}: {outcome.error}", file=sys.stderr)
    queued = [job for job, outcome in zip(jobs, outcomes) if outcome.queued]
    return {result.labels["patch"]: result for result in client.results(queued, timeout=3600)}


def main():
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    repo, commit, quick, full, *paths = sys.argv[1:]
    with Client(prefix=os.environ.get("SBX_PREFIX", "sbx")) as client:
        first = run_stage(client, [make_job(repo, commit, quick, path, "quick")
                                   for path in paths])
        second = run_stage(client, [make_job(repo, commit, full, path, "full")
                                    for path in paths if path in first and first[path].passed])
    last = {**first, **second}
    for path in sorted(last, key=lambda path: (last[path].exit_code, last[path].stage != "full")):
        print(f"{last[path].verdict:9} {last[path].stage:6} {path}  {last[path].reason or ''}")
    return 0 if any(result.passed for result in second.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
