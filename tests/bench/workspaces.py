"""The section "workspace" of tests/bench/run: a commit on disk, and what a job costs there.

Ours and the peers take turns in one loop. Nothing is deleted in between: ext4 is slow for
seconds after a large removal.
"""
import json
import os
import statistics
import subprocess
import time

ROUNDS = 4  # each begins once
SETTLES = 100


def ours(bench, repo, name, commits):
    """bench_workspace in a store of its own; what was measured -> values in ms."""
    out = subprocess.run([os.path.join(bench.tools, "bench_workspace"), bench.path(name), repo,
                          str(SETTLES), *commits], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    found = {}
    for row in map(json.loads, out.splitlines()):
        found.setdefault(row["name"], []).append(row["p50_ms"])
    return found


def peers(bench, repo, commit):
    def copy(to):
        subprocess.run(["cp", "-r", "--reflink=auto", os.path.join(repo, "."), to], check=True)

    return {
        "git worktree add": lambda to: bench.git(repo, "worktree", "add", "-q", "-f", "--detach",
                                                 to, commit),
        "git clone --shared": lambda to: bench.git(repo, "clone", "-q", "--shared", repo, to),
        "cp -r --reflink=auto": copy,
    }


def neighbours(bench, repo):
    """The last three commits, oldest first; a file changes, one comes, one goes each time."""
    for number in range(2):
        with open(os.path.join(repo, "d0/e0/f0.txt"), "a", encoding="ascii") as out:
            out.write(f"neighbour {number}\n")
        with open(os.path.join(repo, f"d1/new{number}"), "w", encoding="ascii") as out:
            out.write("new\n")
        os.unlink(os.path.join(repo, f"d2/e0/f{200 + number}.txt"))
        bench.git(repo, "add", "-A")
        bench.git(repo, "commit", "-q", "-m", f"neighbour {number}")
    return bench.git(repo, "log", "-3", "--reverse", "--format=%H").decode().split()


def disk_kib(path):
    return int(subprocess.run(["du", "-sk", path], stdout=subprocess.PIPE, check=True)
               .stdout.split()[0])


def in_turn(bench, repo, commits, rounds, name):
    """Ours and all peers, `rounds` times; (ours, peers) as name -> values in ms."""
    mine, theirs = {}, {}

    def we(number):
        for what, values in ours(bench, repo, f"store-{name}{number}", commits).items():
            mine.setdefault(what, []).extend(values)

    def they(number, peer, make):
        to = bench.path(f"peer-{name}{number}-{peer.replace(' ', '')}")
        began = time.perf_counter()
        make(to)
        theirs.setdefault(peer, []).append((time.perf_counter() - began) * 1000)

    for number in range(rounds):
        turns = [(we,)] + [(they, peer, make)
                           for peer, make in peers(bench, repo, commits[-1]).items()]
        for turn, *what in turns[number % len(turns):] + turns[:number % len(turns)]:
            turn(number, *what)
    return mine, theirs


def print_peers(bench, size, mine, theirs):
    first = statistics.median(mine["checkout, first"])
    ready = statistics.median(mine.get("ready and mounted", mine["base again"]))
    for peer, values in theirs.items():
        value = statistics.median(values)
        lose = "" if value >= first else ": WE LOSE"
        bench.row("workspace", f"{size}: {peer}", value, "ms",
                  f"{value / first:.2f} x ours from scratch{lose}, "
                  f"{value / ready:,.0f} x ours warm")
    bench.row("workspace", f"{size}: sbx from scratch", first, "ms",
              "at most git worktree add is the aim")
    for what in ("base again", "ready and mounted"):
        if what in mine:
            bench.row("workspace", f"{size}: sbx {what}", statistics.median(mine[what]), "ms",
                      "1 ms is the aim")


def run(bench):
    print(f"workspace: a commit of 5,000 files on disk, interleaved, median of {ROUNDS}")
    repo = bench.repository()
    mine, theirs = in_turn(bench, repo, neighbours(bench, repo), ROUNDS, "small")
    print_peers(bench, "5,000 files", mine, theirs)
    first = statistics.median(mine["checkout, first"])
    near = statistics.median(mine["checkout, neighbour"])
    bench.row("workspace", "5,000 files: sbx neighbouring commit", near, "ms",
              f"{first / near:,.0f} x faster than from scratch; 10 x is the aim")
    checkouts = os.path.join(bench.path("store-small0"), "checkouts")
    sizes = sorted(disk_kib(entry.path) for entry in os.scandir(checkouts) if entry.is_dir())
    bench.row("workspace", "5,000 files: sbx, disk of a neighbour", sizes[0], "KiB",
              f"the first one takes {sizes[-1]:,} KiB")
    bench.row("workspace", "sbx: settle a job that changed 3 files",
              statistics.median(mine["settle 3 files"]), "ms", "2 ms is the aim")
    bench.row("workspace", "sbx: rollback", statistics.median(mine["rollback"]), "ms",
              "1 ms is the aim")
    print("workspace: 80,000 files, once")
    large = bench.repository(80000)
    commits = neighbours(bench, large)
    mine, theirs = in_turn(bench, large, commits, 1, "large")
    print_peers(bench, "80,000 files", mine, theirs)
    bench.row("workspace", "80,000 files: sbx neighbouring commit",
              statistics.median(mine["checkout, neighbour"]), "ms")
