"""Programs that jobs are made of: each must work in the default sandbox, as root and as a user
start it, within the limits that a worker gives a job without a word about them.

A row has a name, the programs that it needs, a script, and what it prints last.
What `make deps` installs is never skipped; the rest is where it is missing.
"""
import os
import shutil
import subprocess
import tempfile
import unittest

import sbxtest

USER = 65530
# From worker/config.def: what a job gets that does not ask.
LIMITS = ["--memory", "2g", "--disk", "2g", "--processes", "256", "--files", "1024",
          "--file-size", "1g", "--output", "16m", "--wall", "5m"]
IN_DEPS = {"gcc", "make", "git", "patch", "python3", "clang", "openssl", "perl", "busybox", "sh",
           "tar", "gzip", "flock", "setsid", "timeout", "nice"}

MULTIPROCESSING = r'''
import asyncio, concurrent.futures, multiprocessing, os, subprocess, threading
from multiprocessing import shared_memory

def square(x):
    return x * x

async def talk():
    process = await asyncio.create_subprocess_exec("echo", "asked", stdout=-1)
    assert (await process.communicate())[0] == b"asked\n"
    async def answer(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"line\n")
    assert await reader.readline() == b"line\n"
    writer.close(); server.close()

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    queue = multiprocessing.Queue(); queue.put(1); assert queue.get() == 1
    with multiprocessing.Manager() as manager:
        shared = manager.dict(); shared["a"] = 1; assert dict(shared) == {"a": 1}
    block = shared_memory.SharedMemory(create=True, size=100); block.close(); block.unlink()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(square, [3])) == [9]
    asyncio.run(talk())
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    subprocess.Popen(["sleep", "9"], start_new_session=True, preexec_fn=os.getpid).kill()
    pid, fd = os.forkpty()
    if pid == 0:
        os.execlp("tty", "tty")
    assert os.read(fd, 100).startswith(b"/dev/pts/")
    print("all of it")
'''

NODE = r'''
const {Worker, isMainThread, parentPort} = require("worker_threads");
if (!isMainThread) { parentPort.postMessage("thread"); } else {
  const bytes = [0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,
                 10,9,1,7,0,32,0,32,1,106,11];
  const said = [];
  const done = word => { said.push(word); if (said.length == 4) console.log(said.sort().join()); };
  new Worker(__filename).on("message", done);
  WebAssembly.instantiate(new Uint8Array(bytes)).then(r => done(r.instance.exports.add(2, 3)));
  require("child_process").execFile("echo", ["child"], (error, out) => done(out.trim()));
  require("fs").watch(".").close();
  const server = require("http").createServer((q, s) => s.end("ok")).listen(0, "127.0.0.1", () =>
    require("http").get({port: server.address().port, host: "127.0.0.1"},
                        r => { r.resume(); server.close(); done(r.statusCode); }));
}
'''

JAVA = r'''
import java.net.*; import java.nio.file.*; import java.util.concurrent.*; import java.util.stream.*;
public class A {
  public static void main(String[] a) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    int sum = pool.invokeAll(IntStream.range(0, 100).mapToObj(i -> (Callable<Integer>) () -> i)
      .collect(Collectors.toList())).stream().mapToInt(f -> { try { return f.get(); }
      catch (Exception e) { throw new RuntimeException(e); } }).sum();
    pool.shutdown();
    ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
    new Socket(server.getInetAddress(), server.getLocalPort()).close();
    Process p = new ProcessBuilder("true").start();
    System.out.println(sum + p.waitFor() + IntStream.range(0, 9).parallel().sum()
      + (Files.getFileStore(Path.of(".")).getTotalSpace() > 0 ? 1 : 0));
  }
}
'''

MAKEFILE = "all: 1 2 3 4 5 6 7 8\n%:\n\t@sleep 0.05; echo $@ > $@\n"

C_OVERFLOW = ("#include <stdlib.h>\nint main(int c, char **v) { char *p = malloc(10); (void)v; "
              "return c > 1 ? p[10] : 0; }\n")

# name: (needed, files, script, the last line that it prints)
PROGRAMS = {
    "gcc": (["gcc"], {"a.c": "#include <stdio.h>\nint main(void) { puts(\"built\"); }\n"},
            "gcc -O2 -pipe -flto=2 a.c -o a && gcc -M a.c >/dev/null && ./a", "built"),
    "clang": (["clang"], {"a.c": "#include <stdio.h>\nint main(void) { puts(\"built\"); }\n"},
              "clang -O2 a.c -o a && ./a", "built"),
    "g++": (["g++"], {"a.cc": "#include <thread>\n#include <iostream>\nint main() { std::thread t("
                              "[] { std::cout << \"built\\n\"; }); t.join(); }\n"},
            "g++ -O1 -pthread a.cc -o a && ./a", "built"),
    "sanitizers": (["gcc"], {"a.c": C_OVERFLOW},
                   "gcc -g -fsanitize=address,undefined a.c -o a && ./a && "
                   "./a 1 2>&1 | grep -o heap-buffer-overflow | tail -n 1", "heap-buffer-overflow"),
    "thread sanitizer": (["gcc"], {"a.c": C_OVERFLOW},
                         "gcc -fsanitize=thread a.c -o a && ./a && echo ran", "ran"),
    "libFuzzer": (["clang"], {"a.c": "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const "
                                     "unsigned char *d, size_t n) { (void)d; return n > 999; }\n"},
                  "clang -fsanitize=fuzzer,address a.c -o a && ./a -runs=100 2>/dev/null && "
                  "echo fuzzed", "fuzzed"),
    "make -j": (["make"], {"Makefile": MAKEFILE}, "make -j4 && cat 8", "8"),
    "cmake": (["cmake", "ninja", "gcc"], {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(a C)\nenable_testing()\n"
                          "add_executable(a a.c)\nadd_test(t a)\n",
        "a.c": "int main(void) { return 0; }\n"},
              "cmake -S . -B b -G Ninja >/dev/null && cmake --build b >/dev/null && cd b && "
              "ctest >/dev/null && echo tested", "tested"),
    "python": (["python3"], {"t.py": MULTIPROCESSING}, "/usr/bin/python3 t.py", "all of it"),
    "python venv": (["python3", "/usr/lib/python3/dist-packages/pip"], {},
                    "/usr/bin/python3 -m venv v && v/bin/python -c 'import pip, sys; "
                    "print(sys.prefix)'", "/work/v"),
    "unittest": (["python3"], {"test_a.py": "import unittest\nclass A(unittest.TestCase):\n"
                                            "    def test(self):\n        self.assertTrue(1)\n"},
                 "/usr/bin/python3 -m unittest -q 2>&1 | tail -n 1", "OK"),
    "pytest": (["/usr/lib/python3/dist-packages/pytest"], {
        "test_a.py": "import threading\ndef test(tmp_path):\n    (tmp_path / 'x').write_text('y')\n"
                     "    t = threading.Thread(target=print); t.start(); t.join()\n"},
               "/usr/bin/python3 -m pytest -q test_a.py | tail -n 1 | cut -d' ' -f1-2",
               "1 passed"),
    "node": (["node"], {"a.js": NODE}, "node a.js", "200,5,child,thread"),
    "npm": (["npm"], {"package.json": '{"name": "a", "version": "1.0.0", '
                                      '"scripts": {"test": "node --test"}}',
                      "a.test.js": 'require("node:test")("x", () => {})'},
            "npm test 2>&1 | grep -c '^. pass 1'", "1"),
    "java": (["javac", "java"], {"A.java": JAVA}, "javac A.java && java A", "4987"),
    "go": (["go"], {"go.mod": "module a\n\ngo 1.19\n", "a.go": "package a\n\nfunc F() int { "
                    "c := make(chan int); go func() { c <- 1 }(); return <-c }\n",
                    "a_test.go": "package a\n\nimport \"testing\"\n\nfunc TestF(t *testing.T) { "
                                 "if F() != 1 { t.Fail() } }\n"},
           "go vet ./... && go test ./... | cut -c1-4", "ok  "),
    "cargo": (["/usr/bin/cargo", "/usr/bin/rustc"], {
        "Cargo.toml": "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
        "src/main.rs": "fn main() { println!(\"built\"); }\n#[test]\nfn t() { assert_eq!(1, 1); }"},
              "/usr/bin/cargo test --offline -q >/dev/null && /usr/bin/cargo run --offline -q",
              "built"),
    "git": (["git"], {}, "git init -q a && cd a && git config user.name n && "
            "git config user.email e && echo 1 > f && git add . && git commit -qm m && "
            "git clone -q . ../b && git worktree add -q ../c && git submodule -q status && "
            "git gc -q && git fsck 2>/dev/null; git -C ../c log --format=%s", "m"),
    "sqlite": (["python3"], {}, "/usr/bin/python3 -c 'import sqlite3; c = sqlite3.connect(\"d\"); "
               "c.execute(\"pragma journal_mode=wal\"); c.execute(\"create table t (a)\"); "
               "c.execute(\"insert into t values (5)\"); c.commit(); "
               "print(sqlite3.connect(\"d\").execute(\"select a from t\").fetchone()[0])'", "5"),
    "sqlite3": (["sqlite3"], {}, "sqlite3 d 'create table t (a); insert into t values (5); "
                "select a from t'", "5"),
    "postgresql": (["/usr/lib/postgresql/15/bin/postgres", "psql"], {},
                   "b=/usr/lib/postgresql/15/bin; $b/initdb -D /tmp/d >/dev/null 2>&1 && "
                   "$b/pg_ctl -D /tmp/d -o '-k /tmp' -l /tmp/log -w start >/dev/null && "
                   "psql -h /tmp -d postgres -Atc 'select 5' && $b/pg_ctl -D /tmp/d stop "
                   ">/dev/null", "5"),
    "perl": (["perl"], {}, "perl -e 'use IO::Socket::INET; my $s = IO::Socket::INET->new("
             "Listen => 1, LocalAddr => \"127.0.0.1\") or die; print fork() ? wait() > 0 : exit, "
             "\"\\n\"'", "1"),
    "ruby": (["ruby"], {}, "ruby -e 'fork { exit 3 }; Process.wait; Thread.new { puts 3 }.join; "
             "exit $?.exitstatus == 3'", "3"),
    "valgrind": (["valgrind", "gcc"], {"a.c": "int main(void) { return 0; }\n"},
                 "gcc -g a.c -o a && valgrind -q ./a && echo clean", "clean"),
    "archives": (["tar", "gzip"], {}, "tar cz -C /usr/share/perl5 . 2>/dev/null > a.tgz; "
                 "mkdir x && tar xz -C x -f a.tgz && echo unpacked", "unpacked"),
    "small tools": (["flock", "setsid", "nice", "timeout", "openssl"], {},
                    "flock x setsid nice -n 5 timeout 5 openssl rand -hex 4 | wc -c", "9"),
    "terminal": (["script"], {}, "script -qec tty /dev/null | tr -d '\\r'", "/dev/pts/0"),
}

# What is refused, and must say so at once: name, needed, script, a part of what it says.
REFUSED = {
    "strace": (["strace"], "strace true", "Operation not permitted"),
    "gdb": (["gdb"], "gdb -q -batch -ex run /bin/true 2>&1; exit 1", "not permitted"),
    "a user namespace": (["unshare"], "unshare -U true", "Operation not permitted"),
    # What a browser's own sandbox needs: start it with --no-sandbox, this one is around it.
    "bubblewrap": (["bwrap"], "bwrap --ro-bind / / true", "No permissions to create new namespace"),
    "leak detection": (["gcc"], "printf 'int main(void) { return 0; }' > a.c && "
                       "gcc -fsanitize=address a.c -o a && LSAN_OPTIONS= ./a",
                       "LeakSanitizer does not work under ptrace"),
}


def missing(needed):
    return [each for each in needed
            if not (os.path.exists(each) if each.startswith("/") else shutil.which(each))]


class Programs:
    uid = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-programs-")
        os.chmod(cls.folder, 0o755)
        cls.box = shutil.copy(os.path.join(sbxtest.BIN, "sbx-box"), cls.folder)
        os.mkdir(os.path.join(cls.folder, "here"))
        if cls.uid is not None:
            os.chown(os.path.join(cls.folder, "here"), cls.uid, cls.uid)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def become(self):
        if self.uid is not None:
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)

    def run_script(self, files, script):
        here = tempfile.mkdtemp(dir=os.path.join(self.folder, "here"))
        os.chmod(here, 0o755)
        for name, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(here, name)), exist_ok=True)
            with open(os.path.join(here, name), "w", encoding="utf-8") as stream:
                stream.write(text)
        if self.uid is not None:
            subprocess.run(["chown", "-R", str(self.uid), here], check=True)
        allow = [] if self.uid is None and os.getuid() == 0 else ["--allow-missing", "cgroup"]
        return subprocess.run([self.box, *LIMITS, *allow, "--", "sh", "-c", script], cwd=here,
                              preexec_fn=self.become, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=400, check=False)

    def skip_if_missing(self, name, needed):
        lacking = missing(needed)
        if not lacking:
            return False
        self.assertFalse(IN_DEPS & set(lacking), f"{name}: make deps installs {lacking}")
        print(f"\n  SKIPPED {name}: not installed: {', '.join(lacking)} ", end="")
        return True

    def test_programs_work(self):
        for name, (needed, files, script, last) in PROGRAMS.items():
            with self.subTest(name):
                if self.skip_if_missing(name, needed):
                    continue
                done = self.run_script(files, script)
                self.assertEqual(done.returncode, 0, (done.stdout[-500:], done.stderr[-1000:]))
                self.assertEqual((done.stdout.splitlines() or [""])[-1], last, done.stderr[-500:])

    def test_what_is_refused_says_so(self):
        for name, (needed, script, part) in REFUSED.items():
            with self.subTest(name):
                if self.skip_if_missing(name, needed):
                    continue
                done = self.run_script({}, script)
                self.assertNotEqual(done.returncode, 0, done.stdout)
                self.assertNotIn(done.returncode, (124, 125), done.stderr)
                self.assertIn(part, done.stdout + done.stderr)


class AsStarted(Programs, unittest.TestCase):
    pass


@unittest.skipIf(os.getuid() != 0, "the run above was as an ordinary user already")
class AsUser(Programs, unittest.TestCase):
    uid = USER


if __name__ == "__main__":
    unittest.main(verbosity=2)
