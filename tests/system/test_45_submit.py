"""sbx-submit against a worker: files, options, waiting, following, dead letters, replay."""
import json
import os
import secrets

import sbxtest


class Submit(sbxtest.WorkerCase):
    def submit(self, *arguments, stdin=None):
        return self.program("sbx-submit", *arguments, "--queue", sbxtest.BROKER_URL, "--prefix",
                            self.prefix, stdin=stdin)

    def options(self, *more):
        return ["--repo", self.repo.path, "--commit", self.repo.head(), *more]

    def assert_exit(self, done, word):
        self.assertEqual(done.returncode, sbxtest.EXIT[word], done.stdout + done.stderr)

    def test_prints_the_id_and_does_not_wait(self):
        done = self.submit(*self.options("--run", "true"))
        self.assert_exit(done, "passed")
        self.assert_verdict(self.result_of(done.stdout.strip()), "passed")

    def test_a_file_and_standard_input(self):
        job = sbxtest.job_of(self.repo, steps=["echo from a file"])
        path = os.path.join(self.folder, "job.json")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(sbxtest.json_of(job))
        done = self.submit(path, "--wait")
        self.assert_exit(done, "passed")
        self.assertIn("passed", done.stdout)
        job = sbxtest.job_of(self.repo, id=None)
        done = self.submit("-", "--wait", "--json", stdin=sbxtest.json_of(job))
        self.assert_exit(done, "passed")
        self.assertEqual(json.loads(done.stdout)["verdict"], "passed")

    def test_waiting_ends_with_the_code_of_the_verdict(self):
        patch = os.path.join(self.folder, "patch")
        with open(patch, "wb") as stream:
            stream.write(self.repo.diff({"README": "one\n2\nthree\n"}))
        for word, more in (("passed", ["--run", "grep -qx 2 README", "--patch", patch]),
                           ("failed", ["--run", "false"]),
                           ("rejected", ["--run", "true", "--patch", patch,
                                         "--protect", "README"]),
                           ("limit", ["--run", "sleep 60", "--wall", "500ms"])):
            with self.subTest(verdict=word):
                done = self.submit(*self.options(*more, "--wait", "--json"))
                self.assert_exit(done, word)
                self.assertEqual(json.loads(done.stdout)["verdict"], word)

    def test_the_same_result_as_over_the_wire(self):
        job_id = "t-" + secrets.token_hex(8)
        done = self.submit(*self.options("--shell", "echo x; exit 3", "--id", job_id, "--wait",
                                         "--json"))
        self.assert_exit(done, "failed")
        told, wire = json.loads(done.stdout), self.result_of(job_id)
        self.assertEqual(sorted(told), sorted(wire))
        self.assertEqual(told["steps"][0]["stdout"], "x\n")
        self.assertEqual((told["states"], told["reason"]), (wire["states"], wire["reason"]))

    def test_a_person_reads_what_was_expected_and_found(self):
        patch = os.path.join(self.folder, "conflict")
        with open(patch, "wb") as stream:
            stream.write(self.repo.diff({"README": "one\n2\nthree\n"}).replace(b"-two", b"-zwei"))
        done = self.submit(*self.options("--run", "true", "--patch", patch, "--wait"))
        self.assert_exit(done, "rejected")
        for word in ("patch.conflict", "README", "zwei", "two"):
            self.assertIn(word, done.stdout)

    def test_following_shows_states_and_output(self):
        done = self.submit(*self.options("--shell", "echo a-live-line", "--follow"))
        self.assert_exit(done, "passed")
        self.assertIn("a-live-line", done.stdout + done.stderr)
        self.assertIn("running", done.stdout + done.stderr)

    def test_waiting_gives_up_at_its_timeout(self):
        done = self.submit(*self.options("--run", "sleep 3", "--wait", "--timeout", "500ms"))
        self.assert_exit(done, "error")

    def test_what_is_wrong_is_said_before_anything_is_sent(self):
        before = self.client.depth("jobs")
        for arguments, word in ((["--run", "true", "--wal", "1s"], "usage"),
                                (["--run", "true", "--wall", "soon"], "usage"),
                                ([], "usage")):
            with self.subTest(arguments=arguments):
                done = self.submit(*(self.options(*arguments) if arguments else []))
                self.assert_exit(done, word)
                self.assertTrue(done.stderr)
        done = self.submit("-", stdin='{"v": 1, "steps": [{"run": ["x"], "timeout_ms": 0}]}')
        self.assert_exit(done, "rejected")
        self.assertIn("steps[0].timeout_ms", done.stderr)
        self.assertEqual(self.client.depth("jobs"), before)

    def test_an_unknown_key_is_warned_of(self):
        job = dict(sbxtest.job_of(self.repo), limit={"wall_ms": 1})
        done = self.submit("-", "--wait", stdin=json.dumps(job))
        self.assert_exit(done, "passed")
        self.assertIn("limits", done.stderr)

    def test_dead_letters_are_listed_shown_and_replayed(self):
        away = os.path.join(self.folder, "repos", "later")
        job = sbxtest.job_of(self.repo, source={"repo": away, "commit": self.repo.head()},
                             max_attempts=1)
        self.client.publish(job)
        self.assert_verdict(self.result_of(job["id"]), "error", "source.unreachable")
        listed = sbxtest.poll(lambda: job["id"] in self.submit("dead", "list").stdout,
                              "the letter in the list")
        self.assertTrue(listed)
        shown = self.submit("dead", "show", job["id"])
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("source.unreachable", shown.stdout)
        sbxtest.Repo(away).git("fetch", "-q", self.repo.path, "main:refs/heads/other")
        self.assertEqual(self.submit("replay", "no-such-id").returncode, 1)
        self.assertEqual(self.submit("replay", job["id"]).returncode, 0)
        result = self.client.wait(job["id"], copies=2)
        self.assert_verdict(result, "passed")
        self.assertEqual(result["run"], 2)
        self.assertNotIn(job["id"], self.submit("dead", "list").stdout)


class NoBroker(sbxtest.Case):
    needs_broker = False

    def test_a_broker_that_is_not_there(self):
        done = self.program("sbx-submit", "-", "--queue", "amqp://127.0.0.1:1/", stdin='{"v": 1}')
        self.assertEqual(done.returncode, sbxtest.EXIT["error"])
        self.assertIn("127.0.0.1:1", done.stderr)

    def test_a_password_is_never_shown(self):
        done = self.program("sbx-submit", "-", "--queue", "amqp://u:sesame@127.0.0.1:1/",
                            stdin='{"v": 1}')
        self.assertNotIn("sesame", done.stdout + done.stderr)

    def test_help_and_version(self):
        for name in ("sbx-submit", "sbx-run", "sbx-worker", "sbx-patch", "sbx-box"):
            with self.subTest(program=name):
                done = self.program(name, "--help")
                self.assertEqual(done.returncode, 0)
                self.assertIn("sage", done.stdout)
                self.assertRegex(self.program(name, "--version").stdout, rf"^{name} \d+\.\d+")
                done = self.program(name, "--no-such-option")
                # sbx-box ends with its command's status, so its own failures are 125.
                self.assertEqual(done.returncode, 125 if name == "sbx-box" else 2)
                self.assertIn("no-such-option", done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
