"""contrib/roots/mkroot: roots from archives that lie, from busybox, and from Debian."""
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

import sbxtest

MKROOT = os.path.join(sbxtest.ROOT, "contrib/roots/mkroot")
SECRET = "the host's secret\n"


def member(name, kind="file", data=b"", **more):
    """One entry of a tar archive, with any field as it is wanted."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if kind == "dir" else 0o644
    info.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE,
                 "hard": tarfile.LNKTYPE, "char": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}[kind]
    info.size = len(data) if kind == "file" else 0
    for field, value in more.items():
        setattr(info, field, value)
    return info, data


def tar(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """An OCI layout, put together by hand so that any part of it can be wrong."""

    def __init__(self, *layers, pack=gzip.compress, config=None):
        self.blobs = {}
        packed = [pack(layer) for layer in layers]
        config = {"architecture": "amd64", "os": "linux",
                  "config": config or {"Env": ["A=b"]},
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]}}
        self.manifest = {
            "schemaVersion": 2, "config": self.blob(json.dumps(config).encode(), "config"),
            "layers": [self.blob(each, "layer") for each in packed]}
        self.index = {"schemaVersion": 2, "manifests": []}

    def blob(self, data, kind):
        kinds = {"config": "application/vnd.oci.image.config.v1+json",
                 "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
                 "manifest": "application/vnd.oci.image.manifest.v1+json"}
        self.blobs[digest_of(data)] = data
        return {"mediaType": kinds[kind], "digest": digest_of(data), "size": len(data)}

    def write(self, path):
        descriptor = self.blob(json.dumps(self.manifest).encode(), "manifest")
        if not self.index["manifests"]:
            self.index["manifests"] = [descriptor]
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
                 "index.json": json.dumps(self.index).encode()}
        files.update({f"blobs/sha256/{name[7:]}": data for name, data in self.blobs.items()})
        with open(path, "wb") as stream:
            stream.write(tar(*(member(name, data=data) for name, data in files.items())))
        return path


class Saved:
    """What docker save wrote for years: images by tag, layers by id, the same one as a link."""

    def __init__(self):
        self.files = {}
        self.links = {}
        self.images = []

    def add(self, tag, *layers, config=None, **changes):
        text = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {},
                           "rootfs": {"type": "layers",
                                      "diff_ids": [digest_of(each) for each in layers]}}).encode()
        name = digest_of(text)[7:] + ".json"
        self.files[name] = text
        names = []
        for number, layer in enumerate(layers):
            path = f"{digest_of((tag + str(number)).encode())[7:]}/layer.tar"
            before = [each for each, data in self.files.items() if data == layer]
            if before:
                self.links[path] = "../" + before[0]
            else:
                self.files[path] = layer
            names.append(path)
        self.images.append({"Config": name, "RepoTags": [tag], "Layers": names, **changes})
        return self

    def write(self, path):
        files = {**self.files, "manifest.json": json.dumps(self.images).encode()}
        with open(path, "wb") as stream:
            stream.write(tar(*(member(name, "link", linkname=to)
                               for name, to in self.links.items()),
                             *(member(name, data=data) for name, data in files.items())))
        return path


class Rooted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sbx-mkroot-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.chmod(self.folder, 0o755)
        self.roots = os.path.join(self.folder, "roots")
        self.secret = os.path.join(self.folder, "secret")
        with open(self.secret, "w", encoding="utf-8") as stream:
            stream.write(SECRET)

    def mkroot(self, *arguments, timeout=300):
        return subprocess.run([MKROOT, "--roots-dir", self.roots, *arguments], text=True,
                              capture_output=True, timeout=timeout, check=False)

    def record(self, name):
        with open(os.path.join(self.roots, name + ".json"), encoding="utf-8") as stream:
            return json.load(stream)

    def made(self, *arguments):
        done = self.mkroot(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return os.path.join(self.roots, arguments[1])

    def assert_refused(self, part, *arguments):
        done = self.mkroot(*arguments)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(part, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assert_clean()

    def assert_clean(self):
        """Nothing half-made is there, and the host is as it was."""
        self.assertEqual(os.listdir(self.roots), [])
        with open(self.secret, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), SECRET)
        self.assertEqual(sorted(os.listdir(self.folder)),
                         sorted({"roots", "secret", *os.listdir(self.folder)} & {
                             "roots", "secret", "image.tar", "root.tar"}))

    def file(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(data)
        return path

    def image(self, *layers, **options):
        return Image(*(tar(*layer) for layer in layers), **options).write(
            os.path.join(self.folder, "image.tar"))

    def tree(self, path):
        """Relative name to what is there: text, '-> target' or None for a directory."""
        found = {}
        for folder, folders, names in os.walk(path):
            for name in folders + names:
                full = os.path.join(folder, name)
                rel = os.path.relpath(full, path)
                if os.path.islink(full):
                    found[rel] = "-> " + os.readlink(full)
                elif os.path.isdir(full):
                    found[rel] = None
                else:
                    with open(full, encoding="utf-8") as stream:
                        found[rel] = stream.read()
        return found


class Honest(Rooted):
    def test_layers_and_whiteouts(self):
        root = self.made("oci", "app", self.image(
            [member("bin", "link", linkname="usr/bin"), member("usr/bin", "dir"),
             member("usr/bin/old", data=b"old"), member("usr/bin/kept", data=b"kept"),
             member("opt/a/b/c", data=b"c"), member("opt/a/d", data=b"d"),
             member("srv/x/y", data=b"y"), member("usr/bin/both", data=b"1")],
            [member("usr/bin/.wh.old"), member("bin/new", data=b"new"),
             member("usr/bin/same", "hard", linkname="usr/bin/kept"),
             member("opt/a/e", data=b"e"), member("opt/a/.wh..wh..opq"),
             member("srv/.wh.x"), member("srv/x/z", data=b"z"),
             member("usr/bin/both", data=b"2"), member("usr/bin/.wh.both")]))
        self.assertEqual(self.tree(root), {
            "bin": "-> usr/bin", "usr": None, "usr/bin": None, "usr/bin/kept": "kept",
            "usr/bin/new": "new", "usr/bin/same": "kept", "opt": None, "opt/a": None,
            "opt/a/e": "e", "srv": None, "srv/x": None, "srv/x/z": "z", "usr/bin/both": "2"})

    def test_what_is_made_is_ours_and_plain(self):
        if os.getuid() == 0:
            os.umask(0)
            self.addCleanup(os.umask, 0o022)
        root = self.made("oci", "app", self.image(
            [member("usr", "dir", mode=0o777, uid=1234, gid=1234),
             member("usr/su", data=b"x", mode=0o6755, uid=1234),
             member("usr/open", data=b"x", mode=0o666),
             member("usr/secret", data=b"x", mode=0o600), member("usr/null", "char"),
             member("usr/pipe", "fifo"), member("etc/shadow", data=b"root:x"),
             member("dev/console", data=b"x"), member("tmp/left", data=b"x")]))
        modes = {os.path.relpath(os.path.join(folder, name), root):
                 os.lstat(os.path.join(folder, name))
                 for folder, folders, names in os.walk(root) for name in folders + names}
        self.assertEqual({name: stat.S_IMODE(each.st_mode) for name, each in modes.items()},
                         {"usr": 0o755, "usr/su": 0o755, "usr/open": 0o644, "usr/secret": 0o644,
                          "etc": 0o755, "dev": 0o755, "tmp": 0o755})
        self.assertEqual({each.st_uid for each in modes.values()}, {os.getuid()})

    def test_an_archive_may_be_compressed_as_a_whole(self):
        image = self.image([member("usr/a", data=b"a" * 70000)])
        with open(image, "rb") as stream:
            packed = self.file("root.tar", gzip.compress(stream.read()))
        self.made("oci", "one", packed)
        self.assertEqual(self.mkroot("verify").returncode, 0)

    def test_the_same_image_is_the_same_root(self):
        image = self.image([member("usr/a", data=b"a", mtime=1), member("usr/b", data=b"b")])
        self.made("oci", "one", image)
        self.made("oci", "two", image)
        self.made("tar", "three", self.file("root.tar", tar(
            member("usr/b", data=b"b", mtime=5), member("usr/a", data=b"a"))))
        records = [self.record(name) for name in ("one", "two", "three")]
        self.assertEqual(len({each["digest"] for each in records}), 1)
        self.assertEqual([each["env"] for each in records], [["A=b"], ["A=b"], []])

    def test_an_archive_of_docker_save(self):
        base = tar(member("usr/base", data=b"base"), member("usr/old", data=b"old"))
        other = tar(member("usr/other", data=b"other"), member("usr/.wh.old"))
        path = Saved().add("app:1", base, config={"Env": ["A=1"], "WorkingDir": "/app"}).add(
            "app:2", base, other, base, config={"Env": ["A=2"]}).write(
                os.path.join(self.folder, "image.tar"))
        self.assert_refused("2 images", "oci", "app", path)
        self.assert_refused("0 images", "oci", "app", path, "--ref", "app:3")
        self.assertEqual(self.tree(self.made("oci", "one", path, "--ref", "app:1")),
                         {"usr": None, "usr/base": "base", "usr/old": "old"})
        self.assertEqual(self.tree(self.made("oci", "two", path, "--ref", "app:2")),
                         {"usr": None, "usr/base": "base", "usr/old": "old",
                          "usr/other": "other"})
        self.assertEqual(self.record("one")["env"], ["A=1", "SBX_WORKING_DIR=/app"])
        self.assertEqual(self.record("two")["env"], ["A=2"])

    def test_variables_are_beside_the_root(self):
        image = Image(tar(member("usr/a", data=b"a")), config={
            "Env": ["PATH=/app/bin:/bin", "TWICE=1", "LINES=a\nb", "TWICE=2", "SBX_JOB=x", "odd",
                    "=x", "a.b=c", 7], "WorkingDir": "/srv/app", "Cmd": ["true"]})
        self.made("oci", "app", image.write(os.path.join(self.folder, "image.tar")))
        path = os.path.join(self.roots, "app.env")
        with open(path, "rb") as stream:
            self.assertEqual(stream.read(), b"PATH=/app/bin:/bin\0TWICE=2\0LINES=a\nb\0"
                             b"SBX_WORKING_DIR=/srv/app\0")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o644)
        self.assertEqual(self.mkroot("verify").returncode, 0)
        with open(path, "ab") as stream:
            stream.write(b"LD_PRELOAD=x\0")
        self.assertEqual(self.mkroot("verify").returncode, 1)
        self.assertIn("is no name", self.mkroot("busybox", "app.env").stderr)
        self.assertEqual(self.mkroot("remove", "app").returncode, 0)
        self.assert_clean()

    def test_wrong_usage_is_answered_with_the_right_one(self):
        done = subprocess.run([MKROOT, "--bogus"], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith("usage: mkroot [--roots-dir DIR]"), done.stderr)

    def test_verify_list_and_remove(self):
        root = self.made("tar", "one", self.file("root.tar", tar(member("usr/a", data=b"a"))))
        self.assertIn("one ", self.mkroot("list").stdout)
        self.assertEqual(self.mkroot("verify").returncode, 0)
        with open(os.path.join(root, "usr/a"), "w", encoding="utf-8") as stream:
            stream.write("b")
        done = self.mkroot("verify", "one")
        self.assertEqual((done.returncode, done.stdout), (1, "one: CHANGED since it was made\n"))
        self.assertIn("there already", self.mkroot("busybox", "one").stderr)
        self.assertEqual(self.mkroot("remove", "one").returncode, 0)
        self.assert_clean()
        for name in ("../x", "A", "", "host", "x.json"):
            self.assertIn("is no name", self.mkroot("busybox", name).stderr)

    def test_busybox_runs_in_a_box(self):
        root = self.made("busybox", "bb")
        done = subprocess.run(
            [os.path.join(sbxtest.BIN, "sbx-box"), "--allow-missing", "cgroup", "--empty",
             "--root", root, "--", "sh", "-c", "echo hi > x && cat x && ls /usr/bin | wc -l"],
            capture_output=True, text=True, check=False, cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout.split()[0]), (0, "hi"), done.stderr)
        self.assertGreater(int(done.stdout.split()[1]), 100)

    def umoci(self):
        """A layout with the image "one": of three layers, with variables."""
        layout = os.path.join(self.folder, "layout")
        bundle = os.path.join(self.folder, "bundle")
        for argv in (["init", "--layout", layout], ["new", "--image", layout + ":one"],
                     ["unpack", "--rootless", "--image", layout + ":one", bundle]):
            subprocess.run(["umoci", *argv], check=True, capture_output=True)
        os.makedirs(os.path.join(bundle, "rootfs/usr/share"))
        with open(os.path.join(bundle, "rootfs/usr/share/mark"), "w", encoding="utf-8") as stream:
            stream.write("first")
        subprocess.run(["umoci", "repack", "--image", layout + ":one", bundle], check=True,
                       capture_output=True)
        subprocess.run(["umoci", "insert", "--rootless", "--image", layout + ":one", self.secret,
                        "/usr/share/second"], check=True, capture_output=True)
        subprocess.run(["umoci", "insert", "--rootless", "--whiteout", "--image",
                        layout + ":one", "/usr/share/mark"], check=True, capture_output=True)
        subprocess.run(["umoci", "config", "--image", layout + ":one", "--config.env", "A=b c",
                        "--config.workingdir", "/srv"], check=True, capture_output=True)
        return layout

    def assert_umoci(self, *arguments):
        root = self.made(*arguments)
        self.assertEqual(self.tree(root), {"usr": None, "usr/share": None,
                                           "usr/share/second": SECRET})
        self.assertEqual(self.record(arguments[1])["env"][-2:], ["A=b c", "SBX_WORKING_DIR=/srv"])

    @unittest.skipIf(shutil.which("umoci") is None, "needs the package umoci")
    def test_an_image_that_umoci_made(self):
        self.assert_umoci("oci", "app", self.umoci())

    @unittest.skipIf(shutil.which("umoci") is None or shutil.which("skopeo") is None,
                     "needs the packages umoci and skopeo")
    def test_the_same_as_skopeo_writes_it(self):
        """In the way of docker save, and as an archive of the OCI."""
        layout = self.umoci()
        for kind in ("docker-archive", "oci-archive"):
            path = os.path.join(self.folder, kind)
            subprocess.run(["skopeo", "--insecure-policy", "--tmpdir", self.folder, "copy",
                            f"oci:{layout}:one", f"{kind}:{path}:app:1"], check=True,
                           capture_output=True)
            self.assert_umoci("oci", kind, path, "--ref", "docker.io/library/app:1"
                              if kind == "docker-archive" else "app:1")
        digests = {self.record(kind)["digest"] for kind in ("docker-archive", "oci-archive")}
        self.assertEqual(len(digests), 1)


class Debian(Rooted):
    """Real packages from a mirror, within what such a mirror takes on a good day."""

    PROBE = "http://deb.debian.org/debian/dists/bookworm/InRelease"
    MOST_S, ATTACKS_S = 400, 120  # all of it; what the attacks may take of that
    until = 0
    took = {}

    @classmethod
    def tearDownClass(cls):
        for what, seconds in cls.took.items():
            print(f"{what}: {seconds:.0f} s")

    def need_mirror(self):
        """By apt's own means: whatever proxy it was told to use is used."""
        if shutil.which("mmdebstrap") is None:
            self.skipTest("mmdebstrap is missing: apt-get install mmdebstrap")
        try:
            done = subprocess.run(["/usr/lib/apt/apt-helper", "download-file", self.PROBE,
                                   os.path.join(self.folder, "probe")], timeout=30,
                                  capture_output=True, text=True, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.skipTest(f"no Debian mirror can be reached by apt: {error}")
        if done.returncode:
            self.skipTest(f"no Debian mirror can be reached by apt: {done.stderr.strip()[-200:]}")

    def left_s(self):
        return max(1, self.until - time.monotonic())

    def too_slow(self):
        self.skipTest(f"the mirror, or this machine, is too slow: more than {self.MOST_S} s")

    def debian(self, name, *options):
        """Its status and what it said; ended with all that it started when time is up."""
        argv = [MKROOT, "--roots-dir", self.roots, "debian", name, "--include",
                "python3-minimal", *options]
        work = os.path.join(self.folder, "tmp")
        os.makedirs(work, exist_ok=True)
        os.chmod(work, 0o1777)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "TMPDIR": work},
                              start_new_session=True) as process:
            try:
                said = process.communicate(timeout=self.left_s())[0]
                return process.returncode, said
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)  # it takes away what it has begun
                try:
                    process.communicate(timeout=60)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        self.too_slow()
        return None

    def made_of_packages(self, name, *options):
        started = time.monotonic()
        status, said = self.debian(name, *options)
        if status != 0 and re.search("Temporary failure|Could not (connect|resolve)|Unable to",
                                     said):
            self.skipTest(f"the Debian mirror failed: {said.strip()[-200:]}")
        self.assertEqual(status, 0, said)
        self.took[f"a root of Debian packages {' '.join(options)}"] = time.monotonic() - started
        return os.path.join(self.roots, name)

    def test_packages_make_a_root_and_the_same_ones_the_same(self):
        self.need_mirror()
        self.until = time.monotonic() + self.MOST_S
        root = self.made_of_packages("one")
        record = self.record("one")
        names = [each[0] for each in record["source"]["packages"]]
        self.assertIn("python3-minimal", names)
        self.assertIn("libc6", names)
        self.assertEqual(subprocess.run(["find", root, "-perm", "/6022", "!", "-type", "l"],
                                        capture_output=True, check=True).stdout, b"")
        # What mmdebstrap was told for itself stays out.
        self.assertEqual(subprocess.run(["find", root, "-name", "*mmdebstrap*"],
                                        capture_output=True, check=True).stdout, b"")
        done = subprocess.run(
            [os.path.join(sbxtest.BIN, "sbx-box"), "--allow-missing", "cgroup", "--empty",
             "--root", root, "--", "sh", "-c", "perl -e 'print 1+1' && python3 -c 'print(3)' && "
             "awk 'BEGIN {print 4}' && id -un && dpkg -l libc6 | grep -c ^ii"],
            capture_output=True, text=True, check=False, cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout.split()), (0, ["23", "4", "sbx", "1"]),
                         done.stderr)
        self.attack(root)
        # Now the packages are there: no network is needed, and nothing else comes of them.
        self.made_of_packages("two", "--offline")
        self.assertEqual(self.record("two")["digest"], record["digest"])

    def attack(self, root):
        """Every attack must lose in it too."""
        if self.left_s() < self.ATTACKS_S:
            self.too_slow()
        started = time.monotonic()
        argv = ["/usr/bin/python3", os.path.join(sbxtest.ROOT, "tests/attack/test_attacks.py"),
                "OnAnotherRootAsStarted", "OnAnotherRootAsUser"]
        done = subprocess.run(argv, text=True, check=False, capture_output=True,
                              env={**os.environ, "SBX_TEST_ROOT": root})
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        self.assertRegex(done.stderr, r"Ran [1-9][0-9]+ tests")
        self.took["the attacks in it"] = time.monotonic() - started


class Hostile(Rooted):
    """Each archive tries one way out; none may touch what is outside."""

    def test_names_that_lead_out(self):
        for name, entries in {
                "dots": [member("../secret", data=b"x")],
                "dots inside": [member("usr/../../secret", data=b"x")],
                "hard link out": [member("usr/x", "hard", linkname="../secret")],
                "hard link to nothing": [member("usr/x", "hard", linkname="etc/passwd")],
                "hard link in place of its target": [
                    member("usr/x/a", data=b"x"), member("usr/x", "hard", linkname="usr/x/a")],
                "whiteout of ..": [member("usr/.wh...", data=b"")],
                "whiteout of .": [member("usr/.wh..", data=b"")],
                "no end of links": [member("a", "link", linkname="b"),
                                    member("b", "link", linkname="a"), member("a/x", data=b"x")],
                "a file in the way": [member("usr", data=b"x"), member("usr/x", data=b"x")],
                "usr is a link": [member("usr", "link", linkname="/etc")],
                "too long": [member("/".join(["d" * 200] * 25), data=b"x")]}.items():
            with self.subTest(name):
                self.assert_refused("", "oci", "app", self.image(entries))

    def test_links_that_lead_out_stay_inside(self):
        nowhere = self.file("root.tar", tar(member("usr/a", "link", linkname="")))
        self.assert_refused("a link to nothing", "tar", "app", nowhere)
        there = f"/opt/sbx-mkroot-{os.getpid()}"
        root = self.made("oci", "app", self.image(
            [member("usr", "dir"), member("up", "link", linkname="../" * 12 + there[1:]),
             member("abs", "link", linkname=there), member("up/secret", data=b"mine"),
             member("abs/secret", data=b"mine"),
             member("file", "link", linkname=self.secret), member("file", data=b"mine")],
            [member("abs/.wh.secret"), member("up/.wh..wh..opq"),
             member("abs/via", "hard", linkname="file")]))
        self.assertEqual(self.tree(root + there), {"via": "mine"})
        self.assertFalse(os.path.lexists(there))
        with open(self.secret, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), SECRET)

    def test_a_hard_link_to_a_link_takes_the_link(self):
        root = self.made("oci", "app", self.image(
            [member("usr", "dir"), member("usr/link", "link", linkname=self.secret),
             member("usr/hard", "hard", linkname="usr/link")],
            [member("usr/hard", data=b"mine")]))
        self.assertEqual(self.tree(root), {"usr": None, "usr/link": "-> " + self.secret,
                                           "usr/hard": "mine"})
        with open(self.secret, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), SECRET)

    def test_too_much(self):
        big = self.image([member("usr/zeros", data=bytes(3 << 20))])
        self.assert_refused("too many bytes", "--max-bytes", "2m", "oci", "app", big)
        sparse = tarfile.TarInfo("usr/sparse")
        sparse.size = 1 << 50
        header = sparse.tobuf(tarfile.GNU_FORMAT)
        self.assert_refused("too many bytes", "tar", "app", self.file("root.tar", header))
        pax = tarfile.TarInfo("x")
        pax.type, pax.size = tarfile.XHDTYPE, 1 << 40
        self.assert_refused("a header of", "tar", "app",
                            self.file("root.tar", pax.tobuf(tarfile.GNU_FORMAT)))

    def test_headers_that_lead_back_end(self):
        """CVE-2019-20907, CVE-2025-8194: a reader that goes round in circles."""
        for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            info = tarfile.TarInfo("usr/x")
            info.type, info.size = kind, -1024
            data = tar(member("usr/a", data=b"a"))[:1024] + info.tobuf(tarfile.GNU_FORMAT) + \
                bytes(2048)
            with self.subTest(kind):
                path = self.file("root.tar", data)
                self.assertNotEqual(self.mkroot("tar", "app", path, timeout=20).returncode, 0)
                self.assertNotEqual(self.mkroot("oci", "app", path, timeout=20).returncode, 0)
                self.assert_clean()

    def test_what_comes_after_the_last_member(self):
        whole = tar(member("usr/a", data=b"a"))[:1024]
        rubbish = b"".join(bytes([number % 255 + 1]) for number in range(512))
        for end in (rubbish, rubbish[:100], rubbish + bytes(1024)):
            path = self.file("root.tar", whole + end)
            self.assert_refused("a header that is none", "tar", "app", path)
            self.assertNotEqual(self.mkroot("oci", "app", path).returncode, 0)

    def test_mutations(self):
        """Any archive is unpacked or refused: nothing else is raised, nothing lies outside."""
        sys.path.insert(0, os.path.join(sbxtest.ROOT, "contrib/roots"))
        from oci import Archive, variables  # pylint: disable=import-outside-toplevel
        from tree import Refused, Tree, digest  # pylint: disable=import-outside-toplevel
        lower = tar(member("bin", "link", linkname="usr/bin"), member("usr/bin", "dir"),
                    member("usr/bin/a", data=b"x" * 3000), member("n" * 120, data=b"l"),
                    member("out", "link", linkname=self.folder), member("out/x", data=b"1"),
                    member("usr/h", "hard", linkname="usr/bin/a"), member("dev/n", "char"))
        upper = tar(member("usr/.wh.h"), member("usr/bin/.wh..wh..opq"), member("bin/q", data=b"q"))
        images = []
        for each in (Image(lower, upper), Saved().add("a", lower).add("b", lower, upper, lower)):
            with open(each.write(os.path.join(self.folder, "image.tar")), "rb") as file:
                images.append(file.read())
        seed = 1 if os.environ.get("CI") else random.randrange(1 << 32)
        rnd = random.Random(seed)
        accepted = 0
        for number in range(400):
            as_image = number % 3 < 2
            data = bytearray(images[number % 3] if as_image else lower)
            for _ in range(rnd.choice((1, 2, 5, 30))):
                data[rnd.randrange(len(data))] = rnd.choice((0, 47, 46, 55, 255,
                                                             rnd.randrange(256)))
            for at in range(0, len(data) - 511, 512):  # most would fail at their sums alone
                if data[at + 257:at + 262] == b"ustar":
                    total = sum(data[at:at + 148]) + 256 + sum(data[at + 156:at + 512])
                    data[at + 148:at + 156] = b"%06o\0 " % total
            path, top = self.file("root.tar", bytes(data)), os.path.join(self.folder, "top")
            tree = Tree(top, 64 << 20)
            try:
                if as_image:
                    with Archive(path, 64 << 20) as archive:
                        image = archive.image("b" if number % 3 == 1 else None)
                        for layer in image.layers:
                            with archive.layer(layer) as file:
                                tree.unpack(file)
                        variables(image)
                else:
                    with open(path, "rb") as file:
                        tree.unpack(file)
                tree.finish()
                accepted += digest(top)[1] >= 0
            except Refused:
                pass
            except Exception as error:
                raise AssertionError(f"seed {seed}, mutation {number}") from error
            shutil.rmtree(top)
            self.assertEqual(sorted(os.listdir(self.folder)), ["image.tar", "root.tar", "secret"],
                             f"seed {seed}, mutation {number}")
        self.assertGreater(accepted, 10)

    def test_damaged_archives(self):
        good = tar(member("usr/a", data=b"a" * 5000))
        for name, data in {"cut": good[:2000], "noise": b"\x01" * 2048, "empty gzip": b"\x1f\x8b",
                           "cut gzip": gzip.compress(good)[:-4]}.items():
            with self.subTest(name):
                self.assert_refused("", "tar", "app", self.file("root.tar", data))

    def test_blobs_that_are_not_what_they_say(self):
        layer = tar(member("usr/a", data=b"a"))
        other = gzip.compress(tar(member("usr/evil", data=b"x")))

        def swapped(image):
            image.blobs[image.manifest["layers"][0]["digest"]] = other

        def another_diff(image):
            image.manifest["layers"][0] = image.blob(other, "layer")

        def path_as_digest(image):
            image.manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"

        def too_few(image):
            image.manifest["layers"] = []

        def deep(image):
            image.blobs[image.manifest["config"]["digest"]] = b"["

        def foreign(image):
            image.manifest["layers"][0]["mediaType"] = "application/x-sh"

        def bad_size(image):
            image.manifest["layers"][0]["size"] = -1

        def no_map(image):
            image.manifest["layers"] = ["x"]

        def two_images(image):
            image.index["manifests"] = [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
                 "digest": digest_of(b"x")}] * 2

        for change in (swapped, another_diff, path_as_digest, too_few, deep, foreign, bad_size,
                       no_map, two_images):
            with self.subTest(change.__name__):
                image = Image(layer)
                change(image)
                self.assert_refused("refused", "oci", "app",
                                    image.write(os.path.join(self.folder, "image.tar")))

    def test_archives_of_docker_save_that_lie(self):
        layer = tar(member("usr/a", data=b"a"))

        def swapped(saved):
            saved.files[saved.images[0]["Layers"][0]] = tar(member("usr/evil", data=b"x"))

        def another_config(saved):
            saved.files[saved.images[0]["Config"]] = b'{"rootfs": {"diff_ids": []}}'

        def unnamed_config(saved):
            saved.files["config.json"] = saved.files[saved.images[0]["Config"]]
            saved.images[0]["Config"] = "config.json"

        def leads_out(saved):
            saved.images[0]["Layers"] = ["../../../../../" + self.secret]

        def link_out(saved):
            saved.links["a"] = "../../../../../" + self.secret
            saved.images[0]["Layers"] = ["a"]

        def round_and_round(saved):
            saved.links.update({"a": "b", "b": "a"})
            saved.images[0]["Layers"] = ["a"]

        def no_names(saved):
            saved.images[0]["Layers"] = [{}]

        def too_many(saved):
            saved.images[0]["Layers"] *= 2

        def none(saved):
            saved.images.clear()

        def no_list(saved):
            saved.images = {"Config": 1}

        def no_map(saved):
            saved.images = [7]

        for change in (swapped, another_config, unnamed_config, leads_out, link_out,
                       round_and_round, no_names, too_many, none, no_list, no_map):
            with self.subTest(change.__name__):
                saved = Saved().add("app:1", layer)
                change(saved)
                self.assert_refused("refused", "oci", "app",
                                    saved.write(os.path.join(self.folder, "image.tar")))

    def test_variables_that_hurt(self):
        layer = tar(member("usr/a", data=b"a"))
        for name, env in {"too many": [f"A{i}=" for i in range(300)],
                          "too long": ["A=" + "x" * 70000], "no text": ["A=\ud800"]}.items():
            with self.subTest(name):
                image = Image(layer, config={"Env": env})
                self.assert_refused("variable", "oci", "app",
                                    image.write(os.path.join(self.folder, "image.tar")))

    def test_an_index_that_leads_in_circles_ends(self):
        image = Image(tar(member("usr/a", data=b"a")))
        inner = {"mediaType": "application/vnd.oci.image.index.v1+json"}
        for _ in range(10):
            data = json.dumps({"manifests": [inner]}).encode()
            image.blobs[digest_of(data)] = data
            inner = {"mediaType": "application/vnd.oci.image.index.v1+json",
                     "digest": digest_of(data), "size": len(data)}
        image.index["manifests"] = [inner]
        self.assert_refused("not an image", "oci", "app",
                            image.write(os.path.join(self.folder, "image.tar")))


if __name__ == "__main__":
    if shutil.which("busybox") is None:
        sys.exit("needs the package busybox-static")
    unittest.main(verbosity=2)
