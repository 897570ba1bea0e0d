"""Repositories made to harm who fetches them: each costs one clear error, in bounds."""
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import time
import zlib

import sbxtest

MEMORY_KIB = 1600 << 10
SECONDS = 100  # on a machine with much else to do


# --- objects made by hand ---------------------------------------------------


def oid_of(kind, content):
    return hashlib.sha1(b"%s %d\0" % (kind, len(content)) + content).hexdigest()


def size_bytes(kind, size):
    """The head of an object in a pack."""
    out, left = kind << 4 | size & 15, size >> 4
    found = []
    while left:
        found.append(out | 128)
        out, left = left & 127, left >> 7
    return bytes(found + [out])


def varint(size):
    found = []
    while size > 127:
        found.append(size & 127 | 128)
        size >>= 7
    return bytes(found + [size])


def pack_of(parts):
    body = b"PACK" + struct.pack(">II", 2, len(parts)) + b"".join(parts)
    return body + hashlib.sha1(body).digest()


def whole(kind, content):
    number = {b"commit": 1, b"tree": 2, b"blob": 3}[kind]
    return size_bytes(number, len(content)) + zlib.compress(content)


def delta_bomb(base, size):
    """A blob of `size` bytes as a delta that copies all of `base` again and again."""
    assert len(base) == 0x10000 and size % len(base) == 0
    delta = varint(len(base)) + varint(size) + b"\x80" * (size // len(base))
    return (size_bytes(7, len(delta)) + bytes.fromhex(oid_of(b"blob", base)) +
            zlib.compress(delta, 9))


def oid_of_repeated(base, times):
    found = hashlib.sha1(b"blob %d\0" % (len(base) * times))
    for _ in range(times):
        found.update(base)
    return found.hexdigest()


def tree_of(entries):
    return b"".join(b"%s %s\0" % (mode, name) + bytes.fromhex(oid) for mode, name, oid in entries)


def commit_of(tree):
    return (f"tree {tree}\nauthor x <x@x> 1 +0000\ncommitter x <x@x> 1 +0000\n\nx\n").encode()


class Hostile(sbxtest.Case):
    needs_broker = False

    def setUp(self):
        self.place = os.path.join(self.folder, "at-" + self.id().rsplit(".", 1)[-1])
        os.makedirs(self.place)
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        secret = sbxtest.Repo(os.path.join(self.place, "outside", "secret"))
        secret.commit({"secret": "sesame\n"})
        self.secret = secret

    def git(self, path, *arguments, stdin=None):
        return subprocess.run(["git", "-C", path, *arguments], input=stdin, check=True,
                              env=sbxtest.clean_env(self.folder), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout

    def bare(self, name="repo.git"):
        path = os.path.join(self.place, "allowed", name)
        os.makedirs(path)
        self.git(path, "init", "-q", "--bare", "-b", "main")
        return path

    def set_main(self, path, oid):
        with open(os.path.join(path, "refs/heads/main"), "w", encoding="ascii") as out:
            out.write(oid + "\n")

    def write_object(self, path, oid, raw):
        place = os.path.join(path, "objects", oid[:2])
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, oid[2:]), "wb") as out:
            out.write(raw)

    def loose(self, path, kind, content):
        oid = oid_of(kind, content)
        self.write_object(path, oid, zlib.compress(b"%s %d\0" % (kind, len(content)) + content))
        return oid

    def commit_tree(self, path, tree):
        self.set_main(path, self.loose(path, b"commit", commit_of(tree)))

    def add_pack(self, path, parts):
        self.git(path, "index-pack", "--stdin",
                 stdin=pack_of(parts))

    def bundle(self, parts, oid, name="repo.bundle"):
        path = os.path.join(self.place, "allowed", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(b"# v2 git bundle\n" + oid.encode() + b" refs/heads/main\n\n" +
                      pack_of(parts))
        return path

    def run_job(self, repo, commit="main", steps=(["true"],), **settings):
        job = {"v": 1, "id": "hostile", "source": {"repo": repo, "commit": commit},
               "steps": sbxtest.steps_of(steps), "max_attempts": 1}
        path = os.path.join(self.place, "job.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(sbxtest.json_of(job))
        sets = {"sources.allow": os.path.join(self.place, "allowed") + "/",
                "sources.max_repo": "64m", "sources.max_files": "20000", **settings}
        started = time.monotonic()
        done = self.program("sbx-run", "--json", "--state-dir", os.path.join(self.place, "state"),
                            *(word for name, value in sets.items()
                              for word in ("--set", f"{name}={value}")), path, timeout=150)
        self.assertLess(time.monotonic() - started, SECONDS)
        self.assertTrue(done.stdout, done.stderr)
        self.assertNotIn("sesame", done.stdout + done.stderr)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.assertLess(used, MEMORY_KIB, "KiB of memory")
        return json.loads(done.stdout)

    def assert_refused(self, code, repo, commit="main", **settings):
        result = self.run_job(repo, commit, **settings)
        self.assert_verdict(result, "rejected", code)
        self.assertGreater(len(result["reason"]["message"]), 10)
        # Nothing is left that another fetch would stumble over.
        self.assertEqual(os.listdir(os.path.join(self.place, "state/store/tmp")), [])
        return result

    # --- damage -------------------------------------------------------------

    def test_an_object_that_is_not_what_its_name_says(self):
        repo = self.bare()
        oid = oid_of(b"blob", b"good\n")
        self.write_object(repo, oid, zlib.compress(b"blob 4\0bad\n"))
        self.commit_tree(repo, self.loose(repo, b"tree", tree_of([(b"100644", b"a", oid)])))
        self.assert_refused("source.corrupt", repo)

    def test_a_tree_without_its_blob(self):
        repo = self.bare()
        tree = self.loose(repo, b"tree", tree_of([(b"100644", b"a", "12" * 20)]))
        self.commit_tree(repo, tree)
        self.assertIn("12" * 20, self.assert_refused("source.corrupt", repo)["reason"]["message"])

    def test_a_commit_that_is_a_blob(self):
        repo = self.bare()
        self.set_main(repo, self.loose(repo, b"blob", b"x"))
        self.assert_refused("source.no_commit", repo)

    def test_a_tree_that_holds_itself_as_a_file(self):
        repo = self.bare()
        inner = self.loose(repo, b"tree", b"")
        self.commit_tree(repo, self.loose(repo, b"tree", tree_of([(b"100644", b"a", inner)])))
        self.assert_refused("source.corrupt", repo)

    def test_a_tree_that_is_no_tree(self):
        for number, content in enumerate((b"100644 a", b"100644 a\0" + b"x" * 19, b"\0" * 64,
                                          b"100644 \0" + b"x" * 20, b"x" * 1000)):
            repo = self.bare(f"{number}.git")
            self.commit_tree(repo, self.loose(repo, b"tree", content))
            self.assert_refused("source.corrupt", repo)

    def test_names_that_no_file_may_have(self):
        for number, name in enumerate((b"..", b".", b".git", b".GIT", b"git~1", b"a/b",
                                       b".g\xe2\x80\x8cit", b".git::$INDEX_ALLOCATION")):
            repo = self.bare(f"{number}.git")
            blob = self.loose(repo, b"blob", b"x")
            self.commit_tree(repo, self.loose(repo, b"tree", tree_of([(b"100644", name, blob)])))
            self.assert_refused("source.corrupt", repo)

    def test_a_pack_that_is_cut_or_bent(self):
        blob = os.urandom(5000)
        tree = tree_of([(b"100644", b"a", oid_of(b"blob", blob))])
        commit = commit_of(oid_of(b"tree", tree))
        parts = [whole(b"blob", blob), whole(b"tree", tree), whole(b"commit", commit)]
        for number, harm in enumerate((lambda data: data[:3000], lambda data: data[:-1],
                                       lambda data: data[:100] + b"\0" + data[101:],
                                       lambda data: data[:8] + b"\xff" * 4 + data[12:])):
            repo = self.bare(f"{number}.git")
            self.add_pack(repo, parts)
            [pack] = [name for name in os.listdir(os.path.join(repo, "objects/pack"))
                      if name.endswith(".pack")]
            path = os.path.join(repo, "objects/pack", pack)
            with open(path, "rb") as stream:
                data = stream.read()
            os.chmod(path, 0o644)
            with open(path, "wb") as out:
                out.write(harm(data))
            self.set_main(repo, oid_of(b"commit", commit))
            self.assert_refused("source.corrupt", repo)

    # --- elsewhere ----------------------------------------------------------

    def test_alternates(self):
        repo = self.bare()
        os.makedirs(os.path.join(repo, "objects/info"), exist_ok=True)
        with open(os.path.join(repo, "objects/info/alternates"), "w", encoding="utf-8") as out:
            out.write(os.path.join(self.secret.path, ".git/objects") + "\n")
        self.set_main(repo, self.secret.head())
        self.assert_refused("source.unsupported", repo)

    def test_links_to_objects_and_refs_outside(self):
        outside = os.path.join(self.secret.path, ".git")
        for name in ("objects", "refs", "packed-refs", "HEAD"):
            repo = self.bare(f"{name}.git")
            if os.path.isdir(os.path.join(repo, name)):
                shutil.rmtree(os.path.join(repo, name))
            elif os.path.exists(os.path.join(repo, name)):
                os.unlink(os.path.join(repo, name))
            os.symlink(os.path.join(outside, name), os.path.join(repo, name))
            result = self.run_job(repo, "HEAD" if name == "HEAD" else "main")
            self.assertIn(result["verdict"], ("rejected", "error"), name)
            self.assertTrue(result["reason"]["code"].startswith("source."), result["reason"])
        linked = self.bare("linked.git")
        shutil.rmtree(os.path.join(linked, "objects/pack"))
        os.symlink(os.path.join(outside, "objects/pack"), os.path.join(linked, "objects/pack"))
        self.set_main(linked, self.secret.head())
        self.assert_refused("source.unsupported", linked)

    def test_a_git_file_that_leads_elsewhere(self):
        for number, text in enumerate((os.path.join(self.secret.path, ".git"),
                                       "../../outside/secret/.git", "/proc/self/root/etc")):
            work = os.path.join(self.place, "allowed", f"work{number}")
            os.makedirs(work)
            with open(os.path.join(work, ".git"), "w", encoding="utf-8") as out:
                out.write(f"gitdir: {text}\n")
            result = self.run_job(work)
            self.assertIn(result["verdict"], ("rejected", "error"))
            self.assertTrue(result["reason"]["code"].startswith("source."), result["reason"])

    def test_a_configuration_that_would_run_something(self):
        repo = self.bare()
        mark = os.path.join(self.place, "ran")
        for key in ("core.fsmonitor", "core.sshCommand", "uploadpack.packObjectsHook",
                    "filter.x.smudge", "core.gitProxy"):
            self.git(repo, "config", key, f"touch {mark}")
        self.git(repo, "config", "include.path", "/etc/passwd")
        for name in ("post-checkout", "pre-receive", "reference-transaction"):
            path = os.path.join(repo, "hooks", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as out:
                out.write(f"#!/bin/sh\ntouch {mark}\n")
            os.chmod(path, 0o755)
        blob = self.loose(repo, b"blob", b"* filter=x ident\n")
        modules = self.loose(repo, b"blob", b"[submodule \"x\"]\n\tpath = sub\n"
                             b"\turl = ext::sh -c touch% " + mark.encode() + b"\n"
                             b"\tupdate = !touch " + mark.encode() + b"\n")
        tree = tree_of([(b"100644", b".gitattributes", blob), (b"100644", b".gitmodules", modules),
                        (b"160000", b"sub", "34" * 20)])
        self.commit_tree(repo, self.loose(repo, b"tree", tree))
        result = self.run_job(repo, steps=[["sh", "-c", "test -d sub && test -z \"$(ls sub)\""]])
        self.assert_verdict(result, "passed")
        self.assertFalse(os.path.exists(mark))

    # --- too much -----------------------------------------------------------

    def bomb(self, size):
        base = bytes(range(256)) * 256
        blob = oid_of_repeated(base, size // len(base))
        tree = tree_of([(b"100644", b"bomb", blob)])
        commit = commit_of(oid_of(b"tree", tree))
        return ([whole(b"blob", base), delta_bomb(base, size), whole(b"tree", tree),
                 whole(b"commit", commit)], oid_of(b"commit", commit))

    def test_a_delta_that_becomes_a_gigabyte(self):
        parts, commit = self.bomb(1 << 30)
        self.assertLess(sum(map(len, parts)), 100000)
        repo = self.bare()
        self.add_pack(repo, parts)
        self.set_main(repo, commit)
        self.assert_refused("source.limit", repo)

    def test_a_bundle_with_a_delta_that_becomes_gigabytes(self):
        for size, code in ((1 << 30, "source.limit"), (3 << 30, "source.corrupt")):
            parts, commit = self.bomb(size)
            self.assert_refused(code, self.bundle(parts, commit))

    def test_a_loose_object_that_becomes_a_gigabyte(self):
        for number, (declared, code) in enumerate(((1 << 30, "source.limit"),
                                                   (10, "source.corrupt"))):
            repo = self.bare(f"{number}.git")
            packer = zlib.compressobj(9)
            raw = packer.compress(b"blob %d\0" % declared)
            for _ in range(1024):
                raw += packer.compress(bytes(1 << 20))
            oid = f"{number}7" * 20
            self.write_object(repo, oid, raw + packer.flush())
            self.commit_tree(repo, self.loose(repo, b"tree", tree_of([(b"100644", b"a", oid)])))
            self.assert_refused(code, repo)

    def test_more_files_than_a_checkout_may_have(self):
        repo = self.bare()
        blob = self.loose(repo, b"blob", b"x")
        entries = [(b"100644", b"%06d" % number, blob) for number in range(100000)]
        self.commit_tree(repo, self.loose(repo, b"tree", tree_of(entries)))
        self.assert_refused("source.limit", repo)

    def test_trees_of_trees(self):
        """Ten of each in each other: ten billion files of a dozen objects."""
        repo = self.bare()
        oid, mode = self.loose(repo, b"blob", b"x"), b"100644"
        for _ in range(10):
            oid = self.loose(repo, b"tree", tree_of([(mode, b"%d" % n, oid) for n in range(10)]))
            mode = b"40000"
        self.commit_tree(repo, oid)
        self.assert_refused("source.limit", repo)

    def test_directories_without_end(self):
        for number, depth in enumerate((300, 20000)):
            repo = self.bare(f"{number}.git")
            content, parts = b"x", [whole(b"blob", b"x")]
            oid, mode = oid_of(b"blob", content), b"100644"
            for _ in range(depth):
                content = tree_of([(mode, b"d", oid)])
                parts.append(whole(b"tree", content))
                oid, mode = oid_of(b"tree", content), b"40000"
            self.add_pack(repo, parts)
            self.commit_tree(repo, oid)
            self.assert_refused("source.limit", repo)

    def test_a_tree_larger_than_any(self):
        repo = self.bare()
        self.commit_tree(repo, self.loose(repo, b"tree", b"100644 a\0" * (8 << 20)))
        self.assert_refused("source.limit", repo)

    # --- names --------------------------------------------------------------

    def test_commits_that_no_ref_is(self):
        repo = self.bare()
        self.commit_tree(repo, self.loose(repo, b"tree", b""))
        for name in ("../../outside", "refs/heads/../../config", "main^{tree}", "main:x",
                     "main@{0}", "--all", "-x", "main..main", "config", "objects", "a" * 1024,
                     "refs/heads/" + "a" * 200 + "/" + "b" * 300, ".", "@", "*", "main~1"):
            self.assert_refused("source.no_commit", repo, name)

    def test_a_name_is_never_cut(self):
        """What a longer name starts with is another ref."""
        repo = self.bare()
        self.commit_tree(repo, self.loose(repo, b"tree", b""))
        long = "a" * 150 + "/" + "b" * 150
        path = os.path.join(repo, "refs/heads", long[:255 - len("refs/heads/")])
        os.makedirs(os.path.dirname(path))
        shutil.copy(os.path.join(repo, "refs/heads/main"), path)
        self.assert_refused("source.no_commit", repo, "refs/heads/" + long)
        self.assert_verdict(self.run_job(repo, "refs/heads/" + long[:255 - len("refs/heads/")]),
                            "passed")

    def test_refs_that_are_none(self):
        repo = self.bare()
        self.commit_tree(repo, self.loose(repo, b"tree", b""))
        heads = os.path.join(repo, "refs/heads")
        os.mkfifo(os.path.join(heads, "fifo"))
        os.symlink("/etc/passwd", os.path.join(heads, "link"))
        for name, text in (("loop", "ref: refs/heads/loop\n"), ("text", "sesame and more\n"),
                           ("up", "ref: ../../outside/secret/.git/HEAD\n"),
                           ("long", "0" * 100000), ("nul", "\0" * 41), ("gone", "56" * 20 + "\n")):
            with open(os.path.join(heads, name), "w", encoding="ascii") as out:
                out.write(text)
        for name in ("fifo", "link", "loop", "text", "up", "long", "nul", "gone"):
            result = self.run_job(repo, name)
            self.assertIn(result["verdict"], ("rejected", "error"), name)
            self.assertTrue(result["reason"]["code"].startswith("source."), (name, result))
        with open(os.path.join(repo, "packed-refs"), "wb") as out:
            out.write(b"# pack-refs\n" + b"\xff\n" * 1000 + b"^zz\n" + b"0" * 40 +
                      b" refs/heads/z\n")
        self.assert_refused("source.corrupt", repo, "z")
        self.assert_verdict(self.run_job(repo), "passed")


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
