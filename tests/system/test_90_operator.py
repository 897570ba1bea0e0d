"""What an operator sees of a worker: history, status, metrics,
and what it can change while the worker runs."""
import http.client
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess

import sbxtest


class History(sbxtest.WorkerCase):
    def history(self, *options):
        done = self.program("sbx-worker", "history", "--config", self.worker.config_path,
                            "--json", *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_the_ledger_tells_of_each_job(self):
        diff = self.repo.diff({"README": "one\n2\nthree\n"})
        tenant = "t" + secrets.token_hex(4)
        passed = self.run_job(diff, id="h-" + secrets.token_hex(4), tenant=tenant)
        failed = self.run_job(steps=[["false"]], tenant=tenant)
        self.assert_verdict(passed, "passed")
        self.assert_verdict(failed, "failed")
        rows = sbxtest.poll(lambda: [row for row in [self.history("--tenant", tenant)]
                                     if all(job.get("confirmed") for job in row)],
                            "both confirmed")[0]
        self.assertEqual([(row["id"], row["verdict"]) for row in rows],
                         [(failed["job"], "failed"), (passed["job"], "passed")])
        snapshots = {name: commit for name, commit in passed["snapshots"].items()
                     if name in ("initial", "before_patch", "after_patch", "final")}
        self.assertGreaterEqual(len(snapshots), 3)
        self.assertEqual(rows[1]["snapshots"], snapshots)
        self.assertEqual((rows[1]["starts"], rows[1]["run"]), (1, 1))
        self.assertEqual(self.history("--job", "h-*", "--tenant", tenant), rows[1:])
        self.assertEqual(self.history("--verdict", "failed", "--tenant", tenant), rows[:1])
        self.assertEqual(self.history("--tenant", tenant, "--limit", "1"), rows[:1])
        self.assertEqual(self.history("--tenant", tenant, "--since", "1h"), rows)

    def test_people_read_a_table(self):
        job = self.run_job()
        done = self.program("sbx-worker", "history", "--config", self.worker.config_path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout.splitlines()[0], r"^TIME +VERDICT +REASON +AFTER_PATCH")
        self.assertRegex(done.stdout, rf"(?m)^20\S+Z +passed .* {job['job']}\.1$")

    def test_reading_leaves_the_files_to_the_worker(self):
        self.run_job()
        self.history()
        for name in os.listdir(self.worker.state):
            if name.startswith("ledger.db"):
                owner = os.stat(os.path.join(self.worker.state, name))
                self.assertEqual(owner.st_uid, os.stat(self.worker.state).st_uid, name)
        self.worker.stop()
        self.assertTrue(self.history())
        self.worker.start()
        self.assert_verdict(self.run_job(), "passed")

    def test_the_oldest_go_when_there_are_too_many(self):
        worker = self.worker
        worker.config["worker.history_bytes"] = "1"
        worker.stop()
        worker.start()
        try:
            self.assert_verdict(self.run_job(), "passed")
            sbxtest.poll(lambda: not self.history(), "an empty history")
        finally:
            del worker.config["worker.history_bytes"]
            worker.stop()
            worker.start()

    def test_usage(self):
        for options, said in ((["history", "--verdict", "fine"], "--verdict 'fine'"),
                              (["history", "--since", "long"], "--since 'long'"),
                              (["history", "--limit", "-1"], "--limit '-1'"),
                              (["check", "--job", "x"], "only history has filters")):
            done = self.program("sbx-worker", *options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)
        done = self.program("sbx-worker", "history", "--set",
                            f"worker.state_dir={self.folder}/none")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no worker has run", done.stderr)


class Status(sbxtest.WorkerCase):
    config = {"worker__slots": 1}

    def status(self, *options):
        return self.program("sbx-worker", "status", "--config", self.worker.config_path, *options)

    def told(self):
        done = self.status("--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_an_idle_worker(self):
        told = sbxtest.poll(lambda: [told for told in [self.told()]
                                     if told["ready"] and not told["jobs"]], "ready")[0]
        self.assertEqual(told["worker"], self.prefix)
        self.assertEqual(told["pid"], self.worker.process.pid)
        self.assertGreater(told["uptime_us"], 0)
        self.assertEqual(told["slots"]["total"], 1)
        self.assertEqual(told["slots"]["busy"], 0)
        for name in ("consuming", "publishing"):
            self.assertEqual(told[name], {"connected": True, "blocked": False, "epoch": 1})
        self.assertEqual(told["outbox"]["unconfirmed"], 0)

    def test_jobs_that_run_and_wait(self):
        jobs = [sbxtest.job_of(self.repo, steps=["sleep 30"], limits={"wall_ms": 4000}),
                sbxtest.job_of(self.repo)]
        self.client.publish(jobs[0])
        running = {"id": jobs[0]["id"], "phase": "running", "state": "prepared"}
        sbxtest.poll(lambda: self.has_job(running), self.told)
        self.client.publish(jobs[1], "high")  # another queue: the prefetch is used up
        told = sbxtest.poll(lambda: self.has_job({"id": jobs[1]["id"], "phase": "waiting",
                                                  "state": "snapshotted",
                                                  "tenant": "default"}),
                            self.told)
        self.assertEqual((told["slots"]["busy"], told["waiting"]), (1, 1))
        for job in told["jobs"]:
            self.assertGreater(job["age_us"], 0)
            self.assertEqual(job["attempt"], 1)
        text = self.status().stdout
        self.assertIn("slots       1 of 1 busy", text)
        self.assertRegex(text, rf"(?m)^  {jobs[0]['id']}\.1  running, prepared, \d+\.\d s")
        self.assert_verdict(self.result_of(jobs[0]["id"]), "limit")
        self.assert_verdict(self.result_of(jobs[1]["id"]), "passed")

    def has_job(self, wanted):
        told = self.told()
        return told if any(wanted.items() <= job.items() for job in told["jobs"]) else None

    def test_only_its_user_and_root_may_ask(self):
        path = os.path.join(self.worker.state, "status.sock")
        found = os.stat(path)
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        self.assertEqual(found.st_uid, os.stat(self.worker.state).st_uid)
        sbxtest.need_root()
        done = subprocess.run(sbxtest.as_user(65534, [os.path.join(sbxtest.BIN, "sbx-worker"),
                                                      "status", "--set",
                                                      f"worker.state_dir={self.worker.state}"]),
                              capture_output=True, text=True, check=False, cwd="/",
                              env=sbxtest.clean_env("/"))
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_who_does_not_read_holds_nobody_up(self):
        path = os.path.join(self.worker.state, "status.sock")
        clients = []
        for _ in range(50):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.addCleanup(client.close)
            client.connect(path)
            clients.append(client)
        self.assert_verdict(self.run_job(), "passed")
        self.assertTrue(self.told()["ready"])

    def test_a_worker_that_is_gone(self):
        self.worker.kill()
        done = self.status()
        self.assertEqual(done.returncode, 1)
        self.assertIn("no worker runs with state directory", done.stderr)
        self.worker.start()
        self.assertEqual(self.told()["pid"], self.worker.process.pid)
        self.worker.stop()
        self.assertFalse(os.path.exists(os.path.join(self.worker.state, "status.sock")))
        self.worker.start()


class Http(http.client.HTTPConnection):
    """Over a socket in the file system."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Metrics(sbxtest.WorkerCase):
    @classmethod
    def setUpClass(cls):
        cls.config = {}
        super().setUpClass()
        cls.worker.stop()
        cls.listen = os.path.join(cls.worker.state, "metrics.sock")
        cls.worker.config["metrics.listen"] = cls.listen
        cls.worker.start()

    def ask(self, path, method="GET"):
        connection = Http(self.listen)
        self.addCleanup(connection.close)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def metrics(self):
        status, text = self.ask("/metrics")
        self.assertEqual(status, 200)
        return {name: float(value) for name, value in
                re.findall(r"(?m)^(sbx_\S+) (\S+)$", text)}

    def wait_ready(self):
        sbxtest.poll(lambda: self.ask("/readyz") == (200, "ready\n"), lambda: self.ask("/readyz"))

    def test_each_line_is_a_sample_or_explains_one(self):
        self.run_job()
        for line in self.ask("/metrics")[1].splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) sbx_\w+ .+"
                                   r"|sbx_\w+(\{(\w+=\"[^\"]*\",?)+\})? -?[\d.]+(e[+-]?\d+)?)$")

    def test_jobs_are_counted_by_verdict_and_reason(self):
        before = self.metrics()
        self.assert_verdict(self.run_job(), "passed")
        self.assert_verdict(self.run_job(b"no diff"), "rejected", "patch.malformed")
        after = sbxtest.poll(lambda: [now for now in [self.metrics()]
                                      if now["sbx_outbox_unconfirmed"] == 0], "all confirmed")[0]

        def grown(name):
            return after[name] - before.get(name, 0)
        self.assertEqual(grown('sbx_jobs_finished_total{verdict="passed",reason=""}'), 1)
        self.assertEqual(grown('sbx_jobs_finished_total{verdict="rejected",'
                               'reason="patch.malformed"}'), 1)
        self.assertEqual(grown("sbx_jobs_received_total"), 2)
        self.assertEqual(grown('sbx_state_seconds_count{state="running"}'), 1)
        self.assertEqual(after['sbx_connection_up{connection="consuming"}'], 1)
        self.assertEqual(after["sbx_slots"], 2)

    def test_what_else_is_asked_for(self):
        self.assertEqual(self.ask("/healthz"), (200, "ok\n"))
        self.assertEqual(self.ask("/")[0], 404)
        self.assertEqual(self.ask("/metrics", "POST")[0], 405)
        self.assertEqual(self.ask("/healthz", "HEAD"), (200, ""))

    def test_who_does_not_read_holds_nobody_up(self):
        connected = 0
        for _ in range(40):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            try:
                client.connect(self.listen)
            except BlockingIOError:  # as many as may wait do
                continue
            client.send(b"GET /metrics HTTP/1.1\r\n")
            connected += 1
        self.assertGreaterEqual(connected, 16)
        self.assert_verdict(self.run_job(), "passed")

    def test_ready_ends_with_the_drain(self):
        self.worker.stop()
        self.worker.start()
        self.wait_ready()
        job = sbxtest.job_of(self.repo, steps=["sleep 30"], limits={"wall_ms": 4000})
        self.client.publish(job)
        sbxtest.poll(lambda: self.metrics()["sbx_slots_busy"] == 1, "a running job")
        self.worker.signal(signal.SIGTERM)
        sbxtest.poll(lambda: self.ask("/readyz") == (503, "draining"), "not ready")
        self.assertEqual(self.ask("/healthz")[0], 200)
        self.assertEqual(self.worker.wait(), 0)
        self.assertFalse(os.path.exists(self.listen))

    def test_a_port_of_loopback(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.worker.stop()
        self.worker.config["metrics.listen"] = f"127.0.0.1:{port}"
        try:
            self.worker.start()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            self.addCleanup(connection.close)
            connection.request("GET", "/healthz")
            self.assertEqual(connection.getresponse().read(), b"ok\n")
        finally:
            self.worker.stop()
            self.worker.config["metrics.listen"] = self.listen
            self.worker.start()

    def test_the_depth_of_queues_is_seen(self):
        """One letter in the dead-letter queue, and none waits in the job queues."""
        self.client.publish_raw(b"\xc1 no job")
        self.addCleanup(self.client.purge, "dead")
        seen = sbxtest.poll(lambda: [now for now in [self.metrics()]
                                     if now.get('sbx_queue_messages{queue="dead"}') == 1],
                            lambda: self.metrics(), 30)[0]
        for name in ("jobs", "jobs.high", "jobs.low"):
            self.assertEqual(seen[f'sbx_queue_messages{{queue="{name}"}}'], 0)

    def test_the_rules_name_metrics_that_exist(self):
        path = os.path.join(sbxtest.ROOT, "contrib/prometheus/alerts.yml")
        with open(path, encoding="utf-8") as stream:
            named = set(re.findall(r"\bsbx_[a-z_]+", stream.read()))
        self.run_job()
        told = {re.sub(r"\{.*", "", name) for name in self.metrics()}
        self.assertGreater(len(named), 5)
        self.assertEqual(named - told, set())


class Reload(sbxtest.WorkerCase):
    config = {"protect__paths": "guarded/**", "commands__allow": "true\nsleep *\ncat **"}

    def reload(self, expected="configuration read again", **config):
        """Returns what the log has said since."""
        before = len(self.worker.log())
        self.worker.config.update({key.replace("__", "."): value
                                   for key, value in config.items()})
        self.worker.write_config()
        os.chmod(self.worker.config_path, 0o644)
        self.worker.signal(signal.SIGHUP)
        return sbxtest.poll(lambda: expected in self.worker.log()[before:] and
                            self.worker.log()[before:], lambda: self.worker.log()[before:])

    def test_commands_and_limits_change_at_once(self):
        self.assert_verdict(self.run_job(steps=[["false"]]), "rejected", "policy.command")
        said = self.reload(commands__allow="true\nfalse\nsleep *\ncat **", max__wall="2s",
                           limits__wall="1s")
        self.assertIn('changed="commands.allow, limits.wall, max.wall"', said)
        self.assert_verdict(self.run_job(steps=[["false"]]), "failed")
        self.assert_verdict(self.run_job(steps=[["sleep", "30"]]), "limit", "limit.wall")
        said = self.reload(commands__allow="true\nsleep *\ncat **", max__wall="1h",
                           limits__wall="10m")
        self.assert_verdict(self.run_job(steps=[["false"]]), "rejected", "policy.command")

    def test_protected_paths_change_for_executors_that_wait(self):
        diff = self.repo.diff({"fresh/x": "1\n"})
        self.assert_verdict(self.run_job(diff), "passed")
        self.reload(protect__paths="guarded/**, fresh/**")
        self.assert_verdict(self.run_job(diff), "rejected")
        self.assert_verdict(self.run_job(self.repo.diff({"guarded/x": "1\n"})), "rejected")
        self.reload(protect__paths="guarded/**")
        self.assert_verdict(self.run_job(diff), "passed")

    def test_a_running_job_is_left_alone(self):
        job = sbxtest.job_of(self.repo, steps=[["sleep", "2"], ["true"]])
        self.client.publish(job)
        sbxtest.poll(lambda: self.busy() == 1, "a running job")
        self.reload(protect__paths="guarded/**, other/**")
        self.assert_verdict(self.result_of(job["id"]), "passed")
        self.reload(protect__paths="guarded/**")

    def busy(self):
        done = self.program("sbx-worker", "status", "--json", "--config", self.worker.config_path)
        return json.loads(done.stdout)["slots"]["busy"]

    def test_a_wrong_file_changes_nothing(self):
        said = self.reload("the old one stays", max__wall="1 fortnight")
        self.assertIn("max.wall", said)
        self.assert_verdict(self.run_job(), "passed")
        said = self.reload("the old one stays", max__wall="1h", limits__wall="2h")
        self.assertIn("above max.wall", said)
        del self.worker.config["limits.wall"], self.worker.config["max.wall"]
        self.reload()

    def test_what_needs_a_restart_is_named_and_stays(self):
        said = self.reload(worker__slots="3", queue__prefix="elsewhere", worker__drain="9m")
        self.assertIn('keys="worker.slots, queue.prefix"', said)
        self.assertIn('changed=worker.drain', said)
        self.assert_verdict(self.run_job(), "passed")
        said = self.reload(worker__slots="2", queue__prefix=self.prefix, worker__drain="10m")
        self.assertNotIn("need a restart", said)

    def test_each_process_takes_the_new_log(self):
        self.reload(log__json="true")
        self.assert_verdict(self.run_job(), "passed")
        self.assertIn('"msg":"job finished"', self.worker.log().replace('": "', '":"'))
        self.reload('"configuration read again"', log__json="false")

    def test_many_times_over(self):
        for turn in range(20):
            self.reload(protect__paths=f"guarded/**, turn{turn}/**")
        self.assert_verdict(self.run_job(self.repo.diff({"turn19/x": "1\n"})), "rejected")
        self.reload(protect__paths="guarded/**")
        self.assert_verdict(self.run_job(self.repo.diff({"turn19/x": "1\n"})), "passed")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
