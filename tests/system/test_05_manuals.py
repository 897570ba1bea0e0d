"""Help, manual page and completion of each program tell of the same options."""
import os
import re
import shutil
import subprocess
import unittest

import sbxtest

MAN = os.path.join(sbxtest.ROOT, "contrib/man")
COMPLETIONS = os.path.join(sbxtest.ROOT, "contrib/completions")
COMMANDS = {"sbx-submit": [[], ["batch"], ["wait"], ["follow"], ["cancel"],
                           ["dead", "list"], ["dead", "show"],
                           ["dead", "purge"], ["dead", "export"], ["dead", "import"], ["replay"]]}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# Runs the completion as bash would, over the words it is given.
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"_${1//-/_}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


class Manuals(sbxtest.Case):
    needs_broker = False

    def each(self, check):
        names = sorted(name for name in os.listdir(sbxtest.BIN) if name.startswith("sbx-"))
        self.assertIn("sbx-submit", names)
        for name in names:
            with self.subTest(program=name):
                check(name)

    def options_of(self, name, command):
        """What the lines of --help begin with, and what its synopsis names."""
        done = self.program(name, *command, "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = set()
        for line in done.stdout.splitlines():
            leading = re.match(r"\s+(-{1,2}[\w-]+(, )?)+", line)
            if leading:
                found.update(OPTION.findall(leading.group()))
            elif re.match(rf"([Uu]sage:|\s) *{name} ", line):
                found.update(OPTION.findall(line))
        self.assertIn("--help", found)
        return found

    def text(self, folder, name):
        with open(os.path.join(folder, name), encoding="utf-8") as stream:
            return stream.read()

    def check_page(self, name):
        wanted = set().union(*(self.options_of(name, command)
                               for command in COMMANDS.get(name, [[]])))
        page = self.text(MAN, name + ".1").replace("\\-", "-")
        documented = {OPTION.search(line).group()
                      for line in re.findall(r"^\.TP\n(.*)", page, re.MULTILINE)
                      if OPTION.search(line)}
        self.assertEqual(documented, wanted)

    def check_completion(self, name):
        path = os.path.join(COMPLETIONS, name)
        for command in COMMANDS.get(name, [[]]):
            done = subprocess.run(["bash", "-c", COMPLETE, "bash", path, name, *command, "--"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  check=True)
            self.assertEqual(done.stderr, "")
            self.assertEqual(set(done.stdout.split()), self.options_of(name, command), command)

    def test_the_manual_page_has_each_option(self):
        self.each(self.check_page)

    def test_the_completion_has_each_option(self):
        self.each(self.check_completion)

    def test_everything_tells_the_makefile_s_version(self):
        version = re.search(r"^VERSION := (\S+)$", self.text(sbxtest.ROOT, "Makefile"),
                            re.MULTILINE)[1]
        self.each(lambda name: self.assertEqual(self.program(name, "--version").stdout,
                                                f"{name} {version}\n"))
        mkroot = os.path.join(sbxtest.ROOT, "contrib/roots/mkroot")
        done = subprocess.run([mkroot, "--version"], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, f"mkroot {version}\n"))
        package = os.path.join(sbxtest.ROOT, "contrib/python")
        self.assertIn(f'\nversion = "{version}"\n', self.text(package, "pyproject.toml"))
        self.assertIn(f'\n__version__ = "{version}"\n',
                      self.text(package, "sbx_client/__init__.py"))

    def test_the_manual_pages_are_in_order(self):
        if not shutil.which("groff"):
            raise unittest.SkipTest("groff is not installed")
        for page in sorted(os.listdir(MAN)):
            with self.subTest(page=page):
                done = subprocess.run(["groff", "-t", "-man", "-Tutf8", "-ww", "-z",
                                       os.path.join(MAN, page)], stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
