"""A job as it is enqueued. None leaves a field out, so that the worker's default holds."""
import dataclasses
import os
import uuid
from typing import Optional

from .record import Record


@dataclasses.dataclass
class Source(Record):
    """`repo` and `commit`; or what travels with the job: `bundle` and `commit`, or `files` (path to
    content)."""

    repo: Optional[str] = None
    commit: Optional[str] = None
    subdir: Optional[str] = None
    files: Optional[dict[str, bytes]] = None
    executable: Optional[list[str]] = None
    links: Optional[dict[str, str]] = None
    bundle: Optional[bytes] = None

    @classmethod
    def of_bundle(cls, path, commit, subdir=None):
        """A file that `git bundle create FILE REF` made, and a ref or oid of it."""
        with open(path, "rb") as stream:
            return cls(bundle=stream.read(), commit=commit, subdir=subdir)

    @classmethod
    def of_directory(cls, top, subdir=None):
        """The files below a directory, without what is in .git."""
        files, executable, links = {}, [], {}
        for folder, folders, names in os.walk(top):
            if ".git" in folders:
                folders.remove(".git")
            for name in sorted(set(names) - {".git"}) + folders:
                at = os.path.join(folder, name)
                path = os.path.relpath(at, top)
                if os.path.islink(at):
                    links[path] = os.readlink(at)
                elif os.path.isfile(at):
                    with open(at, "rb") as stream:
                        files[path] = stream.read()
                    if os.access(at, os.X_OK):
                        executable.append(path)
                elif name in names:
                    raise ValueError(f"{at}: neither file, directory nor link")
        return cls(files=files, executable=executable or None, links=links or None, subdir=subdir)


@dataclasses.dataclass
class Patch(Record):
    diff: bytes
    strip: Optional[int] = None
    mode: Optional[str] = None


@dataclasses.dataclass
class Protect(Record):
    paths: Optional[list[str]] = None
    allow: Optional[list[str]] = None
    restore: Optional[list[str]] = None


@dataclasses.dataclass
class Step(Record):
    """Exactly one of `run` (program and arguments) and `shell` (text for /bin/sh)."""

    run: Optional[list[str]] = None
    shell: Optional[str] = None
    name: Optional[str] = None
    cwd: Optional[str] = None
    env: Optional[dict[str, str]] = None
    stdin: Optional[bytes] = None
    timeout_ms: Optional[int] = None
    expect_exit: Optional[int] = None
    always: Optional[bool] = None


@dataclasses.dataclass
class Tests(Record):
    format: Optional[str] = None
    report: Optional[list[str]] = None
    fail_to_pass: Optional[list[str]] = None
    pass_to_pass: Optional[list[str]] = None


@dataclasses.dataclass
class Limits(Record):
    preset: Optional[str] = None
    wall_ms: Optional[int] = None
    cpu_ms: Optional[int] = None
    idle_ms: Optional[int] = None
    memory_bytes: Optional[int] = None
    disk_bytes: Optional[int] = None
    inodes: Optional[int] = None
    processes: Optional[int] = None
    open_files: Optional[int] = None
    file_bytes: Optional[int] = None
    output_bytes: Optional[int] = None
    cpus: Optional[float] = None


@dataclasses.dataclass
class Sandbox(Record):
    """What the steps run in; `root` is a name that the worker's operator gave."""

    root: Optional[str] = None


@dataclasses.dataclass
class Artifacts(Record):
    paths: Optional[list[str]] = None
    max_bytes: Optional[int] = None


@dataclasses.dataclass
class Job(Record):
    """`id` is the key of idempotency: the same id with the same content is the same job."""

    source: Optional[Source] = None
    patch: Optional[Patch] = None
    steps: Optional[list[Step]] = None
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    v: int = 1
    tenant: Optional[str] = None
    stage: Optional[str] = None
    labels: Optional[dict[str, str]] = None
    cache: Optional[str] = None
    security: Optional[str] = None
    network: Optional[dict[str, object]] = None
    protect: Optional[Protect] = None
    tests: Optional[Tests] = None
    limits: Optional[Limits] = None
    sandbox: Optional[Sandbox] = None
    artifacts: Optional[Artifacts] = None
    on_failure: Optional[str] = None
    deadline_ms: Optional[int] = None
    priority: Optional[str] = None
    concurrency_key: Optional[str] = None
    max_attempts: Optional[int] = None
    run: Optional[int] = None
    replayed_from: Optional[str] = None
    traceparent: Optional[str] = None
