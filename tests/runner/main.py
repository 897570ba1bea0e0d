"""usage: tests/run [options]

    --build DIR     the build directory (default: build); its programs are tested
    --san DIR       another one with sanitizers, whose units run as well
    --only GLOB     programs whose name matches; may be given several times
    --list          names the programs and runs none
    --no-broker     starts no broker; what needs one is skipped and says so
    -j N            units that neither time nor share anything, side by side (2)
    --patience N    gives each program N times its time
    -v              prints the output of every program

One line a program; the whole output of a failed one; logs in BUILD/test-logs.
The last line is "N passed, N failed, N skipped". In CI (CI=true) a skipped
test of the sandbox or of the attacks is a failure.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from runner import counts, leftovers, programs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BROKER = os.path.join(ROOT, "contrib/broker/sbx-broker")

# Tests that may not be missing from a run in CI.
NEVER_SKIPPED = ("sandbox", "attack")


class Report:
    """Adds up, and prints as it goes."""

    def __init__(self, verbose):
        self.verbose = verbose
        self.passed = self.failed = 0
        self.skips = []

    def program(self, name, found, seconds, text, log):
        word = "FAIL" if found.failed else "SKIP" if found.total == len(found.skips) else "ok"
        print(f"{word:4} {name:44} {found.passed:4} passed {found.failed:3} failed "
              f"{len(found.skips):3} skipped {seconds:7.1f} s")
        if found.failed or self.verbose:
            print("".join(f"     | {line}\n" for line in text.rstrip("\n").split("\n")), end="")
            print(f"     | (log: {log})")
        sys.stdout.flush()
        self.passed += found.passed
        self.failed += found.failed
        self.skips += [(f"{name}: {test}", reason) for test, reason in found.skips]

    def fault(self, text):
        print(f"FAIL {text}", flush=True)
        self.failed += 1

    def finish(self):
        if self.skips:
            print(f"skipped, not proved ({len(self.skips)}):")
        for name, reason in self.skips:
            print(f"     {name}: {reason}")
            if os.environ.get("CI") == "true" and any(word in name for word in NEVER_SKIPPED):
                self.fault(f"{name} may not be skipped in CI")
        print(f"{self.passed} passed, {self.failed} failed, {len(self.skips)} skipped")
        return 1 if self.failed or not self.passed else 0


class Runner:
    def __init__(self, options, folder, report):
        self.options = options
        self.folder = folder
        self.report = report
        self.logs = os.path.join(options.build, "test-logs")
        self.env = dict(os.environ, TMPDIR=folder, SBX_B=options.build,
                        SBX_BIN=os.path.join(options.build, "bin"), PYTHONDONTWRITEBYTECODE="1")
        self.running = set()
        self.broker_dir = None  # of our own one; a caller's broker is the caller's
        os.makedirs(self.logs, exist_ok=True)

    def run(self, program):
        """Runs one program to its end or its timeout; returns (counts, seconds, text, log)."""
        log = os.path.join(self.logs, program.name.replace("/", "-") + ".log")
        started = time.monotonic()
        with open(log, "wb") as stream:
            absent = program.not_built()
            if absent:
                stream.write(f"{absent}\n".encode())
                return counts.Counts(failed=1), 0.0, absent, log
            try:
                child = subprocess.Popen(program.argv, stdin=subprocess.DEVNULL, stdout=stream,
                                         stderr=subprocess.STDOUT, cwd=ROOT,
                                         env={**self.env, **program.env}, start_new_session=True)
            except OSError as error:
                stream.write(f"cannot start: {error}\n".encode())
                return counts.Counts(failed=1), 0.0, f"cannot start: {error}", log
            self.running.add(child)
            try:
                status = child.wait(program.timeout_s)
            except subprocess.TimeoutExpired:
                status = None
                stream.write(f"\ntests/run: killed after {program.timeout_s} s\n".encode())
            finally:
                self.end(child)
        with open(log, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        found = counts.read(text, -1 if status is None else status)
        if program.whole:
            found = counts.Counts(passed=int(status == 0), failed=int(status != 0))
        if status is not None and status < 0:
            text += f"\ntests/run: ended by signal {-status}\n"
        return found, time.monotonic() - started, text, log

    def end(self, child):
        """The group of a program ends with it; what was told to end may tidy up."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
                child.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        child.wait()
        self.running.discard(child)

    def run_all(self, chosen):
        with ThreadPoolExecutor(self.options.jobs) as pool:
            ahead = {id(each): pool.submit(self.run, each) for each in chosen if each.parallel}
            try:
                for program in chosen:
                    if not program.parallel and ahead:
                        for each in list(ahead.values()):
                            each.exception()
                    future = ahead.get(id(program))
                    found = future.result() if future else self.run(program)
                    self.report.program(program.name, *found)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(self.running):
                    self.end(child)
                raise

    # --- the broker -----------------------------------------------------

    def broker(self, verb):
        return subprocess.run([BROKER, verb, self.broker_dir], text=True,
                              env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)

    def start_broker(self):
        started = time.monotonic()
        self.broker_dir = os.path.join(self.folder, "broker")
        start = self.broker("start")
        url = self.broker("url")
        if start.returncode or url.returncode:
            self.report.fault(f"broker: cannot start\n{start.stdout}{url.stdout}")
            return
        self.env["SBX_TEST_BROKER_DIR"] = self.broker_dir
        self.env["SBX_TEST_BROKER_URL"] = url.stdout.strip()
        print(f"     broker ready after {time.monotonic() - started:.1f} s", flush=True)

    def stop_broker(self):
        if self.broker_dir is None:
            return
        stop = self.broker("stop")
        if stop.returncode:
            self.report.fault(f"broker: cannot stop\n{stop.stdout}")
        shutil.rmtree(self.broker_dir, ignore_errors=True)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/run", usage=__doc__, add_help=False)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), type=os.path.abspath)
    parser.add_argument("--san", default="", type=lambda path: path and os.path.abspath(path))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--no-broker", action="store_true")
    parser.add_argument("-j", dest="jobs", default=2, type=int)
    parser.add_argument("--patience", default=1, type=int)
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_args(arguments)


def interrupt(number, frame):
    del number, frame
    raise KeyboardInterrupt


def run(options, chosen):
    report = Report(options.verbose)
    folder = tempfile.mkdtemp(prefix="sbx-test-")
    os.chmod(folder, 0o1777)  # ordinary users that tests make work here too
    watch = leftovers.Watch(folder, broker_may_stay=False)
    runner = Runner(options, folder, report)
    try:
        if not options.no_broker and any(each.group != "style" for each in chosen):
            runner.start_broker()
        runner.run_all(chosen)
    except KeyboardInterrupt:
        report.fault("interrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        runner.stop_broker()
        files = [f"file {os.path.join(folder, name)}" for name in sorted(os.listdir(folder))]
        for found in watch.settle() + files:
            report.fault(f"left behind: {found}")
        shutil.rmtree(folder, ignore_errors=True)
    return report.finish()


def main(arguments):
    options = parse(arguments)
    if options.help:
        print(__doc__)
        return 0
    chosen = programs.every(ROOT, options.build, options.san, options.only)
    for program in chosen:
        program.timeout_s *= options.patience
    if options.list:
        print("\n".join(program.name for program in chosen))
        return 0
    if not chosen:
        print("tests/run: no test program matches", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    return run(options, chosen)
