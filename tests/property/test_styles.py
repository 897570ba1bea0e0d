#!/usr/bin/python3
"""Every style that git, GNU diff and others write, for changes that are awkward to write.

test_patch_vs_git.py draws at random and explores; here each style meets each change once. Where
a style says all of the change, ours is the real tree; where git refuses what is left, so do we.
"""
import os
import subprocess
import unittest

import patch_cases as cases
from engine import RepoCase
from patch_cases import EXEC, FILE, GITLINK, LINK

MESSAGE = """Grüße: ein Betreff, der so lang ist, daß ihn jedes Programm umbrechen wird, äöü

Words, and lines that look like others:
--- not a header
> diff --git a/x b/x
-- almost a signature
"""


def numbered(word, count):
    return "".join(f"{word} {number}\n" for number in range(count))


CODE = "".join(f"int f{i}(void)\n{{\n\treturn {i};\n}}\n\n" for i in range(40))
BASE = {"src/a.c": CODE, "src/b.c": CODE.replace("return", "RETURN"), "willlink": "text\n",
        "crlf": "a\r\nb\r\nc\r\nd\r\ne\r\n", "mixed": "a\r\nb\nc\r\nd\n", "nonl": "x\ny\nz",
        "nonl2": "x\ny\nz\n", "with space": "one\ntwo\n", 'quo"te': "q\n", "ünï/日本": "x\ny\n",
        "mode": "#!/bin/sh\n", "empty": "", "gone": "bye\nbye\n", "gone empty": "", "-dash": "d\n",
        "bin": bytes(range(256)) * 8, "bingone": b"\0\1\2" * 30, "rewrite": numbered("old", 60),
        "r1": numbered("one", 30), "r2": numbered("two", 30), "r3": numbered("three", 30),
        "dir/x": "d\n", "file": "f\n", "white": "a \t\nb\n\n\n c\n", "latin1": b"caf\xe9\nx\ny\n",
        "feed": "a\x0cb\nc\n", "deep/a/b/c/d": "e\n"}
KINDS = {"link": (LINK, "src/a.c"), "was": (LINK, "src"), "mode2": (EXEC, "#!/bin/sh\n"),
         "sub1": (GITLINK, "1" * 40), "sub2": (GITLINK, "2" * 40)}

# name -> what changes: content, (mode, content), or None for what goes
CHANGES = {
    "edits": {"src/a.c": CODE.replace("return 3;", "return 33;").replace("return 30;", "y();"),
              "crlf": "a\r\nb\r\nC\r\nd\r\ne\r\n", "mixed": "a\r\nB\nc\r\nd\r\n"},
    "last lines": {"nonl": "x\ny\nz\n", "nonl2": "x\ny\nz", "crlf": "a\r\nb\r\nc\r\nd\r\ne"},
    "first lines": {"nonl": "X\ny\nz", "nonl2": "x\ny\nz\nw", "file": ""},
    "names": {"with space": "one\n2\n", 'quo"te': "Q\n", "ünï/日本": "x\nz\n", "-dash": "D\n",
              "new file with space": "n\n", "new/ä b": "x"},
    "types": {"willlink": (LINK, "src/b.c"), "was": "now a file\n", "link": (LINK, "src/b.c"),
              "dir/x": None, "dir": "now a file\n", "file": None, "file/in": "x\n"},
    "modes": {"mode": (EXEC, "#!/bin/sh\n"), "mode2": (FILE, "#!/bin/sh\nx\n"), "gone": None,
              "new": (EXEC, "x\n"), "new empty": "", "gone empty": None, "new2": (EXEC, "")},
    "binaries": {"bin": bytes(range(256)) * 4 + b"changed" + bytes(range(256)) * 4,
                 "new": b"\0\1\2" * 500, "bingone": None, "nonl": b"x\0y"},
    "cycle": {"r1": numbered("three", 30) + "x\n", "r2": numbered("one", 30) + "y\n",
              "r3": numbered("two", 30)},
    "moves": {"r1": None, "moved/r1": numbered("one", 30), "with space": None,
              "moved/with space": "one\ntwo\n", "copy of r2": numbered("two", 30) + "z\n",
              "r2": numbered("two", 30) + "w\n", "src/a copy.c": CODE, "mode2": None,
              "moved/mode": "#!/bin/sh\n"},
    "rewrites": {"rewrite": numbered("new", 70), "src/b.c": numbered("zzz", 50)},
    "white": {"white": "a\nb\t\n\n c \n", "latin1": b"caf\xe9\nX\ny\n", "feed": "a\x0cB\nc\n"},
    "near": {"src/a.c": CODE.replace("return 3;", "return 33;\n\tx();")
             .replace("int f4(void)\n", "").replace("int f0(void)\n", "").rstrip("\n") + "\n"},
    "submodules": {"sub1": (GITLINK, "3" * 40), "sub2": None, "sub3": (GITLINK, "4" * 40)},
}

# options of git diff, strip; all say everything
STYLES = [([], 1), (["-M", "-C"], 1), (["-C", "-C"], 1), (["-B"], 1), (["-B", "-M"], 1),
          (["-B0%", "-M1%", "-C1%"], 1), (["-M100%"], 1), (["-U0"], 1), (["-U0", "-M", "-C"], 1),
          (["-U1"], 1), (["-U100"], 1), (["--inter-hunk-context=20"], 1), (["-W"], 1),
          (["--no-prefix"], 0), (["--no-prefix", "-M", "-C"], 0), (["--full-index"], 1),
          (["--src-prefix=x/", "--dst-prefix=y/"], 1), (["--abbrev=5"], 1), (["--abbrev=40"], 1),
          (["--patience"], 1), (["--histogram"], 1), (["--stat", "-p"], 1), (["--raw", "-p"], 1),
          (["--patch-with-stat", "--summary"], 1), (["--compact-summary", "-p"], 1),
          (["--dirstat", "-p"], 1), (["--numstat", "-p"], 1), (["--no-indent-heuristic"], 1)]
# the same, as commands about one commit
COMMANDS = [["show"], ["show", "-M", "-C"], ["show", "--pretty=fuller", "--stat", "-p"],
            ["show", "--pretty=email"], ["log", "-p", "-1"], ["format-patch", "--stdout", "-1"],
            ["format-patch", "--stdout", "-1", "--attach"],
            ["format-patch", "--stdout", "-1", "--inline"],
            ["format-patch", "--stdout", "-1", "--thread", "-s"],
            ["format-patch", "--stdout", "-1", "--no-signature"],
            ["format-patch", "--stdout", "-1", "-N", "-p", "--signature=one\n-two"],
            ["format-patch", "--stdout", "-1", "--encode-email-headers", "-U0"],
            ["-c", "diff.mnemonicPrefix=true", "diff-tree", "-p", "-M", "--root"],
            ["-c", "core.quotepath=false", "show"]]
# these leave something out or are not meant to be applied: only git's answer counts
LOSSY = [["-D"], ["-D", "-M"], ["-a"], ["-p"], ["--word-diff"], ["--color=always"],
         ["--output-indicator-new=>"], ["--ignore-space-change"], ["--submodule=log"]]

# what other tools write around the hunks of one file
FOREIGN = {
    "svn": "Index: {name}\n" + "=" * 67 + "\n--- {name}\t(revision 12)\n+++ {name}\t"
           "(working copy)\n{hunks}\nProperty changes on: {name}\n" + "_" * 67 +
           "\nModified: svn:mime-type\n## -1 +1 ##\n-text/plain\n+text/x-c\n",
    "cvs": "Index: {name}\n" + "=" * 67 + "\nRCS file: /cvs/{name},v\nretrieving revision 1.1\n"
           "diff -u -r1.1 {name}\n--- {name}\t1 Jan 2000 00:00:00 -0000\t1.1\n"
           "+++ {name}\t2 Jan 2001 00:00:00 -0000\n{hunks}",
    "bzr": "=== modified file '{name}'\n--- {name}\t2009-01-01 10:00:00 +0000\n"
           "+++ {name}\t2010-01-01 10:00:00 +0000\n{hunks}\n",
    "hg": "# HG changeset patch\n# User x\n# Date 1 0\n# Node ID 123\n# Parent  456\nwords\n\n"
          "diff -r 000 -r 111 {name}\n--- a/{name}\tMon Feb 01 00:00:01 2010 +0000\n"
          "+++ b/{name}\tMon Feb 01 00:00:02 2010 +0000\n{hunks}",
    "quilt": "Description: words\n .\n more\nAuthor: x <x@y>\n---\nThis header follows DEP-3\n"
             "Index: pkg/{name}\n" + "=" * 67 + "\n--- pkg.orig/{name}\n+++ pkg/{name}\n{hunks}",
    "list": "--- a/{name}\n+++ b/{name}\n{hunks}-- \n1.0\n" + "_" * 47 + "\nx mailing list\n",
    "gnu": "Only in old: foo\ndiff -ru old/{name} new/{name}\n--- old/{name}\t2020-01-01 10:00:00."
           "000000000 +0100\n+++ new/{name}\t2020-01-01 10:00:01.000000000 +0100\n{hunks}"
           "Only in new: bar\nCommon subdirectories: old/x and new/x\n\n",
}


def encoded(value):
    mode, content = value if isinstance(value, tuple) else (FILE, value)
    return mode, content if isinstance(content, bytes) else content.encode()


class Styles(RepoCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        importer = cases.Importer()
        base = {path: encoded(value) for path, value in {**BASE, **KINDS}.items()}
        importer.commit(base)
        for change in CHANGES.values():
            tree = {path: value for path, value in base.items() if path not in change}
            importer.commit({**tree, **{path: encoded(value) for path, value in change.items()
                                        if value is not None}})
        found = list(importer.run(cls.repo).values())
        cls.base = found[0][0]
        cls.changes = {}
        for name, (_, tree) in zip(CHANGES, found[1:]):
            commit = cases.git(cls.repo, "commit-tree", tree, "-p", cls.base,
                               data=(name + ": " + MESSAGE).encode())[1]
            cls.changes[name] = (commit.decode().strip(), tree)
        cls.engine = cls.engine_of("--no-protect")

    def check(self, strip, diff, tree):
        answer = self.engine.ask(self.repo, self.base, strip, diff)
        said = f"{answer}\n{diff.decode(errors='replace')[:4000]}"
        self.assertEqual(answer["tree"], tree, said)
        self.assertEqual(answer["adjusted"], [], said)

    def test_styles_of_git_diff(self):
        for name, (commit, tree) in self.changes.items():
            for options, strip in STYLES:
                with self.subTest(change=name, options=options):
                    self.check(strip, cases.git(self.repo, "diff", "--binary", *options, self.base,
                                                commit)[1], tree)
            with self.subTest(change=name, options="-R"):
                self.check(1, cases.git(self.repo, "diff", "--binary", "-R", commit,
                                        self.base)[1], tree)

    def test_commands_that_show_a_commit(self):
        for name, (commit, tree) in self.changes.items():
            for command in COMMANDS:
                with self.subTest(change=name, command=command):
                    diff = cases.git(self.repo, *command, "--binary", commit)[1]
                    self.check(1, diff, tree)

    def test_what_says_less_is_judged_as_by_git(self):
        agreed = 0
        for name, (commit, _) in self.changes.items():
            for options in LOSSY:
                diff = cases.git(self.repo, "diff", *options, self.base, commit)[1]
                with self.subTest(change=name, options=options):
                    self.check(1, diff, self.git_tree(self.repo, self.base, 1, diff))
                    agreed += 1
        self.assertGreater(agreed, 100)

    def test_reversed_and_doubled_diffs_are_refused(self):
        for name, (commit, _) in self.changes.items():
            diff = cases.git(self.repo, "diff", "--binary", self.base, commit)[1]
            back = cases.git(self.repo, "diff", "--binary", commit, self.base)[1]
            for what in (back, diff + diff):
                with self.subTest(change=name):
                    self.assertFalse(self.engine.ask(self.repo, self.base, 1, what)["ok"])

    def test_what_other_tools_write(self):
        for name in ("src/a.c", "with space", "crlf", "ünï/日本", "nonl", "latin1", "r2"):
            base = encoded(BASE[name])[1]
            new = base.replace(b"return 7", b"RET 7").replace(b"x\n", b"X\n") \
                .replace(b"c\r\n", b"C\r\n").replace(b"two", b"2", 3)
            importer = cases.Importer()
            importer.commit({**{path: encoded(value) for path, value in {**BASE, **KINDS}.items()},
                             name: (FILE, new)})
            tree = importer.run(self.repo)[1][1]
            for side, content in (("old", base), ("new", new)):
                with open(os.path.join(self.folder, side), "wb") as out:
                    out.write(content)
            hunks = subprocess.run(["diff", "-au", "old", "new"], cwd=self.folder, check=False,
                                   stdout=subprocess.PIPE).stdout.split(b"\n", 2)[2]
            for tool, text in FOREIGN.items():
                diff = text.replace("{name}", name).encode().replace(b"{hunks}", hunks)
                with self.subTest(tool=tool, name=name):
                    self.check(0 if tool in ("svn", "cvs", "bzr") else 1, diff, tree)

    def test_series_of_mails_in_every_wrapping(self):
        tree, commits = self.base, []
        for name in ("edits", "names", "modes", "white", "moves"):
            env = {"GIT_INDEX_FILE": os.path.join(self.folder, "series")}
            cases.git(self.repo, "read-tree", tree, env=env)
            for path, value in CHANGES[name].items():
                line = f"0 {'0' * 40}\t{path}\n"
                if value is not None:
                    mode, content = encoded(value)
                    oid = cases.git(self.repo, "hash-object", "-w", "--stdin", data=content)[1]
                    line = f"{mode} {oid.decode().strip()}\t{path}\n"
                cases.git(self.repo, "-c", "core.quotepath=false", "update-index", "--index-info",
                          data=line.encode(), env=env)
            made = cases.git(self.repo, "write-tree", env=env)[1].decode().strip()
            tree = cases.git(self.repo, "commit-tree", made, "-p", tree,
                             data=(name + ": " + MESSAGE).encode())[1].decode().strip()
            commits.append(tree)
        for options in ([], ["--attach"], ["--inline"], ["--cover-letter", "-n"], ["-M", "-C"],
                        ["--thread", "--signature=-- \n-x"], ["-U0"]):
            with self.subTest(options=options):
                mails = cases.git(self.repo, "-c", "core.bare=true", "format-patch", "--stdout",
                                  "--binary", *options, f"{self.base}..{commits[-1]}")[1]
                self.check(1, mails, made)
        with self.subTest(options="log"):
            self.check(1, cases.git(self.repo, "log", "-p", "--reverse", "--binary",
                                    f"{self.base}..{commits[-1]}")[1], made)


if __name__ == "__main__":
    unittest.main(verbosity=2)
