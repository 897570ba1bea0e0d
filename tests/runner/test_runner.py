"""The runner's own judgement: outputs as the test libraries really print them."""
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runner import counts, leftovers, main, programs  # noqa: E402

CMOCKA = """\
[==========] Running 4 test(s).
[ RUN      ] good
[       OK ] good
[ RUN      ] bad
[  ERROR   ] --- 0x1 != 0x2
[   LINE   ] --- s.c:8: error: Failure!
[  FAILED  ] bad
[ RUN      ] skipped
no broker: SBX_TEST_BROKER_URL is not set
[  SKIPPED ] skipped
[ RUN      ] good
Could not run test: Test setup failed
[  ERROR   ] good
[==========] 4 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] skipped

 1 SKIPPED TEST(S)
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] bad

 2 FAILED TEST(S)
"""

UNITTEST = """\
test_a (__main__.T.test_a) ... ok
test_b (__main__.T.test_b)
doc of b ... skipped 'no broker'
test_c (__main__.T.test_c) ... FAIL
test_e (__main__.T.test_e) ... skipped "why 'not'"
test_h (__main__.T.test_h) ... printed between
ok
setUpClass (__main__.U) ... skipped 'class skip'
setUpClass (__main__.V) ... ERROR

----------------------------------------------------------------------
Ran 5 tests in 0.001s

FAILED (failures=1, errors=1, skipped=3)
"""


class Counting(unittest.TestCase):
    def test_cmocka(self):
        found = counts.read(CMOCKA, 2)
        self.assertEqual((found.passed, found.failed), (1, 2))
        self.assertEqual(found.skips, [("skipped", "no broker: SBX_TEST_BROKER_URL is not set")])

    def test_unittest(self):
        found = counts.read(UNITTEST, 1)
        self.assertEqual((found.passed, found.failed), (2, 2))
        self.assertEqual(found.skips, [("test_b", "no broker"), ("test_e", "why 'not'"),
                                       ("setUpClass", "class skip")])

    def test_summary_line(self):
        found = counts.read("SKIP vsock: no device\n3 passed, 1 failed, 1 skipped\n", 1)
        self.assertEqual((found.passed, found.failed), (3, 1))
        self.assertEqual(found.skips, [("vsock", "no device")])

    def test_a_program_that_runs_nothing_failed(self):
        self.assertEqual(counts.read("", 0).failed, 1)
        self.assertEqual(counts.read("Ran 0 tests in 0.0s\n\nOK\n", 0).failed, 1)

    def test_a_program_that_dies_failed(self):
        self.assertEqual(counts.read("[       OK ] good\n", -11).failed, 1)
        self.assertEqual(counts.read(UNITTEST.replace("failures=1, errors=1, ", ""), 1).failed, 1)


class Verdict(unittest.TestCase):
    def finish(self, name, ci):
        """Exit status and last line of a run in which one test passed and one was skipped."""
        report = main.Report(verbose=False)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), \
                unittest.mock.patch.dict(os.environ, {"CI": ci}):
            report.program(name, counts.Counts(1, 0, [("test_a", "no reason")]), 0.1, "", "log")
            status = report.finish()
        self.assertIn(f"{name}: test_a: no reason", said.getvalue())
        return status, said.getvalue().split("\n")[-2]

    def test_a_skip_of_the_sandbox_fails_in_ci_alone(self):
        self.assertEqual(self.finish("unit/sandbox/test_box", "false"),
                         (0, "1 passed, 0 failed, 1 skipped"))
        self.assertEqual(self.finish("unit/sandbox/test_box", "true"),
                         (1, "1 passed, 1 failed, 1 skipped"))
        self.assertEqual(self.finish("unit/queue/test_url", "true")[0], 0)


class LeftOver(unittest.TestCase):
    def test_a_detached_process_is_found_and_a_dead_one_is_not(self):
        with tempfile.TemporaryDirectory() as folder:
            watch = leftovers.Watch(folder, broker_may_stay=True)
            self.assertEqual(watch.look(), [])
            # The shell ends at once; cat goes on in a session of its own.
            reader, writer = os.pipe()
            script = "exec 3<&0; setsid cat <&3 >/dev/null 2>&1 &"
            subprocess.run(["/bin/sh", "-c", script], stdin=reader, env={}, check=True)
            os.close(reader)
            found = watch.look()
            self.assertEqual(len(found), 1, found)
            os.close(writer)
            self.assertEqual(watch.settle(), [])


class Whole(unittest.TestCase):
    """tests/run itself, over a build directory in which nothing was built."""

    def run_it(self, *arguments, **env):
        top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        with tempfile.TemporaryDirectory() as build:
            return subprocess.run([os.path.join(top, "run"), "--build", build, "--no-broker",
                                   *arguments], capture_output=True, text=True, check=False,
                                  env=dict(os.environ, **env))

    def test_the_broker_of_whoever_calls_is_left_alone(self):
        with tempfile.TemporaryDirectory() as broker:
            self.run_it("--only", "unit/base/test_text", SBX_TEST_BROKER_DIR=broker)
            self.assertTrue(os.path.isdir(broker))

    def test_what_was_not_built_fails(self):
        done = self.run_it("--only", "unit/base/test_text")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.split("\n")[-2], "0 passed, 1 failed, 0 skipped")

    def test_who_has_not_built_is_told_what_to_call(self):
        for name, missing, target in (
                ("unit/base/test_text", "/tests/unit/base/test_text;", "unit-tests"),
                ("fuzz/tap", "/tests/fuzz/replay_tap;", "unit-tests"),
                ("system/test_05*", "/bin/sbx-box and 4 more;", "all"),
                ("attack/test_classes", "/bin/sbx-box and ", "all-tests")):
            with self.subTest(name):
                said = self.run_it("--only", name).stdout
                self.assertRegex(said, rf"not built: /\S+{missing}.*'make -j2 B=\S+ {target}'")
                self.assertNotIn("Errno", said)

    def test_the_usual_folders_need_not_be_named(self):
        top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        for where, mark, call in (("build", "", "make -j2 all"),
                                  ("build/san", "+san", "make -j2 SAN=1 all"),
                                  ("build/san", "", "make -j2 SAN=1 all"),
                                  ("build", "+san", "make -j2 SAN=1 B=build all"),
                                  ("other/place", "", "make -j2 B=other/place all")):
            self.assertEqual(programs.make(top, os.path.join(top, where), mark, "all"), call)

    def test_a_pattern_without_a_program_is_an_error(self):
        self.assertEqual(self.run_it("--only", "no-such-program").returncode, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
