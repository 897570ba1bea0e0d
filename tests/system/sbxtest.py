"""What the system tests share: repositories, workers, a client, and order afterwards.

    class Verdicts(sbxtest.WorkerCase):
        def test_passes(self):
            result = self.run_job(steps=[["true"]])
            self.assert_verdict(result, "passed")

A WorkerCase has one repository and one worker for all its tests, with a queue
prefix and a state directory of its own; Case has what a test needs to start
workers itself. Whatever a case starts is ended with it, and what is then left
of processes, cgroups, mounts or half-built files fails it. Waiting is polling
a condition with a deadline (`poll`); nothing else here waits.

Environment: SBX_BIN (programs), SBX_TEST_BROKER_URL, SBX_TEST_BROKER_DIR. A
case that needs a broker is skipped, with the reason, where there is none.
"""
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runner import leftovers  # noqa: E402
from client import Client  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("SBX_BIN", os.path.join(ROOT, "build/bin"))
BROKER = os.path.join(ROOT, "contrib/broker/sbx-broker")
BROKER_URL = os.environ.get("SBX_TEST_BROKER_URL", "")
BROKER_DIR = os.environ.get("SBX_TEST_BROKER_DIR", "")

# Exit codes of sbx-run and sbx-submit --wait.
EXIT = {"passed": 0, "failed": 1, "usage": 2, "rejected": 3, "limit": 4, "cancelled": 5,
        "expired": 5, "error": 6}


def poll(condition, what, timeout=20.0, pause=0.02):
    """The first true value of `condition`; fails by naming `what` did not come."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {timeout} s: {said}")
        time.sleep(pause)


def clean_env(home, **more):
    """Nothing of the caller's but the marks of a broker that is the test's."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home, "LANG": "C.UTF-8", "TMPDIR": home, **more}


def need_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest("must be started as root")


# --- repositories -------------------------------------------------------


class Repo:
    """A git repository, made without any configuration of the machine."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments, stdin=None):
        env = clean_env(os.path.dirname(self.path), GIT_CONFIG_GLOBAL="/dev/null",
                        GIT_CONFIG_SYSTEM="/dev/null", GIT_AUTHOR_NAME="A", GIT_AUTHOR_EMAIL="a@b",
                        GIT_COMMITTER_NAME="A", GIT_COMMITTER_EMAIL="a@b",
                        GIT_AUTHOR_DATE="1700000000 +0000", GIT_COMMITTER_DATE="1700000000 +0000")
        return subprocess.run(["git", *arguments], cwd=self.path, env=env, input=stdin,
                              check=True, stdout=subprocess.PIPE).stdout

    def write(self, files):
        """Path to text, bytes, ("link", target), or None to remove."""
        for path, content in files.items():
            full = os.path.join(self.path, path)
            if os.path.lexists(full):
                os.unlink(full)
            if content is None:
                continue
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if isinstance(content, tuple):
                os.symlink(content[1], full)
                continue
            with open(full, "wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
            if path.endswith(".sh"):
                os.chmod(full, 0o755)

    def commit(self, files, message="change"):
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self):
        return self.git("rev-parse", "HEAD").decode().strip()

    def diff(self, files):
        """What `git diff` says for these changes, which are taken back."""
        self.write(files)
        self.git("add", "-A")
        diff = self.git("diff", "--cached", "--no-color", "-M")
        self.git("reset", "-q", "--hard")
        return diff

    def tree_after(self, diff):
        """The tree that git's own apply makes of the head and `diff`."""
        self.git("apply", "--cached", "-", stdin=diff)
        tree = self.git("write-tree").decode().strip()
        self.git("reset", "-q", "--hard")
        return tree


# --- the worker ---------------------------------------------------------


class Worker:
    """One sbx-worker with its configuration, log and state in `folder`."""

    def __init__(self, folder, prefix, user=None, **config):
        self.folder = folder
        self.prefix = prefix
        self.user = user
        self.process = None
        self.starts = 0
        self.state = os.path.join(folder, "state")
        self.config_path = os.path.join(folder, "worker.ini")
        self.config = {"worker.name": prefix, "worker.slots": "2", "worker.state_dir": self.state,
                       "queue.url": BROKER_URL, "queue.prefix": prefix,
                       "sources.allow": os.path.join(folder, "repos") + "/",
                       "commands.allow": "off", "log.level": "debug"}
        self.config.update({key.replace("__", "."): str(value) for key, value in config.items()})

    @property
    def log_path(self):
        return os.path.join(self.folder, f"worker-{self.starts}.log")

    def write_config(self):
        sections = {}
        for key, value in self.config.items():
            section, name = key.split(".")
            value = value.replace("\n", "\n    ")  # one a line: the next ones are indented
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        with open(self.config_path, "w", encoding="utf-8") as stream:
            for section, lines in sections.items():
                stream.write(f"[{section}]\n" + "".join(lines))

    def command(self, *arguments):
        command = [os.path.join(BIN, "sbx-worker"), *arguments, "--config", self.config_path]
        return as_user(self.user, command)

    def start(self, ready=True):
        self.write_config()
        self.starts += 1
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.folder,
                                            env=clean_env(self.folder))
        if ready:
            poll(self.is_ready, f"msg=ready in {self.log_path}", 30)
        return self

    def assert_alive(self):
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}:\n"
                                 f"{self.log()[-4000:]}")

    def is_ready(self):
        self.assert_alive()
        return self.logged(r"\bmsg=ready\b")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def logged(self, pattern):
        return re.search(pattern, self.log())

    def check(self, *options):
        """`sbx-worker check` with this configuration."""
        self.write_config()
        return subprocess.run(self.command("check", *options), cwd=self.folder,
                              env=clean_env(self.folder),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)

    def processes(self):
        return leftovers.descendants(self.process.pid)

    def role(self, name):
        """The pid of one of the worker's own processes, by its command line."""
        wanted = b"\0--role\0" + name.encode() + b"\0"
        # One listing: a process may end between two.
        [pid] = [pid for pid, (parent, _) in leftovers.parents().items()
                 if parent == self.process.pid
                 and wanted in leftovers.read(f"/proc/{pid}/cmdline")]
        return pid

    def executors(self):
        """As root an executor is known by its uid (worker/role.h)."""
        base = int(self.config.get("worker.uid_base", 1879048192))
        found = []
        for pid in self.processes():
            uids = re.search(rb"^Uid:\s+(\d+)", leftovers.read(f"/proc/{pid}/status"), re.MULTILINE)
            if uids and base + 100 <= int(uids.group(1)) < base + 600:
                found.append(pid)
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=30):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker does not end; its log:\n{self.log()}") from None

    def stop(self, timeout=30):
        """SIGTERM; the drained worker ends with 0."""
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            return self.wait(timeout)
        return self.process.returncode if self.process else 0

    def kill(self):
        """SIGKILL to the supervisor alone; what was below it must end by itself."""
        below = self.processes()
        self.process.kill()
        self.process.wait()
        self.process = None
        return below


def as_user(user, command):
    if user is None:
        return command
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]


# --- jobs ---------------------------------------------------------------


def steps_of(steps):
    """Argument lists, shell texts or whole maps become steps."""
    return [step if isinstance(step, dict) else
            {"shell": step} if isinstance(step, str) else {"run": list(step)} for step in steps]


def job_of(repo, diff=None, steps=(["true"],), **fields):
    job = {"v": 1, "id": "t-" + secrets.token_hex(8),
           "source": {"repo": repo.path, "commit": repo.head()}, "steps": steps_of(steps)}
    if diff is not None:
        job["patch"] = {"diff": diff}
    job.update(fields)
    return {key: value for key, value in job.items() if value is not None}


def json_of(job):
    """The job as JSON text: binary as UTF-8, which is all that tests send this way."""
    return json.dumps(job, default=lambda value: value.decode())


# --- cases --------------------------------------------------------------

ACTIVE = []  # classes whose cleanup is due


def clean_up_and_end(number, _):
    """A killed test program ends what it started: unittest would not."""
    signal.signal(number, signal.SIG_IGN)
    for case in ACTIVE:
        case.kill_workers()
        for problem in case.watch.settle(8):
            print(f"left behind: {problem}", file=sys.stderr)
        shutil.rmtree(case.folder, ignore_errors=True)
    os._exit(128 + number)


signal.signal(signal.SIGTERM, clean_up_and_end)


class Case(unittest.TestCase):
    """A folder, a prefix, and order afterwards; for the whole class."""

    needs_broker = True
    user = None  # uid of the worker, or None: who runs the tests
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if cls.needs_broker and not BROKER_URL:
            raise unittest.SkipTest("no broker: SBX_TEST_BROKER_URL is not set")
        cls.folder = tempfile.mkdtemp(prefix="sbx-system-")
        os.chmod(cls.folder, 0o755)
        cls.prefix = "t" + secrets.token_hex(4)
        cls.watch = leftovers.Watch(cls.folder, broker_may_stay=True,
                                    is_own_cgroup=lambda name: cls.owns_cgroup(name))
        cls.workers = []
        cls.addClassCleanup(cls.tear_down)
        ACTIVE.append(cls)
        cls.repo = Repo(os.path.join(cls.folder, "repos/main"))
        cls.client = Client(BROKER_URL, cls.prefix) if cls.needs_broker else None
        if cls.user is not None:
            os.chown(cls.folder, cls.user, cls.user)

    @classmethod
    def owns_cgroup(cls, name):
        """A worker's cgroups bear the inode of its state directory's instances/."""
        found = [os.stat(os.path.join(folder, "instances")).st_ino & 0xffffffffffff
                 for folder, names, _ in os.walk(cls.folder) if "instances" in names]
        return any(name.startswith(f"sbx-{inode:x}-") for inode in found) or \
            name.startswith("sbx-box-")

    @classmethod
    def kill_workers(cls):
        for worker in cls.workers:
            if worker.process and worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()

    @classmethod
    def tear_down(cls):
        ACTIVE.remove(cls)
        cls.kill_workers()
        if cls.client:
            cls.client.close()
        problems = cls.watch.settle(15)
        for worker in cls.workers:
            half_built = os.path.join(worker.state, "store/tmp")
            if not problems and os.path.isdir(half_built):
                problems += [f"half-built {name}" for name in os.listdir(half_built)]
        # What cannot be removed (an attribute, a mount) must be seen as well.
        shutil.rmtree(cls.folder, onerror=lambda _, path, __: problems.append(f"file {path}"))
        if problems:
            raise AssertionError("left behind: " + "; ".join(problems))

    @classmethod
    def worker_of(cls, name="worker", **config):
        """A worker that is not started; its folder is below the class's."""
        folder = os.path.join(cls.folder, name)
        os.makedirs(folder, exist_ok=True)
        if cls.user is not None:
            os.chown(folder, cls.user, cls.user)
        config.setdefault("sources__allow", os.path.join(cls.folder, "repos") + "/")
        worker = Worker(folder, cls.prefix, cls.user, **config)
        cls.workers.append(worker)
        return worker

    def program(self, name, *arguments, stdin=None, timeout=60, cwd=None):
        """Runs one of the programs; output as text."""
        return subprocess.run(as_user(self.user, [os.path.join(BIN, name), *arguments]),
                              input=stdin, capture_output=True, text=True, timeout=timeout,
                              cwd=cwd or self.folder, env=clean_env(self.folder), check=False)

    def assert_verdict(self, result, verdict, code=None, subject=None):
        reason = result.get("reason") or {}
        said = json.dumps({key: value for key, value in result.items()
                           if key in ("verdict", "reason", "steps", "tests")}, default=repr,
                          indent=1)
        self.assertEqual(result["verdict"], verdict, said)
        if code is not None:
            self.assertEqual(reason.get("code"), code, said)
        if subject is not None:
            self.assertEqual(reason.get("subject"), subject, said)

    def assert_one_result(self, job_id):
        """Exactly one after dedupe by message id, and all copies say the same."""
        copies = self.client.results_of(job_id)
        self.assertEqual(len({copy["message_id"] for copy in copies}), 1, copies)
        self.assertEqual(len({copy["result"]["verdict"] for copy in copies}), 1, copies)


class WorkerCase(Case):
    """One worker for all tests of the class, which must survive them all."""

    config = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prepare()
        cls.worker = cls.worker_of(**cls.config).start()
        cls.client.alive = cls.worker.assert_alive
        cls.addClassCleanup(cls.stop_worker)

    @classmethod
    def prepare(cls):
        """Commits what the tests of the class work on."""
        cls.repo.commit({"README": "one\ntwo\nthree\n"})

    @classmethod
    def stop_worker(cls):
        status = cls.worker.stop()
        if status != 0:
            raise AssertionError(f"the worker ended with {status}:\n{cls.worker.log()[-4000:]}")

    def setUp(self):
        """One crash is one failure: the next test has a worker again."""
        if self.worker.process is None or self.worker.process.poll() is not None:
            self.worker.start()

    def run_job(self, diff=None, steps=(["true"],), timeout=60, **fields):
        """Enqueues a job over the wire and returns its result."""
        job = job_of(self.repo, diff, steps, **fields)
        self.client.publish(job)
        return self.result_of(job["id"], timeout)

    def result_of(self, job_id, timeout=60):
        try:
            return self.client.wait(job_id, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.worker.log()[-4000:]}") from None


main = unittest.main
