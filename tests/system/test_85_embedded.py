"""The embedded queue: the same commands and promises, and no server anywhere."""
import concurrent.futures
import json
import os
import secrets
import signal
import sqlite3
import subprocess

import msgpack

import sbxtest

# As in test_60_user.py: an ordinary user that nobody else is.
USER = 61000 + secrets.randbelow(4000)


class EmbeddedCase(sbxtest.Case):
    needs_broker = False
    config = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\ntwo\nthree\n"})

    def setUp(self):
        self.place(os.path.join(self.folder, "queue"))

    def place(self, directory):
        self.file = os.path.join(directory, "queue.db")
        self.url = "sqlite:" + self.file

    def start(self, name="worker", **config):
        worker = self.worker_of(name, queue__url=self.url, worker__name=name, **self.config,
                                **config).start()
        self.addCleanup(self.stop, worker)
        return worker

    def stop(self, worker):
        if worker.process and worker.process.poll() is None:
            self.assertEqual(worker.stop(), 0, worker.log()[-4000:])

    def submit(self, *arguments, stdin=None):
        return self.program("sbx-submit", *arguments, "--queue", self.url, "--prefix", self.prefix,
                            stdin=stdin)

    def send(self, job, *options):
        return self.submit("-", *options, stdin=sbxtest.json_of(job))

    def assert_exit(self, done, word):
        self.assertEqual(done.returncode, sbxtest.EXIT[word], done.stdout + done.stderr)

    def rows(self, suffix):
        """(message id, body) of what is in a queue, read by another program."""
        connection = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(
                "SELECT id, body FROM messages m JOIN bodies b ON b.seq = m.seq WHERE queue = ?"
                " ORDER BY m.seq", (f"{self.prefix}.{suffix}",)).fetchall()
        finally:
            connection.close()

    def results(self, job_id=None):
        """What the results queue has, by message id: a repetition must say the same."""
        found = {}
        for message_id, body in self.rows("results"):
            result = msgpack.unpackb(body)
            if job_id in (None, result["job"]):
                self.assertEqual(found.setdefault(message_id, result)["verdict"],
                                 result["verdict"])
        return found

    def result_of(self, worker, job_id, timeout=60):
        def one():
            worker.assert_alive()
            return self.results(job_id)
        found = sbxtest.poll(one, lambda: f"result of {job_id}\n{worker.log()[-4000:]}", timeout)
        return found.popitem()[1]

    def assert_empty(self):
        for suffix in ("jobs", "jobs.high", "jobs.low", "wait.5s"):
            self.assertEqual(self.rows(suffix), [], suffix)


class Road(EmbeddedCase):
    def options(self, *more):
        return ["--repo", self.repo.path, "--commit", self.repo.head(), *more]

    def test_what_was_sent_before_the_first_worker_is_done(self):
        job = sbxtest.job_of(self.repo)
        done = self.send(job)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, job["id"]), done.stderr)
        worker = self.start()
        self.assert_verdict(self.result_of(worker, job["id"]), "passed")
        sbxtest.poll(lambda: not self.rows("jobs"), "the ack")
        self.assert_empty()

    def test_waiting_gives_the_verdict(self):
        self.start()
        done = self.submit(*self.options("--run", "true", "--wait"))
        self.assert_exit(done, "passed")
        self.assert_exit(self.submit(*self.options("--run", "false", "--wait")), "failed")
        done = self.submit(*self.options("--run", "cat README", "--priority", "high", "--wait",
                                         "--json"))
        self.assert_exit(done, "passed")
        self.assertIn("passed", json.loads(done.stdout)["verdict"])

    def test_following_shows_states_and_output(self):
        self.start()
        done = self.submit(*self.options("--shell", "echo a-live-line", "--follow"))
        self.assert_exit(done, "passed")
        self.assertIn("a-live-line", done.stdout + done.stderr)
        self.assertIn("running", done.stdout + done.stderr)

    def test_dead_letters_are_listed_shown_and_replayed(self):
        worker = self.start()
        away = os.path.join(self.folder, "repos", "later")
        job = sbxtest.job_of(self.repo, source={"repo": away, "commit": self.repo.head()},
                             max_attempts=1)
        self.assert_exit(self.send(job, "--wait"), "error")
        sbxtest.poll(lambda: job["id"] in self.submit("dead", "list").stdout, "the letter")
        shown = self.submit("dead", "show", job["id"])
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("source.unreachable", shown.stdout)
        sbxtest.Repo(away).git("fetch", "-q", self.repo.path, "main:refs/heads/other")
        self.assertEqual(self.submit("replay", job["id"]).returncode, 0)
        sbxtest.poll(lambda: len(self.results(job["id"])) == 2, "the second run's result", 60)
        self.assert_verdict(self.results(job["id"])[job["id"] + ".2"], "passed")
        self.assertNotIn(job["id"], self.submit("dead", "list").stdout)
        worker.assert_alive()

    def test_a_fault_waits_and_is_tried_again(self):
        worker = self.start()
        away = os.path.join(self.folder, "repos", "soon")
        job = sbxtest.job_of(self.repo, source={"repo": away, "commit": self.repo.head()})
        self.assertEqual(self.send(job).returncode, 0)
        sbxtest.poll(lambda: self.rows("wait.5s"), "the job in its wait bucket", 30)
        sbxtest.Repo(away).git("fetch", "-q", self.repo.path, "main:refs/heads/other")
        result = self.result_of(worker, job["id"])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["attempt"], 2)
        sbxtest.poll(lambda: not self.rows("jobs"), "the ack")
        self.assert_empty()

    def test_the_file_may_stand_in_the_state_directory(self):
        """As it does by default; the producer comes first, and makes the directory."""
        state = os.path.join(self.folder, "both")
        self.place(state)
        job = sbxtest.job_of(self.repo)
        self.assertEqual(self.send(job).returncode, 0)
        worker = self.start("both-worker", worker__state_dir=state)
        self.assert_verdict(self.result_of(worker, job["id"]), "passed")
        self.assertEqual(os.stat(self.file).st_uid, os.stat(state).st_uid)
        self.assert_exit(self.submit(*self.options("--run", "true", "--wait")), "passed")
        worker.kill()
        worker.start()
        self.assert_exit(self.submit(*self.options("--run", "true", "--wait")), "passed")

    def test_check_tells_of_the_file(self):
        worker = self.worker_of("check", queue__url=self.url, **self.config)
        self.assertIn("queue.db", worker.check().stdout)


class Kills(EmbeddedCase):
    def test_a_job_of_a_killed_worker_is_finished_by_the_next(self):
        worker = self.start()
        job = sbxtest.job_of(self.repo, steps=["sleep 2; echo done"])
        self.assertEqual(self.send(job).returncode, 0)
        sbxtest.poll(worker.executors, "an executor", 30)
        sbxtest.poll(lambda: not self.submit("dead", "list").returncode, "the list")
        worker.kill()
        self.assertEqual(self.results(job["id"]), {})
        other = self.start("other")
        self.assert_verdict(self.result_of(other, job["id"]), "passed")
        self.assertEqual(len(self.results(job["id"])), 1)
        sbxtest.poll(lambda: not self.rows("jobs"), "the ack")
        self.assert_empty()
        worker.start()  # which clears up what the killed one was building

    def test_two_workers_two_hundred_jobs_and_kills(self):
        """None is lost, and none has two results once repetitions are dropped."""
        workers = [self.start("left"), self.start("right")]
        jobs = [sbxtest.job_of(self.repo, steps=[["true"]]) for _ in range(200)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            sent = list(pool.map(self.send, jobs[:100]))
            sbxtest.poll(lambda: len(self.results()) > 10, "some results", 60)
            workers[0].kill()
            sent += pool.map(self.send, jobs[100:150])
            workers[0].start()
            sbxtest.poll(lambda: len(self.results()) > 60, "more results", 60)
            workers[1].kill()
            sent += pool.map(self.send, jobs[150:])
            workers[1].start()
        self.assertEqual([done.returncode for done in sent], [0] * 200)
        wanted = {job["id"] + ".1" for job in jobs}
        sbxtest.poll(lambda: wanted <= set(self.results()),
                     lambda: f"{len(wanted - set(self.results()))} results", 120)
        found = self.results()
        self.assertTrue(wanted <= set(found))
        runs = [name for name in found if name.rsplit(".", 1)[0] in {job["id"] for job in jobs}]
        self.assertEqual(len(runs), 200)
        self.assertEqual({found[name]["verdict"] for name in wanted}, {"passed"})
        # Both had their part, and at the end nothing is ready, held or waiting.
        self.assertEqual(len({found[name]["worker"] for name in wanted}), 2)
        sbxtest.poll(lambda: not self.rows("jobs"), "the last ack", 30)
        self.assert_empty()
        self.assertEqual(self.rows("dead"), [])


class Default(sbxtest.Case):
    """An ordinary user on a laptop: no server, no setting, no --queue."""

    needs_broker = False
    user = USER

    @classmethod
    def setUpClass(cls):
        sbxtest.need_root()
        super().setUpClass()
        cls.repo.commit({"README": "one\n"})

    def test_worker_and_producer_meet_without_being_told(self):
        worker = self.worker_of(sandbox__allow_missing="cgroup", queue__url="",
                                queue__prefix="sbx")
        env = sbxtest.clean_env(self.folder)
        worker.write_config()
        worker.starts += 1
        with open(worker.log_path, "wb") as log:
            worker.process = subprocess.Popen(worker.command(), stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log, env=env, cwd=self.folder)
        self.addCleanup(worker.stop)
        sbxtest.poll(worker.is_ready, "the worker", 30)
        done = self.program("sbx-submit", "--repo", self.repo.path, "--commit", self.repo.head(),
                            "--run", "true", "--wait")
        self.assert_exit_passed(done)
        path = os.path.join(self.folder, ".local/state/sbx/queue.db")
        self.assertEqual(os.stat(path).st_uid, USER)
        self.assertEqual(os.stat(path).st_mode & 0o077, 0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)

    def assert_exit_passed(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
