"""Which test programs there are, in the order in which they run.

The order is that of explanation: style, golden vectors, units from the ground floor upwards,
the corpora of the fuzz targets, properties of the patch engine, then the system by number,
then the attacks.
Units are named by their sources, so one that was not built is a failure and
not an absence. Each program knows what must have been built for it, and by
which call of make.
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
    needs: list = field(default_factory=list)  # files that `make` builds
    make: str = ""

    def not_built(self):
        """What to say when something is missing, else None."""
        missing = [path for path in self.needs if not os.path.exists(path)]
        if not missing:
            return None
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"not built: {missing[0]}{more}; '{self.make}' builds what is missing"


def make(root, build, mark, target):
    """The call that builds `target` there, as somebody in `root` types it."""
    inside = os.path.relpath(build, root)
    san = " SAN=1" if mark or inside == "build/san" else ""
    where = "" if inside == ("build/san" if san else "build") else \
        f" B={build if inside.startswith('..') else inside}"
    return f"make -j2{san}{where} {target}"


def built(root, build, pattern):
    """Where what comes of the sources of `pattern` is put, by the Makefile's rules."""
    for source in sorted(glob.glob(os.path.join(root, pattern))):
        path = os.path.splitext(os.path.relpath(source, root))[0]
        folder, name = os.path.split(path)
        yield os.path.join(build, "bin" if os.path.basename(folder) == "bin" else folder, name)


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
                          env={"SBX_B": build, "SBX_BIN": os.path.join(build, "bin")},
                          needs=[binary], make=make(root, build, mark, "unit-tests"))


def corpora(root, build, mark, factor):
    """The inputs of each fuzz target, once."""
    for source in sorted(glob.glob(os.path.join(root, "tests/fuzz/fuzz_*.c"))):
        name = os.path.basename(source)[len("fuzz_"):-len(".c")]
        binary = os.path.join(build, "tests/fuzz", f"replay_{name}")
        yield Program(f"fuzz/{name}{mark}", "unit",
                      [binary, os.path.join(root, "tests/fuzz/corpus", name)],
                      TIMEOUTS["unit"] * factor, parallel=True, whole=True,
                      needs=[binary], make=make(root, build, mark, "unit-tests"))


def scripts(root, group, needs=(), call=""):
    pattern = "test_[0-9]*.py" if group == "system" else "test_*.py"
    for path in sorted(glob.glob(os.path.join(root, "tests", group, pattern))):
        name = os.path.splitext(os.path.basename(path))[0]
        yield Program(f"{group}/{name}", group, ["/usr/bin/python3", path], TIMEOUTS[group],
                      needs=list(needs), make=call)
    runner = os.path.join(root, "tests", group, "run")
    if os.path.exists(runner):
        yield Program(f"{group}/run", group, [runner], TIMEOUTS[group], needs=list(needs),
                      make=call)


def every(root, build, sanitized, patterns):
    """All programs, narrowed to the globs of `patterns` (matched anywhere in the name)."""
    golden = os.path.join(root, "tests/golden/check.py")
    programs = [*style(root), *scripts(root, "runner"),
                Program("golden/check", "golden", [golden], TIMEOUTS["style"]),
                *units(root, build, "", 1), *corpora(root, build, "", 1)]
    if sanitized:
        programs += [*units(root, sanitized, "+san", 3), *corpora(root, sanitized, "+san", 3)]
    bins = [*built(root, build, "worker/bin/*.c"), *built(root, build, "producer/bin/*.c")]
    attacks = [*bins, *built(root, build, "tests/attack/attack_*.c")]
    for group, needs, target in (("property", bins, "all"), ("system", bins, "all"),
                                 ("attack", attacks, "all-tests")):
        programs += scripts(root, group, needs, make(root, build, "", target))
    return [program for program in programs
            if not patterns or any(fnmatch.fnmatch(program.name, f"*{pattern}*")
                                   for pattern in patterns)]
