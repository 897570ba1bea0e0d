"""A result as it is published. None: the worker did not know it, or it does not apply."""
import dataclasses
from typing import Optional

from .record import Record

EXIT_CODES = {"passed": 0, "failed": 1, "rejected": 3, "limit": 4, "cancelled": 5, "expired": 5,
              "error": 6}


def _list():
    return dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Reason(Record):
    code: str = ""
    message: str = ""
    subject: Optional[str] = None
    hint: Optional[str] = None

    def __str__(self):
        return f"{self.code}: {self.message}"


@dataclasses.dataclass
class State(Record):
    state: str = ""
    at_us: int = 0


@dataclasses.dataclass
class Metrics(Record):
    cpu_us: int = 0
    memory_peak_bytes: int = 0
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    processes_peak: int = 0
    memory_counter: Optional[str] = None
    user_us: Optional[int] = None
    system_us: Optional[int] = None
    context_switches: Optional[int] = None
    page_faults: Optional[int] = None
    disk_faults: Optional[int] = None
    throttled_us: Optional[int] = None
    output_bytes: Optional[int] = None
    queue_us: Optional[int] = None
    prepare_us: int = 0
    run_us: int = 0
    overhead_us: int = 0


@dataclasses.dataclass
class Change(Record):
    """A file that the patch or the steps changed."""

    path: str = ""
    status: str = ""
    old_path: Optional[str] = None
    mode: Optional[str] = None
    size: Optional[int] = None
    additions: Optional[int] = None
    deletions: Optional[int] = None


@dataclasses.dataclass
class PatchResult(Record):
    files: list[Change] = _list()
    additions: int = 0
    deletions: int = 0
    adjusted: Optional[list[str]] = None
    digest: Optional[str] = None


@dataclasses.dataclass
class Finding(Record):
    severity: str = ""
    rule: str = ""
    message: str = ""
    path: Optional[str] = None
    line: Optional[int] = None
    snippet: Optional[str] = None


@dataclasses.dataclass
class StepResult(Record):
    name: str = ""
    argv: list[str] = _list()
    exit: int = -1
    signal: int = 0
    outcome: str = ""
    wall_us: int = 0
    cpu_us: int = 0
    memory_peak_bytes: int = 0
    io_read_bytes: Optional[int] = None
    io_write_bytes: Optional[int] = None
    processes_peak: Optional[int] = None
    memory_counter: Optional[str] = None
    user_us: Optional[int] = None
    system_us: Optional[int] = None
    context_switches: Optional[int] = None
    page_faults: Optional[int] = None
    disk_faults: Optional[int] = None
    throttled_us: Optional[int] = None
    output_bytes: Optional[int] = None
    stdout: bytes = b""
    stderr: bytes = b""
    truncated_bytes: Optional[int] = None
    syscall: Optional[str] = None
    limits_met: list[str] = _list()


@dataclasses.dataclass
class Case(Record):
    id: str = ""
    status: str = ""
    duration_us: Optional[int] = None
    message: Optional[str] = None


@dataclasses.dataclass
class TestsResult(Record):
    total: int = 0
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    resolved: Optional[bool] = None
    cases: list[Case] = _list()
    conflicts: Optional[list[str]] = None


@dataclasses.dataclass
class Artifact(Record):
    path: str = ""
    size: int = 0
    encoding: str = ""
    sha256: Optional[str] = None
    data: Optional[bytes] = None


@dataclasses.dataclass
class Security(Record):
    mode: str = ""
    profile: str = ""
    reason: str = ""
    root: Optional[str] = None


@dataclasses.dataclass
class Result(Record):
    verdict: str = ""
    v: int = 1
    job: Optional[str] = None
    run: int = 1
    attempt: int = 0
    worker: Optional[str] = None
    tenant: Optional[str] = None
    stage: Optional[str] = None
    labels: Optional[dict[str, str]] = None
    traceparent: Optional[str] = None
    reason: Optional[Reason] = None
    states: list[State] = _list()
    metrics: Optional[Metrics] = None
    security: Optional[Security] = None
    missing: Optional[list[str]] = None
    clamped: Optional[list[str]] = None
    snapshots: Optional[dict[str, str]] = None
    patch: Optional[PatchResult] = None
    findings: list[Finding] = _list()
    steps: list[StepResult] = _list()
    tests: Optional[TestsResult] = None
    changes: list[Change] = _list()
    changes_truncated: Optional[bool] = None
    artifacts: list[Artifact] = _list()

    @property
    def passed(self):
        return self.verdict == "passed"

    @property
    def exit_code(self):
        """As of sbx-submit --wait; 6 for a verdict that this version does not know."""
        return EXIT_CODES.get(self.verdict, 6)
