"""Which test programs there are, in the order in which they run.

The order is that of explanation: style, golden vectors, units from the ground floor upwards,
the corpora of the fuzz targets, properties of the patch engine, then the system by number,
then the attacks.
Units are named by their sources, so one that was not built is a failure and
not an absence.
"""
import fnmatch
import glob
import os
from dataclasses import dataclass, field

FLOORS = ("base", "schema", "queue", "snapshots", "sandbox", "worker", "producer")

# Floors whose units neither use the broker nor measure time: they run side by side.
PARALLEL_FLOORS = ("base", "schema", "snapshots")

# Seconds; a sanitizer build is given three times as much.
TIMEOUTS = {"style": 120, "runner": 60, "unit": 180, "property": 900, "system": 600, "attack": 900}


@dataclass
class Program:
    name: str
    group: str
    argv: list
    timeout_s: int
    parallel: bool = False
    whole: bool = False  # counts as one test, by its exit status
    env: dict = field(default_factory=dict)


def style(root):
    checker = os.path.join(root, "tests/style/check_style.py")
    for name, arguments in (("style/self-test", ["--self-test"]), ("style/check", [])):
        yield Program(name, "style", [checker, *arguments], TIMEOUTS["style"], whole=True)


def units(root, build, mark, factor):
    for floor in FLOORS:
        for source in sorted(glob.glob(os.path.join(root, "tests/unit", floor, "test_*.c"))):
            name = os.path.splitext(os.path.basename(source))[0]
            binary = os.path.join(build, "tests/unit", floor, name)
            yield Program(f"unit/{floor}/{name}{mark}", "unit", [binary],
                          TIMEOUTS["unit"] * factor, parallel=floor in PARALLEL_FLOORS,
                          env={"SBX_B": build, "SBX_BIN": os.path.join(build, "bin")})


def corpora(root, build, mark, factor):
    """The inputs of each fuzz target, once."""
    for source in sorted(glob.glob(os.path.join(root, "tests/fuzz/fuzz_*.c"))):
        name = os.path.basename(source)[len("fuzz_"):-len(".c")]
        yield Program(f"fuzz/{name}{mark}", "unit",
                      [os.path.join(build, "tests/fuzz", f"replay_{name}"),
                       os.path.join(root, "tests/fuzz/corpus", name)],
                      TIMEOUTS["unit"] * factor, parallel=True, whole=True)


def scripts(root, group):
    pattern = "test_[0-9]*.py" if group == "system" else "test_*.py"
    for path in sorted(glob.glob(os.path.join(root, "tests", group, pattern))):
        name = os.path.splitext(os.path.basename(path))[0]
        yield Program(f"{group}/{name}", group, ["/usr/bin/python3", path], TIMEOUTS[group])
    runner = os.path.join(root, "tests", group, "run")
    if os.path.exists(runner):
        yield Program(f"{group}/run", group, [runner], TIMEOUTS[group])


def every(root, build, sanitized, patterns):
    """All programs, narrowed to the globs of `patterns` (matched anywhere in the name)."""
    golden = os.path.join(root, "tests/golden/check.py")
    programs = [*style(root), *scripts(root, "runner"),
                Program("golden/check", "golden", [golden], TIMEOUTS["style"]),
                *units(root, build, "", 1), *corpora(root, build, "", 1)]
    if sanitized:
        programs += [*units(root, sanitized, "+san", 3), *corpora(root, sanitized, "+san", 3)]
    for group in ("property", "system", "attack"):
        programs += scripts(root, group)
    return [program for program in programs
            if not patterns or any(fnmatch.fnmatch(program.name, f"*{pattern}*")
                                   for pattern in patterns)]
