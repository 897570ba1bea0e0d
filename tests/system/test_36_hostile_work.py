"""What a job leaves in its workspace to hurt whoever looks: the verdict stays the job's own.

None of this is a fault of the host, so none of it may be tried again, kill the
executor or be blamed on the worker.
"""
import os

import sbxtest

PATHS = {"paths": ["*.art", "*.xml", "z/**"]}

# Each leaves it and exits with 0.
LEFT = {
    "links that lead out": "ln -s /etc/passwd a.art; ln -s ../../etc b.art; ln -s . loop.art",
    "no regular files": "mkfifo a.art r.xml; python3 -c 'import socket\n"
                        "socket.socket(socket.AF_UNIX).bind(\"s.art\")'",
    "names": r'touch "$(printf "a\nb")" "$(printf "\377")" ./-rf "$(printf "\033[31m.art")"; '
             r'mkdir "$(printf "\377dir")"; touch "$(printf "\377dir")/x"',
    "names that mean something to git": "mkdir .git .GIT git~1 a a/.git; touch .git/config "
                                        ".GIT/x git~1/x a/.git/x; ln -s /etc .gitmodules",
    "names that mean something to overlayfs": "touch .wh.README .wh..wh..opq",
    "no permission": "mkdir -p z/y; echo s > z/y/f; chmod 000 z/y/f z/y z README .",
    "a file for a directory": "rm -rf dir; echo x > dir",
    "a link for a directory": "rm -rf dir; ln -s / dir",
    "a directory for a file": "rm README; mkdir -p README/README; touch README/README/README",
    "a directory twice": "rm -rf dir; mkdir -p dir/sub; mv README dir/sub",
    "one file by many names": "touch f; python3 -c 'import os\n"
                              "for i in range(20000): os.link(\"f\", \"l%d\" % i)'",
    "longest names": "python3 -c 'import os\nos.symlink(\"x\" * 4095, \"l\")\n"
                     "for i in range(5000): os.mkdir(\"%05d\" % i + \"n\" * 250)'",
    "deeper than a path": "python3 -c 'import os\nfor i in range(100):\n"
                          "    os.mkdir(\"d\" * 200); os.chdir(\"d\" * 200)'",
    "more files than are looked into": "python3 -c 'import os\nfor i in range(80000):\n"
                                       "    f = os.open(\"f%d\" % i, os.O_CREAT | os.O_WRONLY)\n"
                                       "    os.ftruncate(f, 1 << 20); os.close(f)'",
    "more names than are taken": "python3 -c 'import os\nfor i in range(150000):\n"
                                 "    os.mknod(\"%06d\" % i + \"n\" * 240)'",
    "artifacts without end": "truncate -s 1000M a.art b.art c.art d.art",
}

SPARSE_REPORTS = "python3 -c 'import os\nfor i in range(8000):\n" \
                 "    f = os.open(\"r%d.xml\" % i, os.O_CREAT | os.O_WRONLY)\n" \
                 "    os.ftruncate(f, 31 << 20); os.close(f)'"


class HostileWork(sbxtest.WorkerCase):
    @classmethod
    def prepare(cls):
        cls.repo.commit({"README": "one\n", "dir/a": "a\n", "dir/b": "b\n"})

    def test_what_is_left_is_no_fault(self):
        for what, shell in LEFT.items():
            with self.subTest(what):
                result = self.run_job(steps=[shell], artifacts=PATHS, timeout=120)
                self.assert_verdict(result, "passed")
                self.assertEqual(result["attempt"], 1)
                self.assertNotIn(b"root:", b"".join(each.get("data", b"")
                                                    for each in result.get("artifacts", [])))

    def test_files_that_are_swapped_while_they_are_collected(self):
        """A process that outlives its step changes files for links to the host's, and back."""
        secret = os.path.join(self.folder, "secret")
        with open(secret, "w", encoding="utf-8") as out:
            out.write("the host's secret\n")
        os.chmod(secret, 0o644)
        os.chmod(self.folder, 0o755)
        swap = ("while :; do echo mine > x; mv -T x a.art; ln -s SECRET x; mv -T x a.art; "
                "rm -rf z; mkdir z; echo mine > z/secret; rm -rf z; ln -s FOLDER z; done")
        swap = swap.replace("SECRET", secret).replace("FOLDER", self.folder)
        for _ in range(3):
            result = self.run_job(
                steps=[f"for i in 1 2 3; do setsid sh -c '{swap}' >/dev/null 2>&1 & done; "
                       "until test -L a.art -o -f a.art; do :; done"],
                artifacts=PATHS, timeout=120, tests={"format": "junit", "report": ["z/secret"]})
            self.assertIn(result["verdict"], ("failed", "limit"), result)
            self.assertEqual(result["attempt"], 1)
            self.assertNotIn("the host's secret", repr(result))

    def test_reports_without_end(self):
        result = self.run_job(steps=[SPARSE_REPORTS], timeout=120,
                              tests={"format": "junit", "report": ["*.xml"]})
        self.assert_verdict(result, "failed", "tests.no_report")
        self.assertEqual(result["attempt"], 1)

    def test_a_report_that_is_a_link_is_not_read(self):
        result = self.run_job(steps=["ln -s /proc/self/environ r.xml; mkfifo s.xml"],
                              tests={"format": "junit", "report": ["*.xml"]})
        self.assert_verdict(result, "failed", "tests.no_report")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
