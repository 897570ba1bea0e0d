"""A directory tree that is filled from archives which nobody has checked.

    tree = Tree("/var/lib/sbx-roots/.new-x", max_bytes=20 << 30)
    tree.unpack(open("layer.tar", "rb"))     # once for each layer, the lowest first
    tree.finish()

Whatever an archive says, nothing outside of the tree is read or written: names
and links are resolved here, with the top of the tree as "/", and the kernel is
only given paths in which no symbolic link is left. Nobody else may write in the
tree meanwhile, so that this holds until the call is made.

What is made belongs to the caller, is readable by all and writable by none but
its owner, and has no set-id bit, no capability and no other extended attribute.
Devices, sockets and pipes are left out.
"""
import errno
import hashlib
import os
import shutil
import stat
import tarfile

MAX_ENTRIES = 2_000_000
MAX_HEADER_BYTES = 8 << 20  # of one name, link target or extended header
MAX_LINKS = 40              # followed for one name, as the kernel does
CHUNK = 1 << 20
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"

# Of an image, what is a secret of its builder or is made anew for each box.
REMOVED = ("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-", "etc/machine-id",
           "etc/.pwd.lock", "etc/resolv.conf", "etc/hostname")
EMPTIED = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/run")


class Refused(Exception):
    """The archive itself is at fault."""


class Headers:
    """A file for tarfile, which reads as much at once as a header claims to need, and goes
    wherever a header says that the next one is: back, and round and round, too."""

    def __init__(self, file):
        self.file = file
        self.tell = file.tell
        self.furthest = 0

    def read(self, size=-1):
        if size < 0 or size > MAX_HEADER_BYTES:
            raise Refused(f"a header of {size} bytes")
        data = self.file.read(size)
        self.furthest = max(self.furthest, self.file.tell())
        return data

    def seek(self, place):
        if place < self.furthest - tarfile.BLOCKSIZE:
            raise Refused("a header that leads back")
        return self.file.seek(place)

    def check_end(self, archive):
        """After the last member. For tarfile a header that is none, or a part of one, is an end
        as good as a block of zeros or the end of the file."""
        self.seek(archive.offset)
        if self.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise Refused("a header that is none")


def _words(name):
    """The parts of an archived name."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"a name with '..': {name!r}")
    return parts


class Tree:
    def __init__(self, top, max_bytes=20 << 30, max_entries=MAX_ENTRIES):
        self.top = os.path.abspath(top)
        self.left_bytes = max_bytes
        self.left_entries = max_entries
        self.fresh = set()    # made by the layer at hand: its whiteouts are not for those
        self.touched = set()  # those and the directories on the way to them
        self.skipped = 0
        os.mkdir(self.top, 0o755)

    # --- names ----------------------------------------------------------

    def path(self, parts):
        return os.path.join(self.top, *parts)

    def status(self, parts):
        try:
            return os.lstat(self.path(parts))
        except FileNotFoundError:
            return None

    def resolve(self, parts):
        """The same place without a symbolic link: those found lead on below the top."""
        left, found, links = list(reversed(parts)), [], 0
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if part == "..":
                found = found[:-1]
                continue
            status = self.status(found + [part])
            if status is None or not stat.S_ISLNK(status.st_mode):
                found.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                raise Refused(f"too many links on the way to {'/'.join(parts)!r}")
            target = os.readlink(self.path(found + [part]))
            if target.startswith("/"):
                found = []
            left += reversed(target.split("/"))
        return found

    def directory(self, parts):
        """Makes sure that it is one; returns where it really is."""
        real = []
        for part in self.resolve(parts):
            real.append(part)
            status = self.status(real)
            if status is None:
                os.mkdir(self.path(real), 0o755)
                self.made(real)
            elif not stat.S_ISDIR(status.st_mode):
                raise Refused(f"{'/'.join(real)!r} is in the way: no directory")
        return real

    def remove(self, parts):
        status = self.status(parts)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(self.path(parts))
        else:
            os.unlink(self.path(parts))

    def made(self, parts):
        self.fresh.add(tuple(parts))
        for depth in range(len(parts), 0, -1):
            above = tuple(parts[:depth])
            if above in self.touched:
                break
            self.touched.add(above)

    # --- one layer ------------------------------------------------------

    def unpack(self, file):
        """An uncompressed tar archive. Raises Refused; the tree is of no use then."""
        self.fresh, self.touched = set(), set()
        headers = Headers(file)
        try:
            with tarfile.open(fileobj=headers, mode="r:", errors="surrogateescape",
                              encoding="utf-8") as archive:
                for member in archive:
                    self.add(archive, member)
                    archive.members = []  # tarfile would keep all of them
                headers.check_end(archive)
            while file.read(CHUNK):
                pass  # what is compressed has its checksum at the end
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise Refused(f"not a sound tar archive: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP,
                               errno.ENOTDIR):
                raise Refused(f"a name that cannot be: {error.strerror}") from error
            raise

    def add(self, archive, member):
        self.left_entries -= 1
        if self.left_entries < 0:
            raise Refused("too many entries")
        parts = _words(member.name)
        if not parts:
            return
        if parts[-1].startswith(WHITEOUT):
            self.whiteout(parts)
            return
        if member.isdir():
            self.add_directory(parts)
            return
        if not (member.isreg() or member.issym() or member.islnk()):
            self.skipped += 1
            return
        if not (member.isreg() or member.linkname):
            raise Refused(f"a link to nothing: {member.name!r}")
        place = self.directory(parts[:-1]) + parts[-1:]
        if member.islnk():
            self.add_hard_link(member, place)
        else:
            self.remove(place)
            if member.issym():
                os.symlink(member.linkname, self.path(place))
            else:
                self.add_file(archive, member, place)
        self.made(place)

    def add_directory(self, parts):
        place = self.directory(parts[:-1]) + parts[-1:]
        status = self.status(place)
        if status is not None and stat.S_ISLNK(status.st_mode):
            # A directory over a link to one, as in /bin of a merged /usr: the link stays.
            place = self.directory(place)
        elif status is not None and not stat.S_ISDIR(status.st_mode):
            self.remove(place)
            status = None
        if status is None:
            os.mkdir(self.path(place), 0o755)
        self.made(place)

    def add_file(self, archive, member, place):
        self.left_bytes -= member.size
        if self.left_bytes < 0:
            raise Refused("too many bytes")
        mode = 0o755 if member.mode & 0o111 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with archive.extractfile(member) as source, \
                open(os.open(self.path(place), flags, 0o600), "wb") as target:
            left = member.size
            while left:
                data = source.read(min(left, CHUNK))
                if not data:
                    raise Refused(f"{member.name!r} ends early")
                target.write(data)
                left -= len(data)
            os.fchmod(target.fileno(), mode)
            target.flush()
            seconds = min(max(int(member.mtime), 0), 1 << 33)
            os.utime(target.fileno(), (seconds, seconds))

    def add_hard_link(self, member, place):
        parts = _words(member.linkname)
        target = self.resolve(parts[:-1]) + parts[-1:]
        status = self.status(target) if parts else None
        if status is None or stat.S_ISDIR(status.st_mode):
            raise Refused(f"{member.name!r} is a hard link to nothing: {member.linkname!r}")
        if target == place:
            return
        if target[:len(place)] == place:
            raise Refused(f"{member.name!r} is a hard link to what is below it")
        self.remove(place)
        os.link(self.path(target), self.path(place), follow_symlinks=False)

    def whiteout(self, parts):
        """What a lower layer had and this one has not."""
        name = parts[-1][len(WHITEOUT):]
        if name in ("", ".", ".."):
            raise Refused(f"a whiteout of {name!r}")
        place = self.resolve(parts[:-1])
        status = self.status(place)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return
        if parts[-1] == OPAQUE:
            self.clear(place)
        elif name.startswith(WHITEOUT):
            return  # marks of a file system that nobody has any more
        elif tuple(place + [name]) not in self.fresh:
            self.remove(place + [name])

    def clear(self, place):
        """All in a directory but what the layer at hand has put there."""
        for name in os.listdir(self.path(place)):
            below = place + [name]
            if tuple(below) not in self.touched:
                self.remove(below)
            elif stat.S_ISDIR(self.status(below).st_mode):
                self.clear(below)

    # --- the end --------------------------------------------------------

    def finish(self):
        """Takes out what no box is to see, and makes what every root has."""
        for name in REMOVED:
            parts = name.split("/")
            self.remove(self.resolve(parts[:-1]) + parts[-1:])
        for name in EMPTIED:
            status = self.status(name.split("/"))
            if status is not None and stat.S_ISDIR(status.st_mode):
                shutil.rmtree(self.path(name.split("/")))
                os.mkdir(self.path(name.split("/")), 0o755)
        status = self.status(["usr"])
        if status is None:
            os.mkdir(self.path(["usr"]), 0o755)
        elif not stat.S_ISDIR(status.st_mode):
            raise Refused("usr is no directory")


def digest(top):
    """(sha256 over names, kinds, modes and contents, number of files, bytes). Times and owners
    do not count: the same content is the same root."""
    total, files, size = hashlib.sha256(), 0, 0
    for folder, folders, names in os.walk(os.fsencode(top)):
        folders.sort()
        for name in sorted(names + [each for each in folders
                                    if os.path.islink(os.path.join(folder, each))]):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            files += 1
            if stat.S_ISLNK(status.st_mode):
                kind, content = b"l", os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                size += status.st_size
                kind, content = b"f", _file_digest(path)
            else:
                kind, content = b"?", b""
            _mix(total, kind, os.path.relpath(path, os.fsencode(top)), status, content)
        _mix(total, b"d", os.path.relpath(folder, os.fsencode(top)), os.lstat(folder), b"")
    return f"sha256:{total.hexdigest()}", files, size


def _file_digest(path):
    content = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            content.update(data)
    return content.digest()


def _mix(total, kind, path, status, content):
    mode = 0 if kind == b"l" else stat.S_IMODE(status.st_mode)
    for part in (kind, path, b"%o" % mode, content):
        total.update(b"%d:" % len(part) + part)
