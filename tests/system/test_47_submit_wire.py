"""What sbx-submit and libsbx send is what an independent client reads, and the other way round.

No worker runs here: results and events are published by the test, so each is
exactly the one under test.
"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import msgpack
import pika
import sbxtest
from submitting import SubmitCase


class WireCase(SubmitCase):
    def take_job(self, suffix="jobs"):
        return msgpack.unpackb(self.take(suffix)[1], strict_map_key=True)

    def publish(self, exchange, key, message, message_id=None):
        body = message if isinstance(message, bytes) else msgpack.packb(message)
        self.client.with_channel(lambda channel: channel.basic_publish(
            self.client.name(exchange), key, body,
            pika.BasicProperties(content_type="application/msgpack", message_id=message_id)))

    def publish_result(self, job, verdict="passed", run=1, **fields):
        result = {"v": 1, "job": job["id"], "run": run, "attempt": 1, "worker": "test",
                  "tenant": job.get("tenant", "default"), "verdict": verdict, "states": [],
                  "steps": [], **fields}
        self.publish("results", f"{result['tenant']}.{job['id']}", result, f"{job['id']}.{run}")

    def event(self, job, kind, **fields):
        self.publish("events", f"job.{job['id']}.{kind}",
                     {"v": 1, "id": job["id"], "run": 1, "kind": kind,
                      "at_us": 1700000000123456, **fields})


class Send(WireCase):
    def test_a_file_arrives_as_it_is(self):
        job = {"v": 1, "id": "j-file", "labels": {"ü": "\u20ac"}, "priority": "low",
               "source": {"repo": "/r", "commit": "c", "subdir": "s"},
               "patch": {"diff": "--- a\n+++ b\n", "strip": 0},
               "steps": [{"run": ["a", "b c"], "env": {"A": ""}, "stdin": {"base64": "/wA="}}],
               "limits": {"cpus": 0.5, "wall_ms": 1000}, "my_own": [1, None, True, 2.5, {"a": []}]}
        done = self.submit("-", stdin=json.dumps(job))
        self.assertEqual((done.returncode, done.stdout), (0, "j-file\n"), done.stderr)
        self.assertIn("my_own: unknown field", done.stderr)
        properties, body = self.take("jobs.low")
        job["patch"]["diff"] = b"--- a\n+++ b\n"
        job["steps"][0]["stdin"] = b"\xff\0"
        self.assertEqual(msgpack.unpackb(body, strict_map_key=True), job)
        self.assertEqual(msgpack.packb(job), body)
        self.assertEqual(properties.message_id, "j-file")
        self.assertEqual(properties.content_type, "application/msgpack")
        self.assertEqual(properties.delivery_mode, 2)
        self.assertLess(abs(properties.timestamp - time.time()), 60)
        self.assertEqual(properties.headers["x-sbx-timestamp-us"] // 1000000, properties.timestamp)

    def test_results_are_asked_for_elsewhere(self):
        where = self.client.name("reply.elsewhere")
        done = self.submit("-", "--reply-to", where, stdin='{"v": 1, "id": "j-reply"}')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.take("jobs")[0].reply_to, where)
        done = self.submit("batch", "-", "--reply-to", where, stdin='{"v": 1, "id": "j-each"}\n')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.take("jobs")[0].reply_to, where)
        for command in ([], ["batch"]):
            for name in ("elsewhere", self.client.name("jobs"), self.client.name("reply.")):
                done = self.submit(*command, "-", "--reply-to", name, stdin='{"v": 1}\n')
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assertIn(f"name a queue under '{self.client.name('reply.')}'", done.stderr)

    def test_options_alone_make_a_job(self):
        patch = os.path.join(self.folder, "p.diff")
        with open(patch, "wb") as stream:
            stream.write(b"\xff\0diff\n")
        done = self.submit("--repo", self.repo.path, "--commit", "main", "--patch", patch,
                           "--run", "make 'a b'", "--shell", "x | y", "--env", "K=v=w",
                           "--memory", "1k", "--wall", "2s", "--label", "l=m", "--json",
                           "--tenant", "acme", "--priority", "high")
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual(self.take_job("jobs.high"), {
            "v": 1, "id": said["id"], "tenant": "acme", "priority": "high",
            "source": {"repo": self.repo.path, "commit": "main"}, "labels": {"l": "m"},
            "patch": {"diff": b"\xff\0diff\n"},
            "steps": [{"run": ["make", "a b"], "env": {"K": "v=w"}},
                      {"shell": "x | y", "env": {"K": "v=w"}}],
            "limits": {"memory_bytes": 1024, "wall_ms": 2000}})
        self.assertEqual(said, {"id": said["id"], "tenant": "acme", "queued": True})

    def test_a_patch_from_standard_input(self):
        done = self.submit("--repo", "/r", "--commit", "c", "--patch", "-", stdin="a diff\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.take_job()["patch"], {"diff": b"a diff\n"})

    def test_what_is_not_valid_is_not_sent(self):
        for stdin, message in (("{", "line 1"), ('{"steps":[{}]}', "steps"), ("[]", "map"),
                               ('{"code":{"language":"c"}}', "job.unsupported")):
            done = self.submit("-", stdin=stdin)
            self.assertEqual(done.returncode, 3, stdin)
            self.assertIn(message, done.stderr)
        self.assertEqual(self.client.depth("jobs"), 0)

    def test_the_refusal_as_json(self):
        done = self.submit("-", "--json", "--wait", stdin='{"id":"j1","steps":[{}]}')
        self.assertEqual(done.returncode, 3)
        result = json.loads(done.stdout)
        self.assertEqual((result["job"], result["verdict"], result["reason"]["code"]),
                         ("j1", "rejected", "job.invalid"))

    def test_usage(self):
        for arguments in ([], ["a", "b"], ["--id", "x", "--frob"], ["/no/such/file"],
                          ["--run", "a | b"], ["dead"], ["dead", "frob"], ["dead", "show"],
                          ["replay"], ["replay", "--all", "x"], ["replay", "--all"],
                          ["-", "--patch", "-"]):
            done = self.submit(*arguments, stdin="")
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertTrue(done.stderr.startswith("sbx-submit: "), done.stderr)

    def test_no_broker(self):
        url = "amqp://user:hush-hush@127.0.0.1:1/"
        job = ["--repo", "/r", "--commit", "c"]
        for arguments in (job, [*job, "--wait"], ["dead", "list"], ["replay", "x"]):
            done = self.program("sbx-submit", *arguments, "--queue", url)
            self.assertEqual(done.returncode, 6, done.stderr)
            self.assertIn("cannot connect to 'amqp://user:***@127.0.0.1:1/'", done.stderr)
            self.assertIn("contrib/broker/sbx-broker start", done.stderr)
            self.assertNotIn("hush", done.stderr)

    def test_dry_run_needs_no_broker(self):
        done = self.program("sbx-submit", "-", "--dry-run", stdin='{"limit":{},"id":"j"}')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {"limit": {}, "id": "j", "v": 1})
        self.assertIn("limit: unknown field; did you mean 'limits'?", done.stderr)

    def test_a_full_device_is_noticed(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = self.start("--help", stdout=full)
            self.assertEqual(process.wait(30), 6)
            self.assertIn("No space left", process.stderr.read())


class Wait(WireCase):
    job = ["--repo", "/r", "--commit", "c"]

    def test_the_verdict_is_the_exit_code(self):
        for verdict in ("passed", "failed", "rejected", "limit", "cancelled", "expired", "error"):
            process = self.start(*self.job, "--wait")
            job = self.take_job()
            self.publish_result(job, verdict)
            out, err = process.communicate(timeout=30)
            self.assertEqual(process.returncode, sbxtest.EXIT[verdict], err)
            self.assertIn(verdict, out.lower())
            self.assertIn(job["id"], out)

    def test_json_is_the_result_on_one_line(self):
        process = self.start(*self.job, "--wait", "--json")
        job = self.take_job()
        self.publish_result(job, "failed", extra={"b": b"\xff"})
        out, _ = process.communicate(timeout=30)
        result = json.loads(out)
        self.assertEqual(out.count("\n"), 1)
        self.assertEqual((result["job"], result["verdict"]), (job["id"], "failed"))
        self.assertEqual(result["extra"], {"b": {"base64": "/w=="}})

    def test_only_its_own_result_counts(self):
        process = self.start(*self.job, "--id", "w1", "--wait", "--json", "--quiet")
        job = self.take_job()
        self.publish("results", "default.w1", {"v": 1, "verdict": "error"}, "w1x.1")
        self.publish("results", "default.w1", {"v": 1, "verdict": "error"}, "w1.0")
        self.publish("results", "default.w1", {"v": 1, "verdict": "error"})
        self.publish_result({"id": "w2"}, "error")
        self.publish_result(job, "passed")
        self.publish_result(job, "error")
        out, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(json.loads(out)["verdict"], "passed")

    def test_patience_ends(self):
        done = self.submit(*self.job, "--id", "w3", "--wait", "--timeout", "300ms")
        self.assertEqual(done.returncode, 6)
        self.assertIn("no result of 'w3' within 300 ms", done.stderr)
        self.assertEqual(self.take_job()["id"], "w3")

    def test_a_result_that_cannot_be_read_is_an_error(self):
        process = self.start(*self.job, "--wait")
        job = self.take_job()
        self.publish("results", f"default.{job['id']}", b"\xc1", f"{job['id']}.1")
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 6)
        self.assertIn("cannot read the result", err)

    def test_follow_shows_events_harmlessly(self):
        process = self.start(*self.job, "--follow")
        job = self.take_job()
        self.event(job, "state", state="running")
        self.event(job, "state", state="unheard-of")
        self.event(job, "output", step="unit", stream="stdout", data=b"one\ntw")
        self.event(job, "output", step="unit", stream="stderr", data=b"\x1b[2Jclear\r\n")
        self.event(job, "output", step="unit", stream="stdout", data=b"o\n")
        self.event({"id": "another"}, "output", step="x", stream="stdout", data=b"hidden\n")
        self.publish("events", f"job.{job['id']}.output", ["no", "event"])
        self.event(job, "state", state="done")
        lines = [process.stdout.readline() for _ in range(6)]
        self.assertEqual(lines, ["22:13:20.123 running: the steps have ended\n",
                                 "22:13:20.123 unheard-of\n", "unit | one\n",
                                 "unit ! \\x1b[2Jclear\n", "unit | two\n",
                                 "22:13:20.123 done: the job is acked\n"])
        self.publish_result(job)
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn(job["id"], out)
        self.assertNotIn("hidden", out)

    def test_follow_with_json_keeps_standard_output_clean(self):
        process = self.start(*self.job, "--follow", "--json")
        job = self.take_job()
        self.event(job, "output", step="unit", stream="stdout", data=b"live\n")
        self.assertEqual(process.stderr.readline(), "unit | live\n")
        self.publish_result(job)
        out, _ = process.communicate(timeout=30)
        self.assertEqual(json.loads(out)["job"], job["id"])

    def test_a_lost_connection_is_made_again(self):
        process = self.start(*self.job, "--wait", "--json")
        job = self.take_job()
        sbxtest.poll(self.drop, "the connection to be closed")
        self.assertIn("connection lost", process.stderr.readline())
        self.assertIn("connected again", process.stderr.readline())
        self.publish_result(job)
        out, _ = process.communicate(timeout=30)
        self.assertEqual(json.loads(out)["job"], job["id"])
        self.assertEqual(process.returncode, 0)

    def test_a_result_of_the_time_in_between_is_not_lost(self):
        process = self.start(*self.job, "--wait", "--json")
        job = self.take_job()
        process.send_signal(signal.SIGSTOP)
        self.assertEqual(self.drop(), 1)
        self.publish_result(job, "limit")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(json.loads(out)["job"], job["id"], err)
        self.assertEqual(process.returncode, 4)
        self.assertNotIn(f"{self.prefix}.reply.", self.control("list_queues", "name"))

    def drop(self):
        """Closes the connections that consume a queue of this prefix; how many there were."""
        channels = {channel for queue, channel in self.rows("list_consumers", "queue_name",
                                                            "channel_pid")
                    if queue.startswith(self.prefix + ".")}
        connections = {connection for channel, connection in
                       self.rows("list_channels", "pid", "connection") if channel in channels}
        for connection in connections:
            self.control("close_connection", connection, "test")
        return len(connections)

    def rows(self, *arguments):
        return [line.split("\t") for line in self.control(*arguments).splitlines()
                if line.count("\t") == 1]

    def control(self, *arguments):
        done = subprocess.run([sbxtest.BROKER, "ctl", sbxtest.BROKER_DIR, "-q", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        return done.stdout

    def test_progress_on_a_terminal(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = self.start(*self.job, "--wait", stderr=theirs)
        os.close(theirs)
        job = self.take_job()
        self.event(job, "state", state="prepa\x1b[31mred")
        seen = b""

        def shown(text):
            nonlocal seen
            if select.select([ours], [], [], 0)[0]:
                seen += os.read(ours, 4096)
            return text in seen

        sbxtest.poll(lambda: shown(b"prepa\\x1b[31mred"), lambda: f"the state; {seen!r}")
        self.assertIn(f"waiting for {job['id']}".encode(), seen)
        self.publish_result(job)
        self.assertEqual(process.wait(30), 0)
        self.assertIn(job["id"], process.stdout.read())
        self.assertTrue(seen.startswith(b"\r\x1b[K"), seen)


class Library(WireCase):
    """The examples are compiled and run, so that they stay true."""

    def compile(self, name="enqueue"):
        """As somebody does who has only what `make install` installs, below a folder here."""
        build = os.path.dirname(sbxtest.BIN)
        root = os.path.join(self.folder, "root")
        program = os.path.join(self.folder, name)
        with open(os.path.join(build, "libbase.a"), "rb") as stream:
            sanitized = b"__asan_init" in stream.read()
        subprocess.run(["make", "-s", "-C", sbxtest.ROOT, "install-lib", f"B={build}",
                        f"DESTDIR={root}", "PREFIX=/usr", *(["SAN=1"] if sanitized else [])],
                       stdin=subprocess.DEVNULL, check=True)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "sbx"], check=True,
                               stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               env=sbxtest.clean_env(self.folder, PKG_CONFIG_SYSROOT_DIR=root,
                                                     PKG_CONFIG_PATH=root + "/usr/lib/pkgconfig",
                                                     PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1",
                                                     PKG_CONFIG_ALLOW_SYSTEM_LIBS="1"))
        sanitize = ["-fsanitize=address,undefined"] if sanitized else []
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", *sanitize, "-o", program,
                        os.path.join(root, f"usr/share/doc/sbx/examples/{name}.c"),
                        *flags.stdout.split()], stdin=subprocess.DEVNULL, check=True)
        return program

    def test_only_the_api_can_be_seen_in_the_library(self):
        self.compile()
        archive = os.path.join(self.folder, "root/usr/lib/libsbx.a")
        done = subprocess.run(["nm", "--defined-only", "--extern-only", archive], check=True,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        names = {line.split()[-1] for line in done.stdout.splitlines() if line.count(" ") == 2}
        self.assertIn("sbx_submit", names)
        self.assertEqual({name for name in names if not name.startswith("sbx_")}, set())
        with open(os.path.join(sbxtest.ROOT, "producer/sbx.h"), encoding="utf-8") as stream:
            declared = set(re.findall(r"\b(sbx_\w+)\(", stream.read()))
        self.assertEqual(names, declared)

    def test_the_manual_page_has_each_function(self):
        with open(os.path.join(sbxtest.ROOT, "producer/sbx.h"), encoding="utf-8") as stream:
            declared = set(re.findall(r"^(?:int|void|const \w+ \*)\s?(sbx_\w+)\(", stream.read(),
                                      re.MULTILINE))
        with open(os.path.join(sbxtest.ROOT, "contrib/man/sbx.3"), encoding="utf-8") as stream:
            page = stream.read()
        self.assertGreater(len(declared), 10)
        for name in declared:
            self.assertRegex(page, rf"\b{name}\(")

    def run_example(self, command):
        env = sbxtest.clean_env(self.folder, SBX_QUEUE_URL=sbxtest.BROKER_URL,
                                SBX_PREFIX=self.prefix)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=env)
        self.addCleanup(self.end, process)
        return process

    def test_the_example_in_c(self):
        path = os.path.join(sbxtest.ROOT, "contrib/examples/job.json")
        process = self.run_example([self.compile(), path, "30"])
        job = self.take_job()
        with open(path, encoding="utf-8") as stream:
            wanted = json.load(stream)
        wanted["patch"]["diff"] = wanted["patch"]["diff"].encode()
        wanted["id"] = job["id"]
        self.assertEqual(job, wanted)
        self.publish_result({"id": "other", "tenant": "examples"})
        self.publish_result(job, "limit")
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 4, err)
        self.assertEqual(json.loads(out)["job"], job["id"])
        self.assertIn(f"queued {job['id']}", err)

    def test_the_example_that_reads_results(self):
        self.client.purge("results")
        for job in ("r1", "r1", "r2"):
            self.publish_result({"id": job, "tenant": "examples"})
        process = self.run_example([self.compile("results"), "2"])
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual([json.loads(line)["job"] for line in out.splitlines()], ["r1", "r2"])
        self.assertEqual(self.client.depth("results"), 0)

    def test_the_example_in_python(self):
        script = os.path.join(sbxtest.ROOT, "contrib/examples/enqueue.py")
        process = self.run_example(["/usr/bin/python3", script, "/r", "main", "make", "test"])
        job = self.take_job()
        self.assertEqual(process.stdout.readline().strip(), job["id"])
        self.assertEqual(job["steps"], [{"run": ["make", "test"]}])
        self.publish_result(job, "failed", reason={"code": "x", "message": "why"})
        out, err = process.communicate(timeout=30)
        self.assertEqual(out.strip(), "failed why", err)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
