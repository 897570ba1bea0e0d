"""Random repositories, edits and diffs for the property test of the patch engine.

A tree is a dict: path -> (mode, content). All commits of a run go through one
git fast-import, so thousands of trees cost one process.
"""
import os
import subprocess

FILE, EXEC, LINK, GITLINK = "100644", "100755", "120000", "160000"

WORDS = ["alpha", "beta", "gamma", "delta", "{", "}", "", "    return x;", "\tif (y)", "end",
         "# note", "a b c", "0", "-- ", "--- a/x", "+++ b/x", "@@ -1 +1 @@", "-", "+", " ",
         "\\ No newline at end of file", "diff --git a/x b/x", "ümlaut", "\x0c", "GIT binary patch"]
NAMES = ["a", "b", "main.c", "x y", "it's", 'quo"te', "ünï", "日本", "deep", "z", "tab.txt", "-dash",
         "a.b.c", "{}", "Case", "file 1", "a b c d"]
ENV = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t",
       "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
       "GIT_AUTHOR_DATE": "1000000000 +0000", "GIT_COMMITTER_DATE": "1000000000 +0000",
       "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


def git(repo, *arguments, data=None, env=None, check=True):
    """Runs git; returns (status, standard output)."""
    done = subprocess.run(["git", "-C", repo, *arguments], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**ENV, **(env or {})}, check=False)
    if check and done.returncode:
        raise AssertionError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.returncode, done.stdout


# --- contents ------------------------------------------------------------

def lines(rng, count):
    few = rng.sample(WORDS, 4)
    out = []
    for i in range(count):
        kind = rng.random()
        if kind < 0.35:
            out.append(rng.choice(few))
        elif kind < 0.5:
            out.append(rng.choice(WORDS))
        else:
            out.append(f"line {rng.randrange(10 ** 6)} of {i}")
    return out


def join(rng, parts, crlf=None):
    end = "\r\n" if (rng.random() < 0.12 if crlf is None else crlf) else "\n"
    text = "".join(part + (end if rng.random() < 0.97 else "\n") for part in parts)
    if parts and rng.random() < 0.2:
        text = text[:-1]
    return text.encode()


def binary(rng, size):
    return bytes([0]) + rng.randbytes(size)


def content(rng):
    kind = rng.random()
    if kind < 0.06:
        return b""
    if kind < 0.12:
        return binary(rng, rng.choice([1, 30, 700, 9000]))
    if kind < 0.16:
        return join(rng, lines(rng, 1)).rstrip(b"\n") or b"x"
    return join(rng, lines(rng, rng.choice([1, 2, 3, 8, 20, 60, 200])))


def edit(rng, data):
    """A changed version of a file's content."""
    if b"\0" in data or not data:
        if rng.random() < 0.5 and len(data) > 20:
            at = rng.randrange(1, len(data))
            return data[:at] + rng.randbytes(rng.randrange(1, 30)) + data[at + rng.randrange(9):]
        return content(rng)
    parts = data.split(b"\n")
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6, 15])):
        at = rng.randrange(len(parts))
        new = [join(rng, lines(rng, 1)).rstrip(b"\n") for _ in range(rng.randrange(4))]
        parts[at:at + rng.randrange(4)] = new
        parts = parts or [b""]
    if rng.random() < 0.03:
        parts.reverse()
    return b"\n".join(parts)


# --- trees ---------------------------------------------------------------

def new_path(rng, tree):
    """A path that clashes with nothing in the tree, by case neither."""
    taken = {path.lower() for path in tree}
    folders = {"/".join(path.split("/")[:i]).lower() for path in tree
               for i in range(1, path.count("/") + 1)}
    real = sorted({path.rsplit("/", 1)[0] for path in tree if "/" in path})
    for _ in range(200):
        parts = [rng.choice(NAMES) + rng.choice(["", "", "1", "2", ".c"])
                 for _ in range(rng.choice([1, 1, 2, 3]))]
        path = "/".join(parts)
        if real and rng.random() < 0.4:
            path = rng.choice(real) + "/" + parts[-1]
        parents = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
        known = {"/".join(other.split("/")[:i]) for other in tree
                 for i in range(1, other.count("/") + 1)}
        if path.lower() in taken or path.lower() in folders:
            continue
        if any(parent.lower() in taken or (parent.lower() in folders and parent not in known)
               for parent in parents):
            continue
        return path
    return f"unique{rng.randrange(10 ** 9)}"


def link_target(rng):
    return rng.choice([b"a", b"b/c", b"./main.c", "ünï/x".encode(), b"x y"])


def gitlink(rng):
    """A submodule entry: its content stands for the commit."""
    return GITLINK, rng.randbytes(20).hex().encode()


def base_tree(rng):
    tree = {}
    for _ in range(rng.choice([1, 3, 6, 12])):
        path = new_path(rng, tree)
        kind = rng.random()
        if kind < 0.08:
            tree[path] = (LINK, link_target(rng))
        elif kind < 0.12:
            tree[path] = gitlink(rng)
        else:
            tree[path] = (EXEC if kind < 0.24 else FILE, content(rng))
    return tree


def change(rng, tree):
    """One random change in place."""
    paths = sorted(tree)
    files = [path for path in paths if tree[path][0] in (FILE, EXEC)]
    kind = rng.random()
    if not files or kind < 0.12:
        tree[new_path(rng, tree)] = (rng.choice([FILE, FILE, EXEC]), content(rng))
    elif kind < 0.2 and len(paths) > 1:
        del tree[rng.choice(paths)]
    elif kind < 0.32:
        path = rng.choice(files)
        mode, data = tree.pop(path)
        tree[new_path(rng, tree)] = (mode, edit(rng, data) if rng.random() < 0.6 else data)
    elif kind < 0.4:
        path = rng.choice(files)
        mode, data = tree[path]
        tree[new_path(rng, tree)] = (mode, edit(rng, data) if rng.random() < 0.6 else data)
        if rng.random() < 0.5:
            tree[path] = (mode, edit(rng, data))
    elif kind < 0.47:
        path = rng.choice(files)
        tree[path] = (EXEC if tree[path][0] == FILE else FILE, tree[path][1])
    elif kind < 0.52:
        path = rng.choice(paths)
        tree[path] = (LINK, link_target(rng)) if tree[path][0] != LINK else (FILE, content(rng))
    elif kind < 0.53:
        tree[rng.choice(paths) if rng.random() < 0.5 else new_path(rng, tree)] = gitlink(rng)
    elif kind < 0.56:
        path = rng.choice(paths)  # a file makes way for a directory
        del tree[path]
        tree[path + "/inside"] = (FILE, content(rng))
    elif kind < 0.58 and len(files) > 1:
        one, other = rng.sample(files, 2)
        tree[one], tree[other] = tree[other], tree[one]
    else:
        path = rng.choice(files)
        tree[path] = (tree[path][0], edit(rng, tree[path][1]))


def changed(rng, tree):
    new = dict(tree)
    for _ in range(rng.choice([1, 1, 2, 4])):
        change(rng, new)
    return new


# --- commits -------------------------------------------------------------

def quoted(path):
    text = path.replace("\\", "\\\\").replace('"', '\\"').encode()
    return b'"' + text + b'"'


class Importer:
    """Collects trees, then makes a commit of each, without parents."""

    def __init__(self):
        self.stream = []
        self.count = 0

    def commit(self, tree, parent=None):
        self.count += 1
        out = [b"commit refs/heads/c%d\nmark :%d\ncommitter t <t@t> 1000000000 +0000\ndata 2\nm\n"
               % (self.count, self.count)]
        if parent:
            out.append(b"from :%d\ndeleteall\n" % parent)
        for path, (mode, data) in tree.items():
            if mode == GITLINK:
                out.append(b"M %s %s %s\n" % (mode.encode(), data, quoted(path)))
                continue
            out.append(b"M %s inline %s\ndata %d\n%s\n"
                       % (mode.encode(), quoted(path), len(data), data))
        self.stream.append(b"".join(out))
        return self.count

    def run(self, repo):
        """Returns {mark: (commit, tree)}."""
        marks = os.path.join(repo, "marks")
        git(repo, "fast-import", "--quiet", "--force", f"--export-marks={marks}",
            data=b"".join(self.stream))
        with open(marks, encoding="ascii") as stream:
            commits = dict(line[1:].split() for line in stream)
        names = "".join(f"{commits[str(i)]}^{{tree}}\n" for i in range(1, self.count + 1))
        _, found = git(repo, "cat-file", "--batch-check=%(objectname)", data=names.encode())
        trees = found.decode().split()
        return {i: (commits[str(i)], trees[i - 1]) for i in range(1, self.count + 1)}


# --- styles --------------------------------------------------------------

def style(rng, binaries):
    """Options of git diff, the strip level, and whether it is shown without index lines."""
    options, strip, bare = [], 1, False
    context = rng.choice([0, 1, 1, 2, 3, 3, 3, 3, 10, 25])
    options.append(f"-U{context}")
    options += rng.choice([[], ["-M"], ["-M30%"], ["-C"], ["-C", "--find-copies-harder"],
                           ["-B"], ["-B", "-M"], ["-B", "-C"], ["--no-renames"]])
    options += rng.choice([[], [], ["--patience"], ["--histogram"], ["--minimal"], ["-W"],
                           ["--inter-hunk-context=3"], ["--abbrev=12"], ["--full-index"]])
    prefix = rng.random()
    if prefix < 0.15:
        options.append("--no-prefix")
        strip = 0
    elif prefix < 0.25:
        options += ["--src-prefix=i/", "--dst-prefix=w/"]
    elif prefix < 0.3:
        options += ["--src-prefix=old/x/", "--dst-prefix=new/y/"]
        strip = 2
        options = [option for option in options
                   if option[:2] not in ("-M", "-C", "-B") and option != "--find-copies-harder"]
        options.append("--no-renames")  # git writes 'rename from' without the prefix
    if binaries:
        options.append("--binary")
    elif context > 0:
        bare = rng.random() < 0.2
    return options, strip, bare


def without_index(diff):
    """The index lines taken out of the headers (not out of hunks)."""
    out, header = [], False
    for line in diff.split(b"\n"):
        if line.startswith(b"diff --git "):
            header = True
        elif line.startswith(b"@@ "):
            header = False
        if not (header and line.startswith(b"index ")):
            out.append(line)
    return b"\n".join(out)
