"""Security modes end to end: what auto chooses and says, what may be asked for, what holds."""
import json
import os

import sbxtest

PROBE = ["python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); "
         "print(l.syscall(101, 0, 0, 0, 0), l.syscall(64, 0, 1, 384))'"]


class Modes(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\n", "Makefile": "all:\n", "a.txt": "a\n"})

    def run_job(self, diff=None, *options, **fields):
        path = os.path.join(self.folder, "job.json")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(sbxtest.json_of(sbxtest.job_of(self.repo, diff, PROBE, **fields)))
        done = self.program("sbx-run", "--json", "--state-dir",
                            os.path.join(self.folder, "state"), *options, path)
        self.assertTrue(done.stdout, done.stderr)
        return json.loads(done.stdout)

    def assert_mode(self, result, mode, profile, probe, why):
        self.assert_verdict(result, "passed")
        security = result["security"]
        self.assertEqual((security["mode"], security["profile"]), (mode, profile))
        self.assertIn(why, security["reason"])
        self.assertEqual(result["steps"][0]["stdout"], probe)

    def trusted(self, *more):
        return ["--set", f"sources.trusted={self.repo.path}", *more]

    def test_auto_is_sandboxed(self):
        self.assert_mode(self.run_job(), "sandboxed", "default", "-1 0\n", "none of")

    def test_auto_isolates_what_has_findings(self):
        change = self.repo.diff({"Makefile": "all:\n\ttrue\n"})
        result = self.run_job(change, limits={"memory_bytes": 6 << 30})
        self.assert_mode(result, "isolated", "strict", "-1 -1\n", "1 finding of severity warning")
        self.assertIn("memory_bytes: 6442450944 lowered to 2147483648 by the mode isolated",
                      result["clamped"])
        calm = self.run_job(self.repo.diff({"a.txt": "b\n"}))
        self.assert_mode(calm, "sandboxed", "default", "-1 0\n", "no grave finding")
        never = self.run_job(change, "--set", "security.isolate=never")
        self.assert_mode(never, "sandboxed", "default", "-1 0\n", "no grave finding")

    def test_auto_trusts_what_the_operator_trusts(self):
        self.assert_mode(self.run_job(None, *self.trusted()), "trusted", "trusted", "0 0\n",
                         "is one of")
        change = self.repo.diff({"Makefile": "all:\n\ttrue\n"})
        self.assert_mode(self.run_job(change, *self.trusted()), "isolated", "strict", "-1 -1\n",
                         "1 finding")

    def test_asked_for(self):
        self.assert_mode(self.run_job(security="isolated"), "isolated", "strict", "-1 -1\n",
                         "asks for it")
        self.assert_mode(self.run_job(None, *self.trusted(), security="sandboxed"), "sandboxed",
                         "default", "-1 0\n", "asks for it")
        self.assert_mode(self.run_job(None, *self.trusted(), security="trusted"), "trusted",
                         "trusted", "0 0\n", "asks for it")

    def test_trusted_is_for_trusted_sources(self):
        result = self.run_job(security="trusted")
        self.assert_verdict(result, "rejected", "policy.security", "security")
        self.assertNotIn("security", result)
        result = self.run_job(None, "--set", "sources.trusted=/nowhere/", security="trusted")
        self.assert_verdict(result, "rejected", "policy.security", "security")

    def test_the_least(self):
        result = self.run_job(None, *self.trusted("--set", "security.least=isolated"),
                              security="trusted")
        self.assert_mode(result, "isolated", "strict", "-1 -1\n", "it would have been trusted")

    def test_a_wrong_policy_is_an_error(self):
        for setting in ("security.least=off", "security.isolate=high"):
            done = self.program("sbx-run", "--set", setting, "/dev/null")
            self.assertEqual(done.returncode, sbxtest.EXIT["usage"], done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
