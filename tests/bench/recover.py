"""Section "recover" of tests/bench/run: damaged diffs of real commits, by kind of damage.

Ours in recover mode against `git apply --recount` and `patch --batch --fuzz=5 -p1` on the same
damaged diffs: exact is the commit's own tree, wrong is another one, anything else is refused.
Half of the diffs have index lines, half have not. Then what must be refused: how many each
takes. Then what hostile diffs cost.
"""
import collections
import copy
import os
import random
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/property"))

import damage  # noqa: E402
import hostile  # noqa: E402
import patch_cases as cases  # noqa: E402

DIFF_BYTES_MOST = 1 << 18


class Peers:
    """git and patch on one repository."""

    def __init__(self, folder):
        self.index = os.path.join(folder, "recover-index")
        self.tree = os.path.join(folder, "recover-tree")

    def git(self, repo, base, tree, diff):
        env = {"GIT_INDEX_FILE": self.index}
        cases.git(repo, "read-tree", base, env=env)
        status, _ = cases.git(repo, "apply", "--cached", "--recount", "-", data=diff, env=env,
                              check=False)
        if status:
            return "refused"
        _, found = cases.git(repo, "write-tree", env=env)
        return "exact" if found.decode().strip() == tree else "wrong"

    def files(self, repo, commit, paths):
        found = {}
        for path in paths:
            status, data = cases.git(repo, "show", f"{commit}:{path}", check=False)
            if status == 0:
                found[path] = data
        return found

    def patch(self, before, after, diff):
        """`before` and `after`: the files that the commit touches, by path."""
        shutil.rmtree(self.tree, ignore_errors=True)
        os.makedirs(self.tree)
        for path, data in before.items():
            full = os.path.join(self.tree, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as stream:
                stream.write(data)
        done = subprocess.run(["patch", "--batch", "--fuzz=5", "-p1", "-s", "-d", self.tree,
                               "--no-backup-if-mismatch"], input=diff, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False)
        if done.returncode:
            return "refused"
        found = {}
        for folder, _, names in os.walk(self.tree):
            for name in names:
                full = os.path.join(folder, name)
                with open(full, "rb") as stream:
                    found[os.path.relpath(full, self.tree)] = stream.read()
        return "exact" if found == after else "wrong"


class Table:
    NAMES = ("sbx", "git", "patch")

    def __init__(self):
        self.counts = {name: collections.defaultdict(collections.Counter) for name in self.NAMES}
        self.times = collections.defaultdict(list)

    def add(self, kind, answers, seconds):
        for name, answer in zip(self.NAMES, answers):
            self.counts[name][kind][answer] += 1
        self.times[kind].append(seconds * 1000)

    def share(self, name, kinds, answer):
        done = collections.Counter()
        for kind in kinds:
            done.update(self.counts[name][kind])
        return 100 * done[answer] / max(1, sum(done.values()))


def at(values, share):
    values = sorted(values)
    return values[int(share * (len(values) - 1))] if values else float("nan")


class Recover:
    def __init__(self, bench, engine, repositories):
        self.bench = bench
        self.engine = engine
        self.repositories = repositories
        self.peers = Peers(bench.folder)
        self.table = Table()

    def commits(self, rng):
        """(repository, parent, commit, tree, diff), at random."""
        chosen = []
        for repo in self.repositories:
            _, found = cases.git(repo, "rev-list", "--no-merges", "--min-parents=1", "HEAD")
            chosen += [(repo, commit) for commit in found.decode().split()]
        rng.shuffle(chosen)
        for repo, commit in chosen:
            _, oids = cases.git(repo, "rev-parse", f"{commit}^", f"{commit}^{{tree}}")
            parent, tree = oids.decode().split()
            _, diff = cases.git(repo, "diff", "--no-renames", parent, commit)
            if b"\n@@" in diff and b"Binary files" not in diff and b'"a/' not in diff and \
                    len(diff) <= DIFF_BYTES_MOST:
                yield repo, parent, commit, tree, diff

    def one(self, kind, repo, base, tree, diff, files):
        began = time.perf_counter()
        answer = self.engine.ask(repo, base, 1, diff)
        seconds = time.perf_counter() - began
        ours = "refused" if not answer["ok"] else "exact" if answer["tree"] == tree else "wrong"
        self.table.add(kind, (ours, self.peers.git(repo, base, tree, diff),
                              self.peers.patch(*files, diff)), seconds)

    def damaged(self, rng, repo, parent, commit, tree, diff):
        _, names = cases.git(repo, "diff", "--no-renames", "--name-only", "-z", parent, commit)
        paths = [name.decode(errors="surrogateescape") for name in names.split(b"\0") if name]
        before = self.peers.files(repo, parent, paths)
        after = self.peers.files(repo, commit, paths)
        whole = damage.parse(diff)
        files = whole if rng.random() < 0.5 else damage.without_index(whole)
        for kind, change in damage.MENDED.items():
            made = change(rng, copy.deepcopy(files))
            if made is not None:
                self.one(kind, repo, parent, tree, made, (before, after))
        _, base = cases.git(repo, "rev-parse", f"{parent}^{{tree}}")
        _, back = cases.git(repo, "diff", "--no-renames", "-R", parent, commit)
        for kind, made, wanted, where, given in (
                ("truncated", damage.truncated(rng, files), tree, parent, (before, after)),
                ("elided", damage.elided(rng, files), tree, parent, (before, after)),
                ("reversed", back, base.decode().strip(), parent, (before, before)),
                ("applied", damage.text(copy.deepcopy(files)), tree, commit, (after, after))):
            if made is not None:
                self.one(kind, repo, where, wanted, made, given)

    def show(self):
        table = self.table
        bad = ("truncated", "elided", "reversed", "applied")
        print(f"  {'exact / wrong, %':24} {'sbx':>15} {'git --recount':>15} {'patch --fuzz=5':>15}"
              f"   ms p50 / p99")
        good = [kind for kind in damage.MENDED if kind in table.times]
        for kind in good:
            shares = "".join(f" {table.share(name, [kind], 'exact'):8.2f} /"
                             f"{table.share(name, [kind], 'wrong'):5.2f}" for name in table.NAMES)
            print(f"  {kind:24}{shares}   {at(table.times[kind], 0.5):.2f} / "
                  f"{at(table.times[kind], 0.99):.2f}", flush=True)
        for kind in (kind for kind in bad if kind in table.times):
            done = len(table.times[kind])
            taken = "".join(f" {done - table.counts[name][kind]['refused']:15}"
                            for name in table.NAMES)
            print(f"  {kind + ', taken of ' + str(done):24}{taken}")
        for name, label in zip(table.NAMES, ("sbx, recover mode", "git apply --recount",
                                             "patch --batch --fuzz=5")):
            self.bench.row("recover", f"{label}: exact", table.share(name, good, "exact"), "%",
                           "at least 96 is the aim" if name == "sbx" else "")
            self.bench.row("recover", f"{label}: wrong", table.share(name, good, "wrong"), "%",
                           "at most 0.02 is the aim" if name == "sbx" else "")
            wrong = sum(table.counts[name][kind]["wrong"] for kind in bad)
            self.bench.row("recover", f"{label}: wrongly taken", wrong, "diffs",
                           "to refuse; 0 is the aim" if name == "sbx" else "")
        times = [value for kind in good for value in table.times[kind]]
        self.bench.row("recover", "sbx: a damaged diff, p50", at(times, 0.5), "ms")
        self.bench.row("recover", "sbx: a damaged diff, p99", at(times, 0.99), "ms")


def many_hunks(bench, engine):
    """The hunks of one real patch that took a naive matcher minutes: 721 without context."""
    repo = bench.path("recover-hunks")
    subprocess.run(["git", "init", "-q", "--bare", repo], check=True)
    lines = [b"line %d\n" % (number % 900) for number in range(9000)]
    new = [b"new\n" if number % 12 == 5 and number < 12 * 721 else line
           for number, line in enumerate(lines)]
    importer = cases.Importer()
    one, other = (importer.commit({"file": (cases.FILE, b"".join(each))}) for each in (lines, new))
    found = importer.run(repo)
    _, diff = cases.git(repo, "diff", "-U0", found[one][0], found[other][0])
    times = []
    for _ in range(9):
        began = time.perf_counter()
        answer = engine.ask(repo, found[one][0], 1, diff)
        times.append((time.perf_counter() - began) * 1000)
    note = "50 is the aim" if answer["ok"] and answer["tree"] == found[other][1] else "WRONG"
    bench.row("recover", f"sbx: {diff.count(b'@@ -')} hunks, -U0", at(times, 0.5), "ms", note)


def costs(bench, cost):
    inputs = hostile.inputs(cost.oid)
    for mode in ("strict", "recover"):
        rows = []
        for name, diff in inputs.items():
            status, seconds, megabytes, _ = min((cost.measure(mode, diff) for _ in range(2)),
                                                key=lambda row: row[1])
            rows.append((seconds * 1000, megabytes, name, status))
        refused = [row for row in rows if row[3] != 0]
        for row in sorted(refused, reverse=True)[:3]:
            print(f"  {mode}: {row[2]:34} {row[0]:8.1f} ms {row[1]:6.0f} MB")
        bench.row("recover", f"hostile, {mode}: {len(refused)} refused, slowest",
                  max(row[0] for row in refused), "ms", "processor time; 100 is the aim")
        bench.row("recover", f"hostile, {mode}: most memory", max(row[1] for row in refused), "MB",
                  "64 is the aim")
        for row in rows:
            if row[2] == "100,000 hunks, right":
                bench.row("recover", f"{mode}: 100,000 hunks, -U0", row[0], "ms",
                          "1000 is the aim" if row[3] == 0 else "REFUSED")


def run(bench):
    print("recover: damaged diffs of real commits")
    os.environ["SBX_BIN"] = bench.bin
    from test_hostile import Cost  # pylint: disable=import-outside-toplevel
    from engine import Engine  # pylint: disable=import-outside-toplevel
    repositories = bench.options.repository or [ROOT]
    engine = Engine("--no-protect", "--mode", "recover", mode=None)
    rng = random.Random(1)
    recover = Recover(bench, engine, repositories)
    for number, commit in enumerate(recover.commits(rng)):
        if number == max(10, bench.options.rounds // 4):
            break
        recover.damaged(rng, *commit)
    recover.show()
    many_hunks(bench, engine)
    engine.close()
    cost = Cost()
    costs(bench, cost)
    cost.close()
