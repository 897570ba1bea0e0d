"""A repository behind ssh: a real sshd on loopback, its host key checked, a key of our own."""
import json
import os
import shutil
import socket
import subprocess
import unittest

import sbxtest

SSHD = "/usr/sbin/sshd"


@unittest.skipUnless(os.path.exists(SSHD), "no sshd here")
class Ssh(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.user = subprocess.run(["id", "-un"], capture_output=True, text=True,
                                  check=True).stdout.strip()
        os.chmod(cls.folder, 0o755)
        cls.served = sbxtest.Repo(os.path.join(cls.folder, "served", "repo"))
        cls.served.commit({"README": "over ssh\n"})
        for name, kind in (("host_ed", "ed25519"), ("host_ec", "ecdsa"), ("other", "ed25519"),
                           ("key", "ed25519"), ("stranger", "ecdsa")):
            cls.keygen("-t", kind, "-N", "", "-f", name)
        shutil.copy(cls.at("key.pub"), cls.at("authorized"))
        cls.start_sshd()

    @classmethod
    def tearDownClass(cls):
        cls.sshd.terminate()
        cls.sshd.wait()
        if cls.made_run:
            os.rmdir("/run/sshd")
        super().tearDownClass()

    @classmethod
    def start_sshd(cls):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            cls.port = probe.getsockname()[1]
        cls.host = f"127.0.0.1:{cls.port}"
        cls.made_run = os.getuid() == 0 and not os.path.isdir("/run/sshd")
        if cls.made_run:
            os.mkdir("/run/sshd", 0o755)
        cls.write("config", f"""Port {cls.port}
ListenAddress 127.0.0.1
HostKey {cls.at('host_ed')}
HostKey {cls.at('host_ec')}
AuthorizedKeysFile {cls.at('authorized')}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
""")
        cls.sshd = subprocess.Popen([SSHD, "-D", "-f", cls.at("config"), "-E", cls.at("log")],
                                    stdin=subprocess.DEVNULL)
        sbxtest.poll(lambda: "listening" in cls.log(), "sshd to listen")

    @classmethod
    def at(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def log(cls):
        if not os.path.exists(cls.at("log")):
            return ""
        with open(cls.at("log"), encoding="utf-8") as stream:
            return stream.read()

    @classmethod
    def keygen(cls, *arguments):
        subprocess.run(["ssh-keygen", "-q", *arguments], cwd=cls.folder, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    @classmethod
    def write(cls, name, text, mode=0o644):
        with open(cls.at(name), "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(cls.at(name), mode)
        return cls.at(name)

    def known(self, *keys):
        """Lines of a known_hosts file for the server."""
        lines = []
        for key in keys:
            with open(self.at(key + ".pub"), encoding="ascii") as stream:
                lines.append(f"[127.0.0.1]:{self.port} {' '.join(stream.read().split()[:2])}\n")
        return self.write("known-" + "-".join(keys), "".join(lines), 0o600)

    def run_job(self, known, key="key", path=None, user=None):
        user = self.user if user is None else user
        job = sbxtest.job_of(self.served, steps=[["grep", "-qx", "over ssh", "README"]],
                             source={"repo": f"ssh://{user}@{self.host}"
                                             f"{self.served.path if path is None else path}",
                                     "commit": "refs/heads/main"}, max_attempts=1)
        sets = ["--set", f"sources.allow=ssh://{self.user}@{self.host}{self.folder}/"]
        if known is not None:
            sets += ["--set", f"sources.known_hosts={known}"]
        if key is not None:
            sets += ["--set", f"sources.ssh_keys={self.host}={self.at(key)}"]
        state = self.at("state-" + self.id().rsplit(".", 1)[-1])
        env = sbxtest.clean_env(self.folder, SSH_AUTH_SOCK=self.at("agent"))
        done = subprocess.run([os.path.join(sbxtest.BIN, "sbx-run"), "--json", "--state-dir", state,
                               *sets, self.write("job.json", sbxtest.json_of(job))],
                              env=env, cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertNotIn("PRIVATE KEY", done.stdout + done.stderr)
        for folder, _, names in os.walk(state):
            self.assertNotIn("known_hosts", names, folder)
            for name in names:
                with open(os.path.join(folder, name), "rb") as stored:
                    self.assertNotIn(b"PRIVATE KEY", stored.read())
        return (json.loads(done.stdout) if done.stdout else None), done.stderr

    def assert_unreachable(self, result, said):
        self.assert_verdict(result, "error", "source.unreachable")
        self.assertIn(said, result["reason"]["message"])

    def test_a_known_host_gives_the_commit(self):
        for keys in (("host_ed",), ("host_ec",), ("host_ed", "host_ec")):
            result, said = self.run_job(self.known(*keys))
            self.assertIsNotNone(result, said)
            self.assert_verdict(result, "passed")
            self.assertEqual(result["snapshots"]["initial"], self.served.head())
            shutil.rmtree(self.at("state-test_a_known_host_gives_the_commit"))

    def test_hashed_names_are_known(self):
        path = self.known("host_ed")
        self.keygen("-H", "-f", path)
        with open(path, encoding="ascii") as stream:
            self.assertTrue(stream.read().startswith("|1|"))
        self.assert_verdict(self.run_job(path)[0], "passed")

    def test_a_host_with_another_key_is_refused(self):
        before = self.log().count("Accepted publickey")
        result, _ = self.run_job(self.known("other"))
        self.assert_unreachable(result, "host key")
        self.assertEqual(self.log().count("Accepted publickey"), before)

    def test_an_unknown_host_is_refused(self):
        result, _ = self.run_job(self.write("empty-hosts", "# none\n"))
        self.assert_unreachable(result, "host key")

    def test_without_known_hosts_there_is_no_ssh(self):
        result, _ = self.run_job(None, key=None)
        self.assert_unreachable(result, "known_hosts")
        result, said = self.run_job(None)
        self.assertIsNone(result)
        self.assertIn("sources.known_hosts", said)

    def test_a_home_directory_does_not_count(self):
        os.makedirs(self.at(".ssh"), exist_ok=True)
        shutil.copy(self.known("host_ed", "host_ec"), self.at(".ssh/known_hosts"))
        shutil.copy(self.at("key"), self.at(".ssh/id_ed25519"))
        self.addCleanup(shutil.rmtree, self.at(".ssh"))
        self.assert_unreachable(self.run_job(None, key=None)[0], "known_hosts")
        self.assert_unreachable(self.run_job(self.known("host_ed"), key=None)[0], "there are none")

    def test_another_key_is_not_accepted(self):
        result, _ = self.run_job(self.known("host_ed"), key="stranger")
        self.assert_unreachable(result, "does not accept")

    def test_nothing_reaches_the_shell_at_the_other_end(self):
        for path in ("/x';touch${IFS}PWNED;'", "/x%27;id;%27", "/$(id)", "/a b", "/../../etc"):
            result, _ = self.run_job(self.known("host_ed"), path=self.folder + path)
            self.assert_verdict(result, "rejected")
            self.assertIn(result["reason"]["code"], ("source.url", "source.forbidden"))

    def test_what_is_not_allowed_is_not_asked_for(self):
        before = self.log().count("Connection from")
        result, _ = self.run_job(self.known("host_ed"), path="/etc/repo")
        self.assert_verdict(result, "rejected", "source.forbidden")
        result, _ = self.run_job(self.known("host_ed"), user="nobody-else")
        self.assert_verdict(result, "rejected", "source.forbidden")
        self.assertEqual(self.log().count("Connection from"), before)

    def test_a_repository_that_is_not_there(self):
        result, _ = self.run_job(self.known("host_ed"), path=self.at("nothing"))
        self.assert_verdict(result, "error", "source.unreachable")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
