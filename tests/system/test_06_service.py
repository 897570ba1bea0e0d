"""The files with which a machine starts the worker: the systemd unit and the AppArmor profile."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import sbxtest

UNIT = os.path.join(sbxtest.ROOT, "contrib/systemd/sbx-worker.service")
PROFILE = os.path.join(sbxtest.ROOT, "contrib/apparmor/sbx-worker")
WORST_EXPOSURE = 5.3  # of 10, as systemd-analyze counts; root and namespaces weigh most of it


def unit_settings():
    with open(UNIT, encoding="utf-8") as stream:
        text = stream.read().replace("\\\n", " ")
    found = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found, text


def unit_capabilities():
    words = unit_settings()[0]["CapabilityBoundingSet"][0].split()
    return {word[4:].lower() for word in words}


class Unit(unittest.TestCase):
    def need(self, program):
        if shutil.which(program) is None:
            self.skipTest(f"{program} is not installed")

    def test_systemd_understands_all_of_it(self):
        self.need("systemd-analyze")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sbx-worker.service")
            with open(UNIT, encoding="utf-8") as stream, \
                    open(path, "w", encoding="utf-8") as copy:
                copy.write(stream.read().replace("/usr/local/bin/sbx-worker",
                                                 os.path.join(sbxtest.BIN, "sbx-worker")))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], text=True,
                                  capture_output=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_it_is_no_more_exposed_than_it_was(self):
        self.need("systemd-analyze")
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
                              text=True, capture_output=True, timeout=60, check=False)
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        self.assertTrue(level, done.stderr)
        self.assertLessEqual(float(level[1]), WORST_EXPOSURE)

    def test_what_is_said_not_to_be_set_is_not_set(self):
        settings, text = unit_settings()
        refused = re.findall(r"([A-Z][A-Za-z]+)=", text[text.index("# Not set"):])
        self.assertGreater(len(refused), 10)
        self.assertEqual([key for key in refused if key in settings and
                          key not in ("DevicePolicy", "WantedBy")], [])
        self.assertEqual(settings["Delegate"], ["yes"])

    def test_unit_and_profile_agree_about_capabilities(self):
        with open(PROFILE, encoding="utf-8") as stream:
            found = re.findall(r"^  capability ([a-z_]+),$", stream.read(), re.MULTILINE)
        # Of namespaces of its own alone, which a bounding set does not count.
        self.assertEqual(unit_capabilities(), set(found) - {"sys_ptrace"})

    def test_the_profile_can_be_read(self):
        self.need("apparmor_parser")
        done = subprocess.run(["apparmor_parser", "-Q", "-K", "-I", "/etc/apparmor.d", PROFILE],
                              text=True, capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class Capabilities(sbxtest.Case):
    """A job under what the unit leaves of root: no more is needed, and no less would do."""

    needs_broker = False

    @classmethod
    def setUpClass(cls):
        sbxtest.need_root()
        super().setUpClass()
        cls.repo.commit({"README": "one\n"})

    def run_with(self, names):
        job = os.path.join(self.folder, "job.json")
        with open(job, "w", encoding="utf-8") as stream:
            stream.write(sbxtest.json_of(sbxtest.job_of(
                self.repo, steps=[["sh", "-c", "cat README && stat -c %d /dev/null"]])))
        bounds = "-all," + ",".join("+" + name for name in sorted(names))
        return subprocess.run(
            ["setpriv", "--bounding-set", bounds, "--no-new-privs",
             os.path.join(sbxtest.BIN, "sbx-run"), "--json", "--state-dir",
             os.path.join(self.folder, "state"), job], text=True, capture_output=True,
            timeout=120, check=False, env=sbxtest.clean_env(self.folder))

    def test_they_are_enough(self):
        done = self.run_with(unit_capabilities())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn('"missing"', done.stdout.replace('"missing":[]', ""))

    def test_none_is_idle(self):
        # dac_read_search: sources that only their owner reads; kill: steps of another uid;
        # sys_resource: more descriptors than the machine gives; mknod: nodes of a box's own.
        spare = {"dac_read_search", "kill", "sys_resource", "mknod", "dac_override"}
        for name in sorted(unit_capabilities() - spare):
            with self.subTest(name):
                done = self.run_with(unit_capabilities() - {name})
                self.assertNotEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
