"""Each verdict, over the wire: passed, failed, rejected by each guard, each limit."""
import os
import secrets
import subprocess
import time

import sbxtest

README = "one\ntwo\nthree\n"
SYMLINK = """\
diff --git a/out b/out
new file mode 120000
--- /dev/null
+++ b/out
@@ -0,0 +1 @@
+/etc/passwd
\\ No newline at end of file
"""
NEW_FILE = """\
diff --git a/{path} b/{path}
new file mode 100644
--- /dev/null
+++ b/{path}
@@ -0,0 +1 @@
+text
"""


def edit(old, new):
    """A diff that changes line two of README, stating `old` as its content."""
    return ("diff --git a/README b/README\n--- a/README\n+++ b/README\n"
            f"@@ -1,3 +1,3 @@\n one\n-{old}\n+{new}\n three\n").encode()


class Passed(sbxtest.WorkerCase):
    def store_git(self, *arguments):
        """git over the store's repository, which belongs to another uid."""
        repos = os.path.join(self.worker.state, "store/repos")
        [name] = [each for each in os.listdir(repos) if each.endswith(".git")]
        env = sbxtest.clean_env(self.folder, GIT_CONFIG_COUNT="1",
                                GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
        return subprocess.run(["git", "--git-dir", os.path.join(repos, name), *arguments],
                              env=env, check=True, capture_output=True, text=True).stdout.strip()

    def test_nothing_to_do_passes(self):
        job_id = "t-" + secrets.token_hex(8)
        self.client.publish({"v": 1, "id": job_id})
        self.assert_verdict(self.client.wait(job_id), "passed")

    def test_steps_without_a_patch(self):
        result = self.run_job(steps=[["true"], "test -f README && pwd"])
        self.assert_verdict(result, "passed")
        self.assertEqual([step["outcome"] for step in result["steps"]], ["passed", "passed"])
        self.assertEqual(result["steps"][1]["stdout"], b"/work\n")
        self.assertEqual(result["steps"][1]["argv"], ["sh", "-c", "test -f README && pwd"])

    def test_the_patch_is_what_the_steps_see(self):
        diff = self.repo.diff({"README": "one\nTWO\nthree\n",
                               "dir/new.sh": "#!/bin/sh\necho hi\n"})
        result = self.run_job(diff, ["grep -qx TWO README && dir/new.sh"], tenant="acme",
                              labels={"k": "v"}, stage="build")
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], b"hi\n")
        self.assertEqual((result["tenant"], result["stage"], result["labels"]),
                         ("acme", "build", {"k": "v"}))
        files = {each["path"]: each for each in result["patch"]["files"]}
        self.assertEqual(files["README"]["status"], "modified")
        self.assertEqual(files["dir/new.sh"]["status"], "added")
        self.assertEqual((result["patch"]["additions"], result["patch"]["deletions"]), (3, 1))

    def test_snapshots_are_commits_and_the_tree_is_gits_own(self):
        diff = self.repo.diff({"README": "one\n2\nthree\n", "a/b/c": "deep\n"})
        result = self.run_job(diff, ["echo made > made"])
        self.assert_verdict(result, "passed")
        snapshots = result["snapshots"]
        self.assertEqual(snapshots["initial"], self.repo.head())
        self.assertEqual(self.store_git("rev-parse", snapshots["after_patch"] + "^{tree}"),
                         self.repo.tree_after(diff))
        self.assertEqual(self.store_git("rev-parse", snapshots["before_patch"] + "^{tree}"),
                         self.repo.git("rev-parse", "HEAD^{tree}").decode().strip())
        self.assertEqual(self.store_git("rev-parse", f"refs/sbx/{result['job']}"),
                         snapshots["after_patch"])
        self.assertEqual([(each["path"], each["status"]) for each in result["changes"]],
                         [("made", "added")])

    def test_failure_rolls_the_ref_back(self):
        result = self.run_job(edit("two", "2"), [["false"]])
        self.assert_verdict(result, "failed")
        self.assertEqual(self.store_git("rev-parse", f"refs/sbx/{result['job']}"),
                         result["snapshots"]["before_patch"])

    def test_states_are_in_their_order(self):
        result = self.run_job(edit("two", "2"), [["true"]])
        names = [each["state"] for each in result["states"]]
        order = ["received", "admitted", "fetched", "snapshotted", "checked", "patched",
                 "prepared", "running", "reported", "collected", "settled"]
        self.assertEqual([name for name in names if name in order], order)
        times = [each["at_us"] for each in result["states"]]
        self.assertEqual(times, sorted(times))

    def test_artifacts_come_back_and_links_are_not_followed(self):
        result = self.run_job(steps=["mkdir out; echo data > out/a.txt; mkfifo out/c.txt;"
                                     "ln -s /etc/passwd out/b.txt"],
                              artifacts={"paths": ["out/*.txt"]})
        self.assert_verdict(result, "passed")
        self.assertEqual([(each["path"], each["size"]) for each in result["artifacts"]],
                         [("out/a.txt", 5)])
        self.assertEqual(result["artifacts"][0]["data"], b"data\n")

    def test_expected_exit_env_stdin_and_cwd(self):
        result = self.run_job(steps=[
            {"run": ["false"], "expect_exit": 1},
            {"shell": "cat; echo $WHO; basename $PWD", "stdin": b"in\n", "env": {"WHO": "me"}},
            {"name": "sub", "run": ["sh", "-c", "mkdir -p sub"]},
            {"run": ["pwd"], "cwd": "sub"}])
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][1]["stdout"], b"in\nme\nwork\n")
        self.assertEqual(result["steps"][3]["stdout"], b"/work/sub\n")

    def test_an_always_step_runs_after_a_failure_and_others_do_not(self):
        result = self.run_job(steps=[["false"], ["true"], {"run": ["true"], "always": True}])
        self.assert_verdict(result, "failed", "step.failed")
        self.assertEqual([step["outcome"] for step in result["steps"]],
                         ["failed", "skipped", "passed"])

    def test_two_jobs_never_meet(self):
        self.assert_verdict(self.run_job(steps=["echo x > left; echo x > /tmp/left"]), "passed")
        self.assert_verdict(self.run_job(steps=["test ! -e left && test ! -e /tmp/left"]), "passed")


class Failed(sbxtest.WorkerCase):
    JUNIT = """<?xml version="1.0"?><testsuite name="s"><testcase classname="c" name="good"/>
<testcase classname="c" name="bad"><failure message="no">x</failure></testcase></testsuite>"""

    def test_by_exit_code(self):
        result = self.run_job(edit("two", "2"), ["echo out; echo err >&2; exit 3"])
        self.assert_verdict(result, "failed", "step.failed", "step-1")
        step = result["steps"][0]
        self.assertEqual((step["exit"], step["stdout"], step["stderr"]), (3, b"out\n", b"err\n"))

    def test_by_signal(self):
        result = self.run_job(steps=["kill -SEGV $$"])
        self.assert_verdict(result, "failed", "step.signal")
        self.assertEqual(result["steps"][0]["signal"], 11)

    def test_a_program_that_is_not_there(self):
        result = self.run_job(steps=[["no-such-program"]])
        self.assert_verdict(result, "failed", "step.not_started")
        self.assertEqual(result["steps"][0]["outcome"], "not_started")

    def test_by_junit_although_the_exit_code_is_good(self):
        result = self.run_job(steps=[{"shell": "cat > report.xml", "stdin": self.JUNIT.encode()}],
                              tests={"format": "junit", "report": ["report.xml"]})
        self.assert_verdict(result, "failed", "tests.failed")
        tests = result["tests"]
        self.assertEqual((tests["total"], tests["passed"], tests["failed"]), (2, 1, 1))
        self.assertEqual(sorted(case["status"] for case in tests["cases"]), ["failed", "passed"])

    def test_by_tap(self):
        lines = "1..3\\nok 1 - a\\nnot ok 2 - b\\nok 3 - c # SKIP\\n"
        result = self.run_job(steps=[f"printf '{lines}'"], tests={"format": "tap"})
        self.assert_verdict(result, "failed", "tests.failed")
        tests = result["tests"]
        self.assertEqual((tests["total"], tests["passed"], tests["failed"], tests["skipped"]),
                         (3, 1, 1, 1))

    def test_a_report_that_is_missing(self):
        self.assert_verdict(self.run_job(tests={"format": "junit", "report": ["*.xml"]}),
                            "failed", "tests.no_report")

    def test_resolved_is_about_the_named_tests(self):
        steps = ["printf '1..2\\nok 1 - a\\nok 2 - b\\n'"]
        good = self.run_job(steps=steps, tests={"format": "tap", "fail_to_pass": ["a"]})
        self.assert_verdict(good, "passed")
        self.assertIs(good["tests"]["resolved"], True)
        bad = self.run_job(steps=steps, tests={"format": "tap", "fail_to_pass": ["gone"]})
        self.assert_verdict(bad, "failed", "tests.unresolved")
        self.assertIs(bad["tests"]["resolved"], False)


class Rejected(sbxtest.WorkerCase):
    config = {"protect__paths": "locked/**"}

    @classmethod
    def prepare(cls):
        cls.repo.commit({"README": README, "locked/key": "k\n", "link": ("link", "README"),
                         "folder/x": "x\n"})

    def assert_rejected(self, result, code, subject=None):
        self.assert_verdict(result, "rejected", code, subject)
        self.assertNotIn("steps", {key: value for key, value in result.items() if value})
        self.assertTrue(result["reason"]["message"])

    def test_protected_by_the_worker_and_by_the_job(self):
        diff = self.repo.diff({"locked/key": "other\n"})
        self.assert_rejected(self.run_job(diff), "patch.protected", "locked/key")
        self.assert_rejected(self.run_job(edit("two", "2"), protect={"paths": ["README"]}),
                             "patch.protected", "README")
        self.assert_rejected(self.run_job(self.repo.diff({"locked/key": None})), "patch.protected",
                             "locked/key")

    def test_a_rule_may_not_be_lifted_by_a_job_unless_permitted(self):
        result = self.run_job(self.repo.diff({"locked/key": "other\n"}),
                              protect={"allow": ["locked/**"]})
        self.assert_rejected(result, "policy.protect")

    def test_paths_that_leave_the_repository(self):
        for path in ("../evil", "a/../../evil", "/etc/evil", ".git/config", "a/.GIT/config"):
            with self.subTest(path=path):
                result = self.run_job(NEW_FILE.format(path=path).encode())
                self.assertEqual(result["verdict"], "rejected")
                self.assertIn(result["reason"]["code"], ("patch.path", "patch.malformed"))

    def test_symbolic_links(self):
        self.assert_rejected(self.run_job(SYMLINK.encode()), "patch.symlink", "out")
        through = self.repo.diff({"folder/y": "y\n"}).replace(b"folder/y", b"link/y")
        result = self.run_job(through)
        self.assertEqual(result["verdict"], "rejected")
        self.assertIn(result["reason"]["code"], ("patch.symlink", "patch.collision"))

    def test_a_conflict_shows_what_was_expected_and_found(self):
        result = self.run_job(edit("zwei", "2"))
        self.assert_rejected(result, "patch.conflict", "README")
        self.assertIn("zwei", result["reason"]["message"])
        self.assertIn("two", result["reason"]["message"])

    def test_a_malformed_and_a_truncated_diff(self):
        self.assert_rejected(self.run_job(b"this is no diff\n"), "patch.malformed")
        self.assert_rejected(self.run_job(edit("two", "2").rsplit(b" three", 1)[0]),
                             "patch.truncated")

    def test_already_applied(self):
        result = self.run_job(edit("2", "two"))
        self.assertEqual(result["verdict"], "rejected")
        self.assertIn(result["reason"]["code"], ("patch.applied", "patch.conflict",
                                                 "patch.reversed"))

    def test_fields_that_are_not_built(self):
        for field, value in (("code", {"language": "c"}), ("network", {"policy": "internet"}),
                             ("cost", {"budget": {"micro_usd": 1}}), ("cache", "use")):
            with self.subTest(field=field):
                self.assert_rejected(self.run_job(**{field: value}), "job.unsupported")

    def test_an_invalid_field_is_named(self):
        result = self.run_job(steps=[{"run": ["true"]}, {"run": ["true"], "timeout_ms": 0}])
        self.assert_rejected(result, "job.invalid", "steps[1].timeout_ms")
        self.assertIn("below the minimum 1", result["reason"]["message"])

    def test_sources(self):
        source = {"repo": "/etc", "commit": "main"}
        self.assert_rejected(self.run_job(source=source), "source.forbidden")
        source = {"repo": self.repo.path + "/../../../etc", "commit": "main"}
        self.assert_rejected(self.run_job(source=source), "source.forbidden")
        source = {"repo": "ftp://host/x", "commit": "main"}
        self.assert_rejected(self.run_job(source=source), "source.url")
        source = {"repo": self.repo.path, "commit": "1" * 40}
        self.assert_rejected(self.run_job(source=source), "source.no_commit")

    def test_a_branch_is_a_commit_too(self):
        self.assert_verdict(self.run_job(source={"repo": self.repo.path, "commit": "main"}),
                            "passed")

    def test_an_expired_deadline(self):
        result = self.run_job(deadline_ms=int(time.time() * 1000) - 1000)
        self.assert_verdict(result, "expired", "job.expired")


class Commands(sbxtest.WorkerCase):
    config = {"commands__allow": "make test\ntrue\necho *\ngit log **"}

    def test_only_what_is_allowed_runs(self):
        for run, verdict in ((["true"], "passed"), (["true", "x"], "rejected"),
                             (["echo", "x"], "passed"), (["echo", "x", "y"], "rejected"),
                             (["/bin/true"], "rejected"), (["make", "clean"], "rejected")):
            with self.subTest(run=run):
                result = self.run_job(steps=[run])
                self.assert_verdict(result, verdict,
                                    "policy.command" if verdict == "rejected" else None)

    def test_a_shell_text_is_no_way_around(self):
        self.assert_verdict(self.run_job(steps=["true"]), "rejected", "policy.command")


class Limits(sbxtest.WorkerCase):
    MIB = 1 << 20

    def assert_limit(self, name, step, limits, timeout=60):
        result = self.run_job(steps=[step, ["true"]], limits=limits, timeout=timeout)
        self.assert_verdict(result, "limit", "limit." + name)
        self.assertEqual(result["steps"][0]["outcome"], "limit")
        return result

    def test_wall(self):
        started = time.monotonic()
        self.assert_limit("wall", ["sleep", "60"], {"wall_ms": 500})
        self.assertLess(time.monotonic() - started, 10)

    def test_wall_of_one_step(self):
        self.assert_limit("wall", {"run": ["sleep", "60"], "timeout_ms": 500}, {})

    def test_wall_of_what_stops_itself_or_ignores_signals(self):
        self.assert_limit("wall", "trap '' TERM INT; kill -STOP $$", {"wall_ms": 700})

    def test_cpu(self):
        self.assert_limit("cpu", "while :; do :; done", {"cpu_ms": 400, "wall_ms": 30000})

    def test_idle(self):
        result = self.assert_limit("idle", "echo said; sleep 60", {"idle_ms": 500})
        self.assertEqual(result["steps"][0]["stdout"], b"said\n")

    def test_memory(self):
        self.assert_limit("memory", "head -c 400m /dev/zero | tail",
                          {"memory_bytes": 64 * self.MIB})

    def test_disk(self):
        for place in (".", "/tmp", "/dev/shm"):
            with self.subTest(place=place):
                self.assert_limit("disk", f"head -c 64m /dev/zero > {place}/big",
                                  {"disk_bytes": 8 * self.MIB})

    def test_inodes(self):
        self.assert_limit("inodes", "i=0; while [ $i -lt 5000 ]; do : > f$i || exit 1; "
                          "i=$((i+1)); done", {"inodes": 500})

    def test_processes(self):
        self.assert_limit("processes", "for i in $(seq 100); do sleep 30 & done; wait",
                          {"processes": 16, "wall_ms": 10000})

    def test_file(self):
        self.assert_limit("file", "head -c 8m /dev/zero > big", {"file_bytes": self.MIB})

    def test_output(self):
        result = self.assert_limit("output", ["yes"], {"output_bytes": self.MIB})
        self.assertGreater(result["steps"][0]["truncated_bytes"], 0)

    def test_a_limit_above_the_maximum_is_lowered_and_said_so(self):
        result = self.run_job(limits={"wall_ms": 7 * 24 * 3600 * 1000})
        self.assert_verdict(result, "passed")
        self.assertIn("wall", " ".join(result["clamped"]))

    def test_presets(self):
        show = ["ulimit -n"]
        light = self.run_job(steps=show, limits={"preset": "light"})
        self.assert_verdict(light, "passed")
        self.assertEqual(light["steps"][0]["stdout"], b"256\n")
        self.assertNotIn("clamped", light)
        own = self.run_job(steps=show, limits={"preset": "light", "open_files": 99})
        self.assertEqual(own["steps"][0]["stdout"], b"99\n")
        unknown = self.run_job(limits={"preset": "huge"})
        self.assert_verdict(unknown, "rejected", "policy.preset")
        self.assertIn("default, light, heavy, browser", unknown["reason"]["message"])

    def test_output_within_the_limit_keeps_head_and_tail(self):
        result = self.run_job(steps=["echo first; head -c 1m /dev/zero | tr '\\0' x; echo last"])
        self.assert_verdict(result, "passed")
        text = result["steps"][0]["stdout"]
        self.assertTrue(text.startswith(b"first\n") and text.endswith(b"last\n"))
        self.assertLess(len(text), 256 << 10)
        self.assertGreater(result["steps"][0]["truncated_bytes"], 0)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
