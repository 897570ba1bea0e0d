"""A repository behind https that asks who is there: found with credentials, refused without."""
import json
import os
import subprocess
import sys

import sbxtest

SERVER = os.path.join(sbxtest.ROOT, "tests/unit/snapshots/https_git.py")


class Https(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.makedirs(os.path.join(cls.folder, "served"))
        cls.served = sbxtest.Repo(os.path.join(cls.folder, "served", "repo"))
        cls.served.commit({"README": "secret\n"})
        cls.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-keyout", "server.key", "-out", "server.pem",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        cls.write("log", "")
        cls.server = subprocess.Popen([sys.executable, SERVER, "server.pem", "server.key",
                                       "served", "log"], cwd=cls.folder, text=True,
                                      stdout=subprocess.PIPE)
        cls.host = f"localhost:{cls.server.stdout.readline().strip()}"

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.server.wait()
        cls.server.stdout.close()
        super().tearDownClass()

    @classmethod
    def openssl(cls, *arguments):
        subprocess.run(["openssl", *arguments], cwd=cls.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @classmethod
    def write(cls, name, text, mode=0o644):
        path = os.path.join(cls.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return path

    def run_job(self, name, login):
        job = sbxtest.job_of(self.served, steps=[["grep", "-qx", "secret", "README"]],
                             source={"repo": f"https://{self.host}/login/repo",
                                     "commit": self.served.head()}, max_attempts=1)
        token = self.write(f"token-{name}", login, 0o600)
        done = self.program("sbx-run", "--json", "--state-dir", os.path.join(self.folder, name),
                            "--set", f"sources.allow=https://{self.host}/login/",
                            "--set", f"sources.ca_file={self.folder}/server.pem",
                            "--set", f"sources.credentials={self.host}={token}",
                            self.write(f"{name}.json", sbxtest.json_of(job)))
        self.assertTrue(done.stdout, done.stderr)
        self.assertNotIn("sesame", done.stdout + done.stderr)
        return json.loads(done.stdout), done.stderr

    def test_who_logs_in_gets_the_commit(self):
        result, _ = self.run_job("good", "bot:sesame\n")
        self.assert_verdict(result, "passed")
        for folder, _, names in os.walk(os.path.join(self.folder, "good")):
            for name in names:
                with open(os.path.join(folder, name), "rb") as stored:
                    self.assertNotIn(b"sesame", stored.read())

    def test_who_does_not_gets_nothing(self):
        result, _ = self.run_job("bad", "bot:sesame2\n")
        self.assert_verdict(result, "error")
        self.assertIn("does not accept", json.dumps(result, default=repr))


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
