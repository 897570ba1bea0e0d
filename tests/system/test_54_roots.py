"""Root directories by name: what steps see as / instead of the machine's own /usr."""
import json
import os
import shutil
import subprocess

import sbxtest

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "cat", "ls", "id", "true", "touch", "grep", "rm", "mkdir", "env", "readlink")


def make_root(path, mark):
    """A root directory by hand: busybox, and a file that says which one it is."""
    for folder in ("bin", "usr", "etc", "opt"):
        os.makedirs(os.path.join(path, folder))
    shutil.copy(BUSYBOX, os.path.join(path, "bin"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(path, "bin", applet))
    for name, text in (("opt/mark", mark + "\n"), ("etc/passwd", "app:x:7:7::/:/bin/sh\n")):
        with open(os.path.join(path, name), "w", encoding="utf-8") as stream:
            stream.write(text)
    return path


class Roots(sbxtest.Case):
    needs_broker = False
    user = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\n"})
        cls.roots = {}
        for name in ("one", "two"):
            cls.roots[name] = make_root(os.path.join(cls.folder, "roots", name), name)

    def job(self, *steps, root=None, **fields):
        more = {} if root is None else {"sandbox": {"root": root}}
        return sbxtest.job_of(self.repo, steps=steps, **more, **fields)

    def run_jobs(self, *jobs, **config):
        """sbx-run over the jobs; the results in the order of the jobs."""
        paths, sets = [], []
        for number, job in enumerate(jobs):
            paths.append(os.path.join(self.folder, f"job-{number}.json"))
            with open(paths[-1], "w", encoding="utf-8") as stream:
                stream.write(sbxtest.json_of(job))
        for key, value in {"sandbox__roots": "one,two=" + self.roots["two"],
                           "sandbox__roots_dir": os.path.join(self.folder, "roots"),
                           "worker__slots": "1", **config}.items():
            sets += ["--set", f"{key.replace('__', '.')}={value}"]
        done = self.program("sbx-run", "--json", *sets, "--state-dir",
                            os.path.join(self.folder, "state"), *paths)
        self.assertTrue(done.stdout, done.stderr)
        found = {result["job"]: result for result in map(json.loads, done.stdout.splitlines())}
        return [found[job["id"]] for job in jobs]

    def marks(self, results):
        for result in results:
            self.assert_verdict(result, "passed")
        return [result["steps"][0]["stdout"].strip() for result in results]

    def test_a_job_names_its_root_and_the_slot_follows(self):
        wanted = ["one", "two", "two", None, "one", "host", "two", "one"]
        results = self.run_jobs(*(self.job("cat /opt/mark 2>/dev/null || echo host", root=name)
                                  for name in wanted))
        self.assertEqual(self.marks(results), [name or "host" for name in wanted])
        self.assertEqual([result["security"]["root"] for result in results],
                         [name or "host" for name in wanted])

    def test_the_same_for_an_ordinary_user(self):
        sbxtest.need_root()
        home = os.path.join(self.folder, "user")
        shutil.copytree(self.repo.path, os.path.join(home, "repo"))
        make_root(os.path.join(home, "roots/own"), "own")
        paths = []
        wanted = ["one", "own", None, "own", "one"]
        for number, name in enumerate(wanted):
            job = self.job("cat README /opt/mark 2>/dev/null; true", root=name)
            job["source"]["repo"] = os.path.join(home, "repo")
            paths.append(os.path.join(home, f"{number}.json"))
            with open(paths[-1], "w", encoding="utf-8") as stream:
                stream.write(sbxtest.json_of(job))
        subprocess.run(["chown", "-R", "65531:65531", home], check=True)
        os.chmod(self.folder, 0o755)
        # The checkout of the program itself may be out of the user's reach.
        programs = [shutil.copy(os.path.join(sbxtest.BIN, name), home)
                    for name in ("sbx-run", "sbx-worker")]
        done = subprocess.run(
            ["setpriv", "--reuid", "65531", "--regid", "65531", "--clear-groups", programs[0],
             "--json", "--allow-missing-cgroup", "--set", "worker.slots=1", "--set",
             f"sandbox.roots=one={self.roots['one']},own={home}/roots/own", "--state-dir",
             os.path.join(home, "state"), *paths], cwd=home, text=True, capture_output=True,
            env=sbxtest.clean_env(home), timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        said = sorted(json.loads(line)["steps"][0]["stdout"] for line in done.stdout.splitlines())
        self.assertEqual(said, sorted("one\n" + (name + "\n" if name else "") for name in wanted))

    def test_the_workspace_and_the_patch_are_there(self):
        job = self.job("cat README && touch made && id && grep app /etc/passwd", root="one",
                       patch={"diff": self.repo.diff({"README": "uno\n"}).decode()})
        result, = self.run_jobs(job)
        self.assert_verdict(result, "passed")
        self.assertIn("uno\nuid=1000(sbx) gid=1000(sbx)", result["steps"][0]["stdout"])
        self.assertIn("app:x:7", result["steps"][0]["stdout"])
        self.assertIn("made", [each["path"] for each in result["changes"]])

    def write_env(self, name, *entries):
        path = self.roots[name] + ".env"
        with open(path, "wb") as stream:
            stream.write(b"".join(each.encode() + b"\0" for each in entries))
        self.addCleanup(os.unlink, path)
        return path

    def test_what_the_image_says_is_in_the_environment(self):
        self.write_env("one", "PATH=/opt/own:/bin", "COLOUR=red", "LANG=C", "HOME=/root",
                       "TEXT=a\nb", "SBX_WORKING_DIR=/opt")
        jobs = [self.job("pwd; env", root=root) for root in ("one", "two", "one", None)]
        jobs[2]["steps"][0]["env"] = {"COLOUR": "blue", "HOME": "/work", "MINE": "x"}
        texts = [result["steps"][0]["stdout"] for result in self.run_jobs(*jobs)]
        said = [dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
                for text in texts]
        # Where steps start is not the image's to say: there is its own copy of a project.
        self.assertEqual([text.splitlines()[0] for text in texts], ["/work"] * 4)
        self.assertIn("TEXT=a\nb\n", texts[0])
        for number, (colour, path, home, lang, folder) in enumerate((
                ("red", "/opt/own:/bin", "/tmp", "C", "/opt"),
                (None, None, "/tmp", "C.UTF-8", None),
                ("blue", "/opt/own:/bin", "/work", "C", "/opt"),
                (None, None, "/tmp", "C.UTF-8", None))):
            with self.subTest(number):
                self.assertEqual(said[number].get("COLOUR"), colour)
                self.assertEqual(said[number]["HOME"], home)
                self.assertEqual(said[number]["LANG"], lang)
                self.assertEqual(said[number].get("SBX_WORKING_DIR"), folder)
                self.assertEqual(said[number]["SBX_JOB"], jobs[number]["id"])
                if path:
                    self.assertEqual(said[number]["PATH"], path)
        self.assertEqual(said[2]["MINE"], "x")

    def test_the_images_path_leads_to_its_programs(self):
        folder = os.path.join(self.roots["one"], "opt/own")
        os.mkdir(folder)
        self.addCleanup(shutil.rmtree, folder)
        with open(os.path.join(folder, "its-own"), "w", encoding="utf-8") as stream:
            stream.write("#!/bin/sh\necho here\n")
        os.chmod(os.path.join(folder, "its-own"), 0o755)
        self.write_env("one", "PATH=/opt/own:/bin")
        job = self.job(root="one")
        job["steps"] = [{"name": "own", "run": ["its-own"]}]
        result, = self.run_jobs(job)
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"], "here\n")
        done = self.program("sbx-box", "--empty", "--root", self.roots["one"], "--", "its-own")
        self.assertEqual((done.returncode, done.stdout), (0, "here\n"), done.stderr)

    def test_sbx_box_has_the_images_variables(self):
        self.write_env("one", "COLOUR=red", "SHAPE=round", "HOME=/root")
        done = self.program("sbx-box", "--empty", "--root", self.roots["one"], "--env",
                            "COLOUR=blue", "--", "env")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLessEqual({"COLOUR=blue", "SHAPE=round", "HOME=/tmp"},
                             set(done.stdout.splitlines()))
        self.assertNotIn("COLOUR=red", done.stdout)

    def test_variables_that_others_can_change_are_refused(self):
        os.chmod(self.write_env("one", "A=b"), 0o666)
        found = self.check(f"sandbox.roots=one={self.roots['one']}")["sandbox.root.one"]
        self.assertEqual(found["status"], "fail")
        self.assertIn("one.env", found["detail"])
        done = self.program("sbx-box", "--empty", "--root", self.roots["one"], "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("nobody else can change", done.stderr)
        done = self.program("sbx-run", "--set", f"sandbox.root={self.roots['one']}", "--state-dir",
                            os.path.join(self.folder, "state"), self.job_file())
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nobody else can change", done.stderr)

    def job_file(self):
        path = os.path.join(self.folder, "job.json")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(sbxtest.json_of(self.job("true")))
        return path

    def test_the_usual_root_is_the_operators(self):
        results = self.run_jobs(self.job("cat /opt/mark"), self.job("cat /opt/mark", root="two"),
                                sandbox__root="one")
        self.assertEqual(self.marks(results), ["one", "two"])
        # The host's own is not to be had then, unless it is listed.
        result, = self.run_jobs(self.job(root="host"), sandbox__root="one")
        self.assert_verdict(result, "rejected", "policy.root")

    def test_an_unknown_root_is_refused(self):
        result, = self.run_jobs(self.job(root="three"))
        self.assert_verdict(result, "rejected", "policy.root", "sandbox.root")
        self.assertIn("host, one, two", result["reason"]["message"])
        result, = self.run_jobs(self.job(root="../roots/one"))
        self.assert_verdict(result, "rejected", "policy.root")

    def test_nothing_in_it_can_be_changed(self):
        script = ("for path in / /bin /opt /etc /usr /dev /proc; do touch $path/x 2>/dev/null && "
                  "exit 3; done; echo x 2>/dev/null > /opt/mark && exit 4; exit 0")
        result, = self.run_jobs(self.job(script, root="one"))
        self.assert_verdict(result, "passed")
        with open(os.path.join(self.roots["one"], "opt/mark"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "one\n")

    def test_nothing_of_the_host_is_in_it(self):
        result, = self.run_jobs(self.job("ls /usr /etc; readlink /etc/mtab; test ! -e /usr/bin",
                                         root="one"))
        self.assert_verdict(result, "passed")
        self.assertEqual(result["steps"][0]["stdout"].split(),
                         ["/etc:", "group", "hostname", "hosts", "mtab", "nsswitch.conf", "passwd",
                          "resolv.conf", "ssl", "/usr:", "../proc/self/mounts"])

    def test_a_hostile_image_cannot_move_what_the_box_mounts(self):
        """CVE-2025-31133, -52565: what is mounted on, or from, is a link of the image's."""
        path = make_root(os.path.join(self.folder, "hostile"), "hostile")
        shutil.rmtree(os.path.join(path, "etc"))
        host = os.path.join(self.folder, "outside")
        os.makedirs(host)
        for name in ("dev", "proc", "tmp", "work", "etc", "run", "empty", "root", "home", "var",
                     "sys"):
            os.symlink(host if name in ("tmp", "work", "empty") else "/" + name,
                       os.path.join(path, name))
        script = ("echo x > /work/a && echo x > /tmp/b && echo x > /dev/shm/c && echo x > /dev/null"
                  " && cat /proc/self/comm /etc/passwd && ls -ld /dev/null /sys; "
                  "cat /etc/shadow /var/lib/dpkg/status /root/.profile; ls /home; "
                  "ls -A /proc/1 /proc/acpi /proc/bus")
        done = self.program("sbx-box", "--empty", "--root", path, "--", "sh", "-c", script)
        self.assertIn("cat\nsbx:x:1000:1000:", done.stdout, done)
        self.assertIn("crw-rw-rw-", done.stdout)
        for word in ("root:$", "root:*", "Package:", "# ~/.profile"):
            self.assertNotIn(word, done.stdout)
        self.assertEqual(os.listdir(host), [])

    def test_set_id_bits_and_devices_of_a_root_are_dead(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make them")
        path = make_root(os.path.join(self.folder, "loaded"), "loaded")
        shutil.copy(BUSYBOX, os.path.join(path, "bin/su"))
        os.chmod(os.path.join(path, "bin/su"), 0o6755)
        os.mknod(os.path.join(path, "opt/memory"), 0o20666, os.makedev(1, 1))
        os.mknod(os.path.join(path, "opt/zero"), 0o20666, os.makedev(1, 5))
        done = self.program("sbx-box", "--empty", "--root", path, "--", "sh", "-c",
                            "/bin/su id; grep -E 'Uid|Gid' /proc/self/status; "
                            "cat /opt/memory | head -c 1; cat /opt/zero | head -c 1")
        self.assertNotIn("uid=0", done.stdout)
        self.assertEqual([line.split()[1:] for line in done.stdout.splitlines()
                          if line.startswith(("Uid", "Gid"))], [["1000"] * 4] * 2)
        self.assertEqual(done.stderr.count("Permission denied"), 2, done.stderr)
        found = self.check(f"sandbox.roots=loaded={path}")["sandbox.root.loaded"]
        self.assertEqual(found["status"], "warn", found)

    def test_a_root_that_breaks_while_the_worker_runs_is_a_fault(self):
        path = make_root(os.path.join(self.folder, "roots", "short"), "short")
        jobs = [self.job("true"), self.job("true", root="short", max_attempts=1),
                self.job("cat /opt/mark", root="one")]
        jobs[0]["steps"] = [{"run": ["/bin/sh", "-c", "sleep 1"]}]
        paths = {"sandbox__roots": f"one,short={path}", "sandbox__roots_dir":
                 os.path.join(self.folder, "roots")}
        # It is looked at when the worker starts; it goes while the first job runs.
        mover = subprocess.Popen(["sh", "-c", f"sleep 0.6; mv {path} {path}-gone"])
        results = self.run_jobs(*jobs, **paths)
        mover.wait()
        self.assert_verdict(results[0], "passed")
        self.assert_verdict(results[1], "error", "host.sandbox")
        self.assertEqual(self.marks(results[2:]), ["one"])

    def test_a_root_that_others_can_change_is_not_offered(self):
        path = make_root(os.path.join(self.folder, "loose"), "loose")
        os.chmod(path, 0o777)
        job = os.path.join(self.folder, "job.json")
        with open(job, "w", encoding="utf-8") as stream:
            stream.write(sbxtest.json_of(self.job()))
        done = self.program("sbx-run", "--set", f"sandbox.root={path}", "--state-dir",
                            os.path.join(self.folder, "state"), job)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("can be written by others", done.stderr)

    def check(self, *settings):
        sets = [word for each in settings for word in ("--set", each)]
        done = self.program("sbx-worker", "check", "--json", *sets)
        worst = {"fail": 2, "warn": 1, "ok": 0}
        found = {}
        for each in json.loads(done.stdout)["checks"]:
            before = found.get(each["name"])
            if before is None or worst[each["status"]] > worst[before["status"]]:
                found[each["name"]] = each
        return found

    def test_check_looks_at_each_root(self):
        found = self.check(f"sandbox.roots=one={self.roots['one']},two={self.roots['two']}")
        for name in ("sandbox.root.one", "sandbox.root.two", "sandbox.trial",
                     "sandbox.trial.one", "sandbox.trial.two"):
            self.assertEqual(found[name]["status"], "ok", found.get(name))
        os.chmod(os.path.join(self.roots["two"], "opt/mark"), 0o666)
        self.addCleanup(os.chmod, os.path.join(self.roots["two"], "opt/mark"), 0o644)
        found = self.check(f"sandbox.roots=two={self.roots['two']}")
        self.assertEqual(found["sandbox.root.two"]["status"], "fail")
        self.assertIn("/opt/mark", found["sandbox.root.two"]["detail"])

    def test_a_root_of_one_program_is_only_a_warning(self):
        path = make_root(os.path.join(self.folder, "lean"), "lean")
        shutil.rmtree(os.path.join(path, "bin"))
        found = self.check(f"sandbox.roots=lean={path}")
        self.assertEqual(found["sandbox.root.lean"]["status"], "ok")
        self.assertEqual(found["sandbox.trial.lean"]["status"], "warn")

    def test_the_producer_can_name_one(self):
        done = self.program("sbx-submit", "--dry-run", "--json", "--root", "one", "--repo",
                            self.repo.path, "--commit", "main", "--run", "true")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["sandbox"], {"root": "one"})

    def test_sbx_box_finds_a_root_by_directory_and_by_name(self):
        box = os.path.join(sbxtest.BIN, "sbx-box")
        for root in (self.roots["two"], "host"):
            done = self.program("sbx-box", "--empty", "--root", root, "--", "sh", "-c",
                                "cat /opt/mark 2>/dev/null || echo host")
            self.assertEqual((done.returncode, done.stdout),
                             (0, "host\n" if root == "host" else "two\n"), done.stderr)
        done = self.program("sbx-box", "--empty", "--root", "no-such-root", "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("mkroot", done.stderr)
        done = self.program("sbx-box", "--empty", "--root", self.folder, "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("no usr/ is in it", done.stderr)
        for root, status, words in ((self.roots["two"], 0, "yes  " + self.roots["two"]),
                                    (self.folder, 125, "no   "),
                                    ("host", 0, "yes  the host's /usr")):
            done = self.program("sbx-box", "--explain", "--root", root)
            self.assertEqual(done.returncode, status, done)
            self.assertIn("root                 required  " + words, done.stdout)
        if os.geteuid() == 0:
            self.as_user_by_name(box)

    def as_user_by_name(self, box):
        home = os.path.join(self.folder, "home")
        make_root(os.path.join(home, ".local/share/sbx-roots/mine"), "mine")
        subprocess.run(["chown", "-R", "65531:65531", home], check=True)
        os.chmod(self.folder, 0o755)
        program = shutil.copy(box, home)
        done = subprocess.run(
            ["setpriv", "--reuid", "65531", "--regid", "65531", "--clear-groups", program,
             "--allow-missing", "cgroup", "--empty", "--root", "mine", "--", "cat", "/opt/mark"],
            env={"HOME": home, "PATH": "/usr/bin:/bin"}, cwd=home, text=True,
            capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "mine\n"), done.stderr)
        done = subprocess.run(
            ["setpriv", "--reuid", "65531", "--regid", "65531", "--clear-groups", program,
             "--allow-missing", "cgroup", "--explain", "--root", "mine"],
            env={"HOME": home, "PATH": "/usr/bin:/bin"}, cwd=home, text=True,
            capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("root                 required  yes", done.stdout)


if __name__ == "__main__":
    if not os.path.exists(BUSYBOX):
        raise SystemExit("needs the package busybox-static")
    sbxtest.main(verbosity=2)
