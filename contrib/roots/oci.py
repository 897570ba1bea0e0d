"""Image archives: of the OCI, a directory or a tar file with index.json and blobs/, or of
"docker save", a tar file with manifest.json.

    with Archive("app.tar") as archive:
        image = archive.image(ref=None)          # manifest and configuration, checked
        for layer in image.layers:
            with archive.layer(layer) as file:   # uncompressed, its digest is the promised one
                tree.unpack(file)
    variables(image)                             # what steps are to have in their environment

Nothing in an archive is believed: each blob must have the size and the digest
by which it is named, before any of it is used, and what it unpacks to must have
the digest that the image's configuration promises. In an archive of docker save
only the configuration is named by its digest, and its layers by the configuration:
that is as good. JSON is bounded in size and depth of reference.
"""
import contextlib
import gzip
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field

from tree import CHUNK, Headers, Refused

MAX_JSON_BYTES = 4 << 20
MAX_LAYERS = 512
MAX_NESTING = 4
MAX_MEMBERS = 100_000
DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
INDEX = ("application/vnd.oci.image.index.v1+json",
         "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST = ("application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json")
LAYER = re.compile(r"application/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|"
                   r"docker\.image\.rootfs\.diff\.tar(\.gzip)?)\Z")
REF_NAME = "org.opencontainers.image.ref.name"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


MAX_VARIABLES, MAX_VARIABLES_BYTES = 256, 64 << 10  # what worker/roots.h takes
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*\Z")
SAVED_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?\Z")
SAVED_HOPS = 4


@dataclass
class Layer:
    blob: dict  # its descriptor, or its name in an archive of docker save
    diff_id: str


@dataclass
class Image:
    digest: str
    config: dict
    layers: list = field(default_factory=list)


def _take(tree, key, kind):
    value = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refused(f"no sound '{key}' in the image")
    return value


class Section(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file, start, size):
        super().__init__()
        self.file, self.start, self.size, self.at = file, start, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = max(0, offset + (0, self.at, self.size)[whence])
        return self.at

    def readinto(self, buffer):
        self.file.seek(self.start + self.at)
        data = self.file.read(max(0, min(len(buffer), self.size - self.at)))
        buffer[:len(data)] = data
        self.at += len(data)
        return len(data)


class Archive:
    def __init__(self, path, max_bytes=20 << 30):
        self.path = path
        self.max_bytes = max_bytes
        self.file = None
        self.members = {}  # name: where its content is, and how long
        self.links = {}    # name: the name that it stands for
        self.folder = os.path.isdir(path)
        if not self.folder:
            self.file = self.plain(path)
            try:
                self.look()
            except BaseException:
                self.file.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.file is not None:
            self.file.close()

    def plain(self, path):
        """The file, or a copy of it that is not compressed: it is read here and there."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            source = stack.enter_context(decompressed(file))
            if source is file:
                stack.pop_all()
                return file
            copy, left = tempfile.TemporaryFile(), self.max_bytes
            try:
                while data := source.read(CHUNK):
                    left -= len(data)
                    if left < 0:
                        raise Refused("the archive unpacks to too many bytes")
                    copy.write(data)
            except (OSError, EOFError, zlib.error) as error:
                raise Refused(f"the archive cannot be unpacked: {error}") from error
            return copy

    def look(self):
        self.file.seek(0)
        headers = Headers(self.file)
        try:
            with tarfile.open(fileobj=headers, mode="r:") as archive:
                for member in archive:
                    archive.members = []
                    name = os.path.normpath(member.name)
                    if not (member.isreg() or member.issym()) or member.sparse is not None:
                        continue
                    if name in self.members or name in self.links or \
                            len(self.members) + len(self.links) == MAX_MEMBERS:
                        raise Refused(f"{name!r} is in the archive twice, or there are too many")
                    if member.issym():
                        self.links[name] = os.path.normpath(
                            os.path.join(os.path.dirname(name), member.linkname))
                    else:
                        self.members[name] = (member.offset_data, member.size)
                headers.check_end(archive)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise Refused(f"not a sound tar archive: {error}") from error

    # --- blobs ----------------------------------------------------------

    def open(self, name):
        if self.folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                return open(os.open(os.path.join(self.path, name), flags), "rb")
            except OSError as error:
                raise Refused(f"no {name} in the archive: {error.strerror}") from error
        if name not in self.members:
            raise Refused(f"no {name} in the archive")
        return io.BufferedReader(Section(self.file, *self.members[name]))

    def json(self, name):
        with self.open(name) as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise Refused(f"{name} is larger than {MAX_JSON_BYTES} bytes")
        return data, self.parse(name, data)

    @staticmethod
    def parse(name, data):
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{name} is no JSON") from error

    def check(self, descriptor):
        """The name of a blob that is what its descriptor says."""
        digest, size = _take(descriptor, "digest", str), _take(descriptor, "size", int)
        match = DIGEST.match(digest)
        if not match or size < 0 or size > self.max_bytes:
            raise Refused(f"a blob of {size} bytes with the digest {digest[:80]!r}")
        name = f"blobs/sha256/{match[1]}"
        found, left = hashlib.sha256(), size
        with self.open(name) as file:
            while data := file.read(CHUNK):
                left -= len(data)
                if left < 0:
                    break
                found.update(data)
        if left != 0 or found.hexdigest() != match[1]:
            raise Refused(f"{name} is not what its name says")
        return name

    # --- the image ------------------------------------------------------

    def image(self, ref=None):
        if "oci-layout" not in self.members and "manifest.json" in self.members:
            return self.saved(ref)
        if self.json("oci-layout")[1].get("imageLayoutVersion") != "1.0.0":
            raise Refused("not an OCI image layout of version 1.0.0")
        descriptor = self.choose(self.json("index.json")[1], ref)
        for _ in range(MAX_NESTING):
            tree = self.json(self.check(descriptor))[1]
            if descriptor.get("mediaType") not in INDEX:
                break
            descriptor = self.choose(tree, None)
        if descriptor.get("mediaType") not in MANIFEST:
            raise Refused(f"not an image but {descriptor.get('mediaType')!r}")
        return self.read(descriptor, tree)

    @staticmethod
    def choose(index, ref):
        machine = MACHINES.get(platform.machine(), platform.machine())
        found = []
        for each in _take(index, "manifests", list):
            about = each.get("platform") if isinstance(each, dict) else None
            names = each.get("annotations") if isinstance(each, dict) else None
            if isinstance(about, dict) and (about.get("architecture"), about.get("os")) != \
                    (machine, "linux"):
                continue
            if ref is not None and (not isinstance(names, dict) or names.get(REF_NAME) != ref):
                continue
            if isinstance(each, dict):
                found.append(each)
        if len(found) != 1:
            raise Refused(f"{len(found)} images are for linux/{machine}"
                          f"{'' if ref is None else ' and named ' + ref}; expected one: name it "
                          "with --ref")
        return found[0]

    def read(self, descriptor, manifest):
        config = self.json(self.check(_take(manifest, "config", dict)))[1]
        blobs = _take(manifest, "layers", list)
        for blob in blobs:
            if not LAYER.match(str(blob.get("mediaType") if isinstance(blob, dict) else "")):
                raise Refused("a layer of an unknown kind")
        return Image(descriptor["digest"], config, self.pair(blobs, config))

    @staticmethod
    def pair(blobs, config):
        """Each layer with the digest of what it unpacks to."""
        ids = _take(_take(config, "rootfs", dict), "diff_ids", list)
        if len(blobs) != len(ids) or not 0 < len(blobs) <= MAX_LAYERS:
            raise Refused(f"{len(blobs)} layers where the configuration has {len(ids)}")
        for diff_id in ids:
            if not DIGEST.match(str(diff_id)):
                raise Refused(f"a layer with the digest {str(diff_id)[:80]!r}")
        return [Layer(blob, diff_id) for blob, diff_id in zip(blobs, ids)]

    def saved(self, ref):
        """An image of docker save: one layer may be a link to another, of any image in it."""
        found = []
        for each in self.listed():
            tags = each.get("RepoTags") if isinstance(each, dict) else None
            if ref is None or (isinstance(tags, list) and ref in tags):
                found.append(each)
        if len(found) != 1:
            raise Refused(f"{len(found)} images are in the archive"
                          f"{'' if ref is None else ' and named ' + ref}; expected one: name it "
                          "with --ref")
        name = _take(found[0], "Config", str)
        match = SAVED_CONFIG.match(name)
        data, config = self.json(os.path.normpath(name))
        if not match or hashlib.sha256(data).hexdigest() != match[1]:
            raise Refused(f"{name[:80]!r} is not what its name says")
        layers = _take(found[0], "Layers", list)
        if not all(isinstance(each, str) for each in layers):
            raise Refused("a layer without a name")
        return Image("sha256:" + match[1], config, self.pair(layers, config))

    def listed(self):
        images = self.json("manifest.json")[1]
        if not isinstance(images, list):
            raise Refused("manifest.json is no list of images")
        return images

    def followed(self, name):
        name = os.path.normpath(name)
        for _ in range(SAVED_HOPS):
            name = self.links.get(name, name)
        return name

    @contextlib.contextmanager
    def layer(self, layer):
        """The layer as an uncompressed file, looked at as a whole before anybody reads it."""
        name = self.followed(layer.blob) if isinstance(layer.blob, str) else \
            self.check(layer.blob)
        found, left = hashlib.sha256(), self.max_bytes
        with tempfile.TemporaryFile() as file, self.open(name) as blob:
            with decompressed(blob) as source:
                try:
                    while data := source.read(CHUNK):
                        left -= len(data)
                        if left < 0:
                            raise Refused("a layer unpacks to too many bytes")
                        found.update(data)
                        file.write(data)
                except (OSError, EOFError, zlib.error) as error:
                    raise Refused(f"{name} cannot be unpacked: {error}") from error
            if f"sha256:{found.hexdigest()}" != layer.diff_id:
                raise Refused(f"{name} unpacks to something else than the image says")
            # Some writers leave out what fills the last block.
            file.write(bytes(-file.tell() % 512 + 1024))
            file.seek(0)
            yield file


def variables(image):
    """What the image says about the environment, and its directory as one more of them."""
    config = image.config.get("config")
    config = config if isinstance(config, dict) else {}
    env = config.get("Env")
    found = {}
    for each in env if isinstance(env, list) else []:
        if isinstance(each, str) and VARIABLE.match(each) and not each.startswith("SBX_"):
            found[each.split("=")[0]] = each
    folder = config.get("WorkingDir")
    if isinstance(folder, str) and folder.startswith("/") and "\0" not in folder:
        found["SBX_WORKING_DIR"] = "SBX_WORKING_DIR=" + folder
    try:
        size = sum(len(each.encode()) + 1 for each in found.values())
    except UnicodeEncodeError as error:
        raise Refused("a variable that is no text") from error
    if len(found) > MAX_VARIABLES or size > MAX_VARIABLES_BYTES:
        raise Refused(f"{len(found)} variables of {size} bytes")
    return list(found.values())


@contextlib.contextmanager
def decompressed(file):
    """By its first bytes, whatever its kind is said to be."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    elif start == b"\x28\xb5\x2f\xfd":
        with tempfile.TemporaryFile() as plain:
            while data := file.read(CHUNK):
                plain.write(data)
            plain.seek(0)
            try:
                process = subprocess.Popen(["zstd", "-dcq"], stdin=plain, stdout=subprocess.PIPE)
            except FileNotFoundError as error:
                raise Refused("a zstd layer, and the program zstd is missing") from error
            with process:
                try:
                    yield process.stdout
                    if process.wait() != 0:
                        raise Refused("a zstd layer that is damaged")
                finally:
                    process.kill()
    else:
        yield file
