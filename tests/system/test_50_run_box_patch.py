"""The programs without a queue: sbx-run, sbx-box and sbx-patch."""
import base64
import glob
import json
import os
import subprocess
import unittest

import sbxtest


class Local(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\ntwo\nthree\n"})

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        return path


class Run(Local):
    def run_job(self, job, *options):
        """sbx-run over a job; returns (exit status, result)."""
        path = self.file("job.json", sbxtest.json_of(job))
        done = self.program("sbx-run", "--json", "--state-dir", os.path.join(self.folder, "state"),
                            *options, path)
        self.assertTrue(done.stdout, done.stderr)
        return done.returncode, json.loads(done.stdout)

    def test_exit_codes_are_those_of_the_verdicts(self):
        change = self.repo.diff({"README": "one\n2\nthree\n"})
        job = sbxtest.job_of
        for verdict, each in (
                ("passed", job(self.repo, change, ["grep -qx 2 README"])),
                ("failed", job(self.repo, change, [["false"]])),
                ("rejected", job(self.repo, change.replace(b"-two", b"-zwei"))),
                ("limit", job(self.repo, steps=[["sleep", "60"]], limits={"wall_ms": 300})),
                ("expired", job(self.repo, deadline_ms=1)),
                ("error", job(self.repo, source={"repo": self.folder + "/none", "commit": "x"},
                              max_attempts=1))):
            with self.subTest(verdict=verdict):
                status, result = self.run_job(each)
                self.assert_verdict(result, verdict)
                self.assertEqual(status, sbxtest.EXIT[verdict])

    def test_usage(self):
        self.assertEqual(self.program("sbx-run").returncode, sbxtest.EXIT["usage"])
        self.assertEqual(self.program("sbx-run", "--no-such").returncode, sbxtest.EXIT["usage"])
        done = self.program("sbx-run", os.path.join(self.folder, "no-such.json"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no-such.json", done.stderr)

    def test_both_names_of_what_may_be_missing(self):
        done = self.program("sbx-run", "--allow-missing", "seccomp", "x.json")
        self.assertEqual(done.returncode, sbxtest.EXIT["usage"])
        self.assertEqual(done.stderr, "sbx-run: --allow-missing 'seccomp': expected 'cgroup'\n")
        for words in (["--allow-missing", "cgroup"], ["--allow-missing=cgroup"],
                      ["--allow-missing-cgroup"]):
            with self.subTest(words=words):
                status, result = self.run_job(sbxtest.job_of(self.repo, steps=["true"]), *words)
                self.assert_verdict(result, "passed")
                self.assertEqual(status, 0)

    def test_what_steps_use(self):
        busy = ["python3 -c 'import time; end = time.thread_time() + 0.3\n"
                "while time.thread_time() < end: pass'; head -c 5000 /dev/zero"]
        _, result = self.run_job(sbxtest.job_of(self.repo, steps=busy + ["head -c 70 /dev/zero"]))
        self.assert_verdict(result, "passed")
        first, second = result["steps"]
        self.assertGreaterEqual(first["user_us"] + first.get("system_us", 0), 300000)
        self.assertEqual((first["output_bytes"], second["output_bytes"]), (5000, 70))
        metrics = result["metrics"]
        self.assertEqual(metrics["output_bytes"], 5070)
        self.assertEqual(metrics["user_us"], first["user_us"] + second.get("user_us", 0))
        for each in (first, metrics):
            self.assertIn(each["memory_counter"], ("cgroup", "process"))
            self.assertGreater(each["page_faults"], 100)

    def test_steps_yield_to_the_worker(self):
        _, result = self.run_job(sbxtest.job_of(self.repo, steps=["nice"]))
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        self.assertEqual(int(result["steps"][0]["stdout"]), min(ours + 5, 19))

    def test_a_limit_that_a_step_met_and_passed_is_told(self):
        job = sbxtest.job_of(self.repo, limits={"disk_bytes": 4 << 20}, steps=[
            "head -c 8m /dev/zero > f 2>/dev/null; true", "rm f"])
        _, result = self.run_job(job)
        self.assert_verdict(result, "passed")
        self.assertEqual([each.get("limits_met") for each in result["steps"]], [["disk"], None])
        path = self.file("job.json", sbxtest.json_of(job))
        done = self.program("sbx-run", "--state-dir", os.path.join(self.folder, "state"), path)
        self.assertIn("met the limit disk", done.stdout)

    def test_a_long_step_tells_what_it_uses(self):
        path = self.file("job.json", sbxtest.json_of(sbxtest.job_of(self.repo, steps=["sleep 1"])))
        done = self.program("sbx-run", "--follow", "--set", "worker.sample=200ms", "--state-dir",
                            os.path.join(self.folder, "state"), path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("-- running for 0 s", done.stderr)
        done = self.program("sbx-run", "--follow", "--set", "worker.sample=0", "--state-dir",
                            os.path.join(self.folder, "state"), path)
        self.assertNotIn("-- running for", done.stderr)

    def test_the_report_is_for_a_person(self):
        path = self.file("job.json", sbxtest.json_of(sbxtest.job_of(
            self.repo, self.repo.diff({"README": "one\n2\nthree\n"}), ["echo words; false"])))
        done = self.program("sbx-run", "--state-dir", os.path.join(self.folder, "state"), path)
        self.assertEqual(done.returncode, 1)
        for word in ("failed", "README", "words", "step.failed"):
            self.assertIn(word, done.stdout)

    def test_several_jobs_and_standard_input(self):
        good = self.file("good.json", sbxtest.json_of(sbxtest.job_of(self.repo)))
        bad = sbxtest.json_of(sbxtest.job_of(self.repo, steps=[["false"]]))
        done = self.program("sbx-run", "--json", "--state-dir",
                            os.path.join(self.folder, "state"), good, "-", stdin=bad)
        self.assertEqual(done.returncode, 1)
        verdicts = sorted(json.loads(line)["verdict"] for line in done.stdout.splitlines())
        self.assertEqual(verdicts, ["failed", "passed"])

    def test_the_checkout_of_the_person_is_never_written(self):
        _, result = self.run_job(sbxtest.job_of(
            self.repo, steps=["echo x > README; rm -rf .git; touch made"]))
        self.assert_verdict(result, "passed")
        self.assertEqual(self.repo.git("status", "--porcelain"), b"")
        self.assertEqual(sorted(os.listdir(self.repo.path)), [".git", "README"])


class Patch(Local):
    def batch(self, requests):
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        done = self.program("sbx-patch", "--batch", stdin=lines)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def request(self, name, diff):
        return {"id": name, "repo": self.repo.path, "commit": self.repo.head(), "strip": 1,
                "mode": "strict", "diff_base64": base64.b64encode(diff).decode()}

    def test_a_batch_answers_each_line(self):
        change = self.repo.diff({"README": "one\n2\nthree\n", "a/new": "n\n"})
        answers = self.batch([self.request("good", change),
                              self.request("conflict", change.replace(b"-two", b"-zwei")),
                              self.request("noise", b"no diff\n"),
                              self.request("again", change)])
        self.assertEqual([(each["id"], each["ok"]) for each in answers],
                         [("good", True), ("conflict", False), ("noise", False), ("again", True)])
        self.assertEqual(answers[0]["tree"], self.repo.tree_after(change))
        self.assertEqual(answers[3]["tree"], answers[0]["tree"])
        self.assertIn("patch.conflict", json.dumps(answers[1]["reason"]))
        self.assertIn("patch.malformed", json.dumps(answers[2]["reason"]))


class Box(Local):
    def box(self, *arguments, stdin=None):
        """sbx-box over a directory of its own; returns (process, outcome)."""
        os.makedirs(os.path.join(self.folder, "here"), exist_ok=True)
        path = os.path.join(self.folder, "outcome.json")
        if os.path.exists(path):
            os.unlink(path)
        done = self.program("sbx-box", "--outcome-file", path, *arguments, stdin=stdin,
                            cwd=os.path.join(self.folder, "here"))
        self.assertTrue(os.path.exists(path) and os.path.getsize(path) > 0, done.stderr)
        with open(path, encoding="utf-8") as stream:
            return done, json.load(stream)

    def test_only_what_was_asked_for_is_missing(self):
        _, plain = self.box("--", "true")
        _, limited = self.box("--cpus", "1", "--cpu", "10s", "--", "true")
        self.assertNotIn("cgroup_cpu", plain["missing"])
        self.assertNotIn("cgroup_cpuacct", plain["missing"])
        self.assertEqual(plain["missing"], limited["missing"])

    def test_what_is_bound(self):
        shown = os.path.join(self.folder, "shown")
        os.makedirs(os.path.join(shown, "deep"), exist_ok=True)
        with open(os.path.join(shown, "f"), "w", encoding="utf-8") as stream:
            stream.write("of the host\n")
        os.chmod(os.path.join(shown, "f"), 0o600)
        os.makedirs(os.path.join(self.folder, "here"), exist_ok=True)
        done, _ = self.box(
            "--ro-bind", shown + ":/data/seen", "--bind", shown + ":/srv/mine", "--tmpfs", "/opt/t",
            "--ro-bind", shown + "/f:/tmp/one", "--ro-bind", shown + ":/work/in", "--", "sh", "-c",
            "cat /data/seen/f /tmp/one /work/in/f && ! touch /data/seen/x /work/in/x /tmp/one "
            "2>/dev/null && echo mine > /srv/mine/deep/g && touch /opt/t/x && "
            "mv /srv/mine/deep/g /srv/mine/g && ! touch /data/x 2>/dev/null && echo all")
        self.assertEqual(done.stdout, "of the host\n" * 3 + "all\n", done.stderr)
        with open(os.path.join(shown, "g"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "mine\n")
        self.assertEqual(sorted(os.listdir(shown)), ["deep", "f", "g"])
        self.assertEqual(os.listdir(os.path.join(self.folder, "here")), [])

    def test_no_place_is_made_on_the_host(self):
        shown = os.path.join(self.folder, "shown")
        os.makedirs(shown, exist_ok=True)
        os.makedirs(os.path.join(self.folder, "here"), exist_ok=True)
        link = os.path.join(self.folder, "here", "link")
        os.symlink("/etc", link)
        try:
            for options in (["--ro-bind", shown + ":/usr/sbx-none"], ["--tmpfs", "/work/link/x"],
                            ["--write", "--ro-bind", shown + ":/work/none"],
                            ["--bind", shown + ":/srv/a", "--tmpfs", "/srv/a/none"],
                            ["--tmpfs", "/a/../b"], ["--tmpfs", "relative"], ["--tmpfs", "/"],
                            ["--ro-bind", shown + "/none:/x"], ["--ro-bind", "/dev/null:/x"]):
                done = self.program("sbx-box", *options, "--", "true",
                                    cwd=os.path.join(self.folder, "here"))
                self.assertEqual(done.returncode, 125, (options, done.stderr))
            self.assertEqual(os.listdir(shown), [])
            self.assertEqual(os.listdir(os.path.join(self.folder, "here")), ["link"])
            self.assertFalse(os.path.exists("/usr/sbx-none"))
        finally:
            os.unlink(link)

    def test_a_preset_yields_to_options(self):
        show = ("--", "sh", "-c", "ulimit -n")
        self.assertEqual(self.box("--preset", "light", *show)[0].stdout, "256\n")
        self.assertEqual(self.box("--files", "77", "--preset", "light", *show)[0].stdout, "77\n")
        self.assertEqual(self.box("--preset", "default", *show)[0].stdout, "1024\n")
        wrong = self.program("sbx-box", "--preset", "huge", *show)
        self.assertEqual(wrong.returncode, 125)
        self.assertIn("light, heavy", wrong.stderr)

    def test_streams_status_and_outcome(self):
        done, outcome = self.box("--", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "in\n", "err\n"))
        self.assertEqual((outcome["started"], outcome["exit_code"], outcome["limit"]),
                         (True, 7, "none"))
        self.assertGreater(outcome["wall_us"], 0)

    def test_signal_limit_and_a_command_that_is_not_there(self):
        self.assertEqual(self.box("--", "sh", "-c", "kill -9 $$")[0].returncode, 128 + 9)
        for limit, arguments in (("wall", ["--wall", "300ms", "--", "sleep", "60"]),
                                 ("idle", ["--idle", "300ms", "--", "sleep", "60"]),
                                 ("memory", ["--memory", "64m", "--", "sh", "-c",
                                             "head -c 400m /dev/zero | tail"]),
                                 ("disk", ["--disk", "8m", "--", "sh", "-c",
                                           "head -c 64m /dev/zero > big"])):
            with self.subTest(limit=limit):
                done, outcome = self.box(*arguments)
                self.assertEqual((done.returncode, outcome["limit"]), (124, limit))
        done, outcome = self.box("--", "no-such-program")
        self.assertEqual((done.returncode, outcome["started"]), (127, False))
        self.assertTrue(outcome["start_error"])

    def test_a_limit_that_was_met_is_told(self):
        done, outcome = self.box("--disk", "4m", "--", "sh", "-c",
                                 "head -c 8m /dev/zero > f 2>/dev/null; true")
        self.assertEqual((done.returncode, outcome["limit"]), (0, "none"))
        self.assertEqual(outcome["limits_met"], ["disk"])
        self.assertIn("met the limit: disk", done.stderr)
        self.assertEqual(self.box("--", "true")[1]["limits_met"], [])

    @unittest.skipIf(os.getuid() != 0, "needs root, for a pid namespace")
    def test_a_box_of_another_pid_namespace_is_not_taken_for_a_dead_one(self):
        """Containers may share control groups and not see each other's processes."""
        box = os.path.join(sbxtest.BIN, "sbx-box")
        with subprocess.Popen([box, "--empty", "--", "sh", "-c", "echo up; read line; echo $line"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
            self.assertEqual(first.stdout.readline(), "up\n")
            # Groups that have nobody in them yet are the first to go.
            empty = [path[:-1] + "7" for depth in range(5)
                     for path in glob.glob("/sys/fs/cgroup/" + "*/" * depth +
                                           f"sbx-box-*{first.pid}-0-1")]
            for path in empty:
                os.mkdir(path)
                self.addCleanup(os.rmdir, path)
            subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", box, "--empty", "--",
                            "true"], check=True, timeout=60)
            self.assertEqual([path for path in empty if not os.path.exists(path)], [])
            self.assertEqual(first.communicate("still\n", timeout=60)[0], "still\n")
            self.assertEqual(first.returncode, 0)

    def test_the_directory_is_written_only_when_asked(self):
        here = os.path.join(self.folder, "here")
        self.box("--", "sh", "-c", "echo x > kept")
        self.assertEqual(os.listdir(here), [])
        self.box("--write", "--", "sh", "-c", "echo x > kept")
        self.assertEqual(os.listdir(here), ["kept"])
        os.unlink(os.path.join(here, "kept"))

    def test_no_network_no_host_and_no_privilege(self):
        done, _ = self.box("--", "sh", "-c", "id -u; tail -n +3 /proc/net/dev | cut -d: -f1; "
                           "ls -A /root; ls -A /home; "
                           "grep -E 'CapEff|NoNewPrivs' /proc/self/status")
        self.assertEqual([line.strip() for line in done.stdout.splitlines()],
                         ["1000", "lo", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"])

    def test_each_layer_is_explained(self):
        done = self.program("sbx-box", "--explain")
        self.assertEqual(done.returncode, 0, done.stderr)
        for layer in ("user_namespace", "seccomp", "cgroup_memory"):
            self.assertIn(layer, done.stdout + done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
