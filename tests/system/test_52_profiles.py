"""Profiles of system calls, with real programs: what each is for works under it, and no wider."""
import os
import shutil
import unittest

import sbxtest

INTERFACES = "import socket; print(socket.if_nameindex())"


class Profiles(sbxtest.Case):
    needs_broker = False

    def box(self, profile, script, *options):
        folder = os.path.join(self.folder, "here")
        os.makedirs(folder, exist_ok=True)
        return self.program("sbx-box", "--profile", profile, *options, "--", "sh", "-c", script,
                            cwd=folder)

    def need(self, *programs):
        for name in programs:
            if not shutil.which(name):
                raise unittest.SkipTest(f"{name} is not installed")

    def test_interfaces(self):
        for profile in ("default", "trusted"):
            self.assertIn("'lo'", self.box(profile, f'python3 -c "{INTERFACES}"').stdout)
        refused = self.box("strict", f'python3 -c "{INTERFACES}"')
        self.assertIn("Address family not supported", refused.stderr)

    def test_names_are_found_under_each(self):
        script = "import socket; print(socket.getaddrinfo('localhost', 80)[0][1])"
        for profile in ("default", "trusted", "strict"):
            self.assertEqual(self.box(profile, f'python3 -c "{script}"').returncode, 0)

    def test_many_processes_look_up_interfaces_at_once(self):
        script = "import socket, multiprocessing as m\n" \
                 "def look(n):\n    return [socket.if_nameindex()[0][1] for i in range(50)]\n" \
                 "with m.Pool(8) as pool:\n    print(sum(map(len, pool.map(look, range(16)))))\n"
        done = self.box("default", f'cat > look.py <<"END"\n{script}END\npython3 look.py')
        self.assertEqual(done.stdout, "800\n", done.stderr)

    def test_debuggers(self):
        self.need("gcc", "gdb")
        script = "echo 'int main(void) { return 0; }' > t.c && gcc -g t.c -o t && " \
                 "gdb -batch -ex run ./t 2>&1"
        self.assertIn("exited normally", self.box("trusted", script).stdout)
        self.assertNotIn("exited normally", self.box("default", script).stdout)

    def test_leak_checkers(self):
        self.need("gcc")
        script = "printf '#include <stdlib.h>\\nint main(void) { void *volatile p = malloc(10); " \
                 "p = 0; return p != 0; }' > t.c && gcc -fsanitize=address t.c -o t && ./t"
        found = self.box("trusted", script)
        self.assertIn("10 byte(s) leaked", found.stderr)
        self.assertNotEqual(found.returncode, 0)
        # Where it cannot look it does not try, and fails no program for that.
        self.assertEqual(self.box("default", script).returncode, 0)

    def test_languages_under_strict(self):
        for program, script in (
                ("node", "node -e 'new WebAssembly.Memory({initial: 1}); console.log(6 * 7)'"),
                ("go", "cd /tmp && printf 'package main\\nfunc main() { println(42) }' > m.go && "
                       "GOFLAGS=-mod=mod GO111MODULE=off go run m.go 2>&1"),
                ("python3", "python3 -c 'import multiprocessing as m; p = m.Pool(2); "
                            "print(sum(p.map(abs, [-40, -2])))'"),
                ("gcc", "echo 'int main(void) { return 42; }' > t.c; gcc t.c; ./a.out; echo $?"),
                ("java", "echo 'class A { public static void main(String[] a) { "
                         "System.out.println(42); } }' > A.java; java A.java")):
            with self.subTest(program=program):
                if not shutil.which(program):
                    continue
                done = self.box("strict", script, "--memory", "3g")
                self.assertIn("42", done.stdout, done.stderr)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
