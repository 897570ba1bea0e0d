"""The section "patch" of tests/bench/run: diffs become trees, ours against three peers.

Every diff is put to all of them in turn, in one loop, so that a busy machine is busy for
all. Peers: git apply --cached with write-tree on an index that is there already; GNU patch
on a directory of the files that the diff touches; libgit2's own apply in a process that
stays, with its objects in memory (bench_libgit2.c).
"""
import base64
import difflib
import json
import os
import select
import shutil
import statistics
import subprocess
import time

PATIENCE_S = 60
REAL_COMMITS = 120
ROUNDS = 2
SIZES = (100, 5000, 80000)
SIZE_DIFFS = 200
BATCH_DIFFS = 100000


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# --- who is measured: each gives (milliseconds, tree or None when refused) --------------


class Ours:
    name = "sbx-patch --batch"

    def __init__(self, bench, repo):
        self.repo = repo
        self.child = subprocess.Popen([os.path.join(bench.bin, "sbx-patch"), "--batch",
                                       "--no-protect"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def apply(self, commit, diff):
        request = {"id": "1", "repo": self.repo, "commit": commit, "strip": 1, "mode": "strict",
                   "diff_base64": base64.b64encode(diff).decode()}
        line = json.dumps(request).encode() + b"\n"
        began = time.perf_counter()
        self.child.stdin.write(line)
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        spent = (time.perf_counter() - began) * 1000
        return spent, json.loads(answer).get("tree")

    def memory_kib(self):
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Libgit2:
    """Dies of some valid diffs, and hangs for minutes on others; then it is started again."""

    name = "libgit2 git_apply_to_tree"

    def __init__(self, bench, repo):
        self.argv = [os.path.join(bench.tools, "bench_libgit2"), repo]
        self.path = bench.path("peer.diff")
        self.died = 0
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)

    def apply(self, commit, diff):
        with open(self.path, "wb") as out:
            out.write(diff)
        began = time.perf_counter()
        self.child.stdin.write(f"{commit} {self.path}\n".encode())
        self.child.stdin.flush()
        ready, _, _ = select.select([self.child.stdout], [], [], PATIENCE_S)
        line = self.child.stdout.readline() if ready else b""
        spent = (time.perf_counter() - began) * 1000
        if not line:
            self.died += 1
            self.child.kill()
            self.close()
            self.start()
            return spent, None
        return spent, json.loads(line).get("tree")

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Git:
    name = "git apply --cached + write-tree"

    def __init__(self, bench, repo):
        self.git, self.repo = bench.git, repo
        self.env = {"GIT_INDEX_FILE": bench.path("peer.index")}

    def apply(self, commit, diff):
        self.git(self.repo, "read-tree", commit, env=self.env)
        began = time.perf_counter()
        try:
            self.git(self.repo, "apply", "--cached", "--unidiff-zero", "-", env=self.env,
                     input=diff, stderr=subprocess.DEVNULL, timeout=PATIENCE_S)
            tree = self.git(self.repo, "write-tree", env=self.env).decode().strip()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            tree = None
        return (time.perf_counter() - began) * 1000, tree

    def close(self):
        pass


class Patch:
    """Makes files, no tree: what it says is right is not looked at."""

    name = "patch -p1"

    def __init__(self, bench, repo):
        self.git, self.repo, self.folder = bench.git, repo, bench.path("peer.files")

    def apply(self, commit, diff):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        names = {line[6:].split(b"\t")[0] for line in diff.split(b"\n")
                 if line.startswith(b"--- a/")}
        if names:
            archive = self.git(self.repo, "archive", "--format=tar", commit, "--",
                               *(name.decode() for name in names))
            subprocess.run(["tar", "-x", "-C", self.folder], input=archive, check=True)
        began = time.perf_counter()
        done = subprocess.run(["patch", "-p1", "-s", "-f", "-d", self.folder], input=diff,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False)
        spent = (time.perf_counter() - began) * 1000
        return spent, "made" if done.returncode == 0 else None

    def close(self):
        pass


# --- what is measured --------------------------------------------------------------------


def real_commits(bench):
    """This repository's own commits as (base commit, diff, tree) among 5,000 files."""
    repo = bench.path("own.git")
    try:
        bench.git(".", "clone", "-q", "--bare", "--no-local", bench.root, repo,
                  stderr=subprocess.DEVNULL)
        chosen = bench.git(repo, "log", "--no-merges", "--min-parents=1",
                           "--format=%H %P", "HEAD").decode().split("\n")[:-1]
    except subprocess.CalledProcessError:
        return repo, []
    own = bench.git(repo, "ls-tree", "-r", "--name-only", "HEAD").count(b"\n")
    filler = bench.fast_import(repo, "filler", max(0, 5000 - own))

    def among(commit):
        entries = bench.git(repo, "ls-tree", commit)
        tree = bench.git(repo, "mktree", input=entries + b"040000 tree " + filler +
                         b"\tzz-filler\n").decode().strip()
        return tree

    cases = []
    step = max(1, len(chosen) // REAL_COMMITS)
    for commit, parent in (line.split() for line in chosen[::step][:REAL_COMMITS]):
        diff = bench.git(repo, "diff", "--binary", parent, commit)
        base = bench.git(repo, "commit-tree", "-m", "base", among(parent)).decode().strip()
        if diff:
            cases.append((base, diff, among(commit)))
    return repo, cases


def compare(bench, peers, cases, rounds):
    """Every diff to every peer in turn; peer -> (milliseconds, exact, wrong)."""
    found = {peer: ([], 0, 0) for peer in peers}
    for number in range(rounds):
        for commit, diff, tree in cases:
            for peer in peers:
                spent, made = peer.apply(commit, diff)
                times, exact, wrong = found[peer]
                times.append(spent)
                if number == 0:
                    found[peer] = (times, exact + (made in (tree, "made")),
                                   wrong + (made not in (tree, "made", None)))
    return found


def print_rows(bench, what, found, count, aim):
    ours = next(values for peer, values in found.items() if isinstance(peer, Ours))[0]
    for peer, (times, exact, wrong) in found.items():
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        notes = [f"p99 {p99:.2f} ms"]
        if isinstance(peer, Ours):
            notes.append(aim)
        if not isinstance(peer, Ours):
            ratio = p50 / percentile(ours, 0.5)
            notes.append(f"{ratio:.1f} x ours" + ("" if ratio >= 1 else ": WE LOSE"))
        if not isinstance(peer, Patch):
            notes.append(f"{exact} of {count} exact, {wrong} wrong")
        elif exact < count:
            notes.append(f"{count - exact} of {count} refused")
        if getattr(peer, "died", 0):
            notes.append(f"crashed or gave no answer {peer.died} times")
        bench.row("patch", f"{what}: {peer.name}", p50, "ms", ", ".join(notes))


def with_peers(bench, repo, cases, what, rounds, aim):
    peers = [kind(bench, repo) for kind in (Ours, Libgit2, Git, Patch)]
    peers[0].apply(cases[0][0], cases[0][1])
    found = compare(bench, peers, cases, rounds)
    print_rows(bench, what, found, len(cases), aim)
    for peer in peers:
        peer.close()


def one_file(bench, name, before, after):
    """A repository of one file, and the -U0 diff between two versions of it."""
    repo = bench.path(name)
    os.makedirs(repo)
    bench.git(repo, "init", "-q", "-b", "main")
    for text in (before, after):
        with open(os.path.join(repo, "file"), "w", encoding="ascii") as out:
            out.write(text)
        bench.git(repo, "add", "-A")
        bench.git(repo, "commit", "-q", "-m", "one")
    base, commit = bench.git(repo, "rev-parse", "HEAD~1", "HEAD").decode().split()
    diff = bench.git(repo, "diff", "-U0", base, commit)
    tree = bench.git(repo, "rev-parse", "HEAD^{tree}").decode().strip()
    return repo, (base, diff, tree)


def many_hunks(bench, hunks, aim_ms, rounds):
    lines = [f"line {number % 977}\n" for number in range(2 * hunks)]
    changed = [line if number % 2 else line.upper() for number, line in enumerate(lines)]
    repo, case = one_file(bench, f"hunks{hunks}", "".join(lines), "".join(changed))
    with_peers(bench, repo, [case], f"{hunks:,} hunks, -U0", rounds, f"{aim_ms} ms is the aim")


def deep_path(index):
    """Five levels of at most ten names each, however many files there are."""
    return "/".join(f"{index:05}") + ".txt"


def edits(path, files, count):
    """Diffs that each change a line of three files of bench.fast_import."""
    made = []
    for number in range(count):
        diff = []
        for change in range(3):
            index = (number * 37 + change * 1009) % files
            name = path(index)
            old = [f"line {line} of {index}\n" for line in range(60)]
            new = old[:number % 50] + [f"changed {number}\n"] + old[number % 50 + 1:]
            diff += [f"diff --git a/{name} b/{name}\n",
                     *difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")]
        made.append("".join(diff).encode())
    return made


def sizes(bench, name, path):
    """Does the repository's size cost anything? All sizes in turn, in one loop."""
    ours, peers, diffs, commits = {}, {}, {}, {}
    times = {files: [] for files in SIZES}
    theirs = {files: [] for files in SIZES}
    for files in SIZES:
        repo = bench.path(f"{name}{files}")
        os.makedirs(repo)
        bench.git(repo, "init", "-q", "--bare")
        bench.fast_import(repo, "main", files, path)
        commits[files] = bench.git(repo, "rev-parse", "main").decode().strip()
        ours[files], peers[files] = Ours(bench, repo), Git(bench, repo)
        diffs[files] = edits(path, files, SIZE_DIFFS)
        ours[files].apply(commits[files], diffs[files][0])
    for number in range(SIZE_DIFFS):
        for files in SIZES:
            diff = diffs[files][number]
            times[files].append(ours[files].apply(commits[files], diff)[0])
            if number < 8:
                theirs[files].append(peers[files].apply(commits[files], diff)[0])
    for files in SIZES:
        ours[files].close()
        bench.row("patch", f"3 files of {files:,}, {name}: {ours[files].name}",
                  statistics.median(times[files]), "ms",
                  f"p99 {percentile(times[files], 0.99):.2f} ms, git apply --cached "
                  f"{statistics.median(theirs[files]):.1f} ms")
    bench.row("patch", f"80,000 files against 100, {name}",
              statistics.median(times[80000]) / statistics.median(times[100]), "x",
              "1 is flat: the cost is the patch's")


def memory(bench, repo, cases):
    """What one process weighs after many diffs."""
    ours = Ours(bench, repo)
    weights = {}
    for number in range(1, BATCH_DIFFS + 1):
        commit, diff, _ = cases[number % len(cases)]
        ours.apply(commit, diff)
        if number in (BATCH_DIFFS // 20, BATCH_DIFFS):
            weights[number] = ours.memory_kib() / 1024
    ours.close()
    early, late = weights.values()
    bench.row("patch", f"sbx-patch --batch after {BATCH_DIFFS // 20:,} diffs", early, "MiB")
    bench.row("patch", f"sbx-patch --batch after {BATCH_DIFFS:,} diffs", late, "MiB",
              f"{late - early:+.1f} MiB; flat is the aim")


def run(bench):
    repo, cases = real_commits(bench)
    if cases:
        print(f"patch: {len(cases)} real commits to trees, among 5,000 files, p50")
        with_peers(bench, repo, cases, "real commit", ROUNDS,
                   "the aims: 0.5 ms, p99 5 ms, 15 x git, 3 x libgit2")
    else:
        print("patch: this tree has no history, so there are no real commits to measure")
    print("patch: the size of the repository")
    sizes(bench, "10 names in each directory", deep_path)
    sizes(bench, "1 to 800 directories in the root", bench.wide_path)
    print("patch: many hunks")
    many_hunks(bench, 721, 50, 5)
    many_hunks(bench, 100000, 1000, 1)
    if cases:
        print("patch: memory of one process")
        memory(bench, repo, cases)
