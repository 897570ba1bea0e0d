"""Property: recover mode mends damaged diffs exactly, or refuses them.

Diffs of generated programs (full of repetition, which is what makes a wrong
place look right) and of this repository's own history are damaged in every kind
that damage.py knows, with and without index lines, and given to
`sbx-patch --batch` in recover mode. An accepted diff must give the real tree.
Truncated, elided, reversed, already applied and ambiguous diffs must be refused.
The environment that engine.py describes holds.
"""
import collections
import copy
import os
import random
import shutil
import tempfile
import time
import unittest

import damage
import patch_cases as cases
from engine import SECONDS, SEED, RepoCase

NAMES = ["main.c", "src/node.c", "src/deep/item.py", "lib/user.py", "README", "tool"]
EXACT_WANTED = 0.94
WRONG_MOST = 0.0002  # of damaged diffs; of those to refuse, none may be accepted
KEPT = 5
STYLES = ["-W", "-W -U1", "-W -U5", "-W --inter-hunk-context=4", "-U1", "-U10",
          "--inter-hunk-context=8"]


class Tally:
    def __init__(self):
        self.kinds = collections.defaultdict(collections.Counter)
        self.wrong = []

    def add(self, kind, what):
        self.kinds[kind][what] += 1

    def total(self, what):
        return sum(counts[what] for counts in self.kinds.values())

    def show(self):
        for kind, counts in self.kinds.items():
            print(f"  {kind:18} exact {counts['exact']:6}  refused {counts['refused']:5}"
                  f"  valid {counts['valid']:3}  wrong {counts['wrong']:4}", flush=True)


def tells_nothing(kind, files, indexed):
    """Whether the damage takes away what nothing else in the diff tells."""
    if indexed:
        return False
    lines = [line for hunk in damage.hunks_of(files) for line in hunk[5]]
    if kind == "marker lost":
        return any(line[:1] == b"\\" and lines[i - 1][:1] == b"+" for i, line in enumerate(lines))
    new = any(line.startswith(b"new file") for header, _ in files for line in header)
    return kind in ("all stripped", "CRLF all", "CRLF mixed", "LF for CRLF") and new and \
        any(line.endswith(b"\r") for line in lines)


class Recover(RepoCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.engine = cls.engine_of("--no-protect", "--mode", "recover", mode=None)
        cls.strict = cls.engine_of("--no-protect")

    def report(self, tally, kind, repo, base, tree, diff, answer):
        tally.add(kind, "wrong")
        kept = os.path.join(tempfile.gettempdir(),
                            f"sbx-recover-{kind.replace(' ', '-')}-{len(tally.wrong)}")
        if len(tally.wrong) < KEPT:
            shutil.rmtree(kept, ignore_errors=True)
            os.mkdir(kept)
            with open(os.path.join(kept, "diff"), "wb") as stream:
                stream.write(diff)
            _, pack = cases.git(repo, "archive", base)
            with open(os.path.join(kept, "base.tar"), "wb") as stream:
                stream.write(pack)
            if tree:
                _, real = cases.git(repo, "diff", base, tree)
                with open(os.path.join(kept, "real"), "wb") as stream:
                    stream.write(real)
        tally.wrong.append((kind, base, tree, answer, kept))

    def mend(self, tally, kind, base, tree, files, repo, rng, indexed):
        if tells_nothing(kind, files, indexed):
            return
        diff = damage.MENDED[kind](rng, copy.deepcopy(files))
        if diff is None:
            return
        answer = self.engine.ask(repo, base, 1, diff)
        if not answer["ok"]:
            tally.add(kind, "refused")
            tally.kinds[kind][answer["reason"]] += 1
        elif answer["tree"] == tree:
            tally.add(kind, "exact")
        elif not answer["adjusted"] and self.strict.ask(repo, base, 1, diff)["ok"]:
            tally.add(kind, "valid")  # the damage made another valid diff of it
        else:
            self.report(tally, kind, repo, base, tree, diff, answer)

    def refuse(self, tally, kind, base, diff, harmless=()):
        if diff is None:
            return
        answer = self.engine.ask(self.repo, base, 1, diff)
        if not answer["ok"] or answer["tree"] in harmless:
            tally.add(kind, "refused")
        elif not answer["adjusted"] and b"\nindex " not in diff and \
                self.strict.ask(self.repo, base, 1, diff)["ok"]:
            tally.add(kind, "valid")  # fits to the letter, and nothing in it says otherwise
        else:
            self.report(tally, kind, self.repo, base, None, diff, answer)

    def finish(self, tally, allowed=0):
        tally.show()
        exact, refused, wrong = (tally.total(what) for what in ("exact", "refused", "wrong"))
        done = exact + refused + wrong
        print(f"{done} cases: {100 * exact / max(1, done):.2f} % exact, {wrong} wrong", flush=True)
        if len(tally.wrong) > allowed * done:
            self.fail(f"seed {SEED}, kept in {tempfile.gettempdir()}: {tally.wrong[:3]}")
        for *_, kept in tally.wrong:
            shutil.rmtree(kept, ignore_errors=True)

    # --- generated -----------------------------------------------------------

    def pairs(self, rng, count):
        """(base commit, changed commit, its tree) of small repositories."""
        importer = cases.Importer()
        marks = []
        for _ in range(count):
            tree = {name: (cases.FILE, damage.program(rng))
                    for name in rng.sample(NAMES, rng.choice([1, 2, 4]))}
            new = dict(tree)
            for name in rng.sample(sorted(tree), rng.randrange(1, len(tree) + 1)):
                new[name] = (cases.FILE, damage.edited(rng, tree[name][1]))
            if rng.random() < 0.25:
                new[f"new/file{rng.randrange(100)}.py"] = (cases.FILE, damage.program(rng))
            if rng.random() < 0.05 and len(new) > 1:
                del new[rng.choice(sorted(tree))]
            one = importer.commit(tree)
            marks.append((one, importer.commit(new)))
        found = importer.run(self.repo)
        for one, other in marks:
            if found[one][1] != found[other][1]:
                yield found[one][0], found[other][0], found[one][1], found[other][1]

    def generated(self, name, share):
        rng = random.Random(f"{SEED} {name}")
        deadline = time.monotonic() + SECONDS * share
        while time.monotonic() < deadline:
            for one, other, base_tree, tree in self.pairs(rng, 40):
                context = rng.choice(["-U3", "-U3", "-U3", "-U5", "-U2"])
                _, diff = cases.git(self.repo, "diff", "--no-renames", context, one, other)
                if b"@@" in diff:
                    yield rng, one, other, base_tree, tree, diff
                if time.monotonic() > deadline:
                    return

    def test_generated_damage(self):
        tally = Tally()
        for rng, one, _, _, tree, diff in self.generated("damage", 0.4):
            files = damage.parse(diff)
            indexed = rng.random() < 0.5
            if not indexed:
                files = damage.without_index(files)
            for kind in damage.MENDED:
                self.mend(tally, kind, one, tree, files, self.repo, rng, indexed)
        self.finish(tally, WRONG_MOST)
        exact, refused = tally.total("exact"), tally.total("refused")
        self.assertGreater(exact + refused, 100)
        self.assertGreaterEqual(exact / (exact + refused), EXACT_WANTED)

    def test_generated_refusals(self):
        tally = Tally()
        for rng, one, other, base_tree, tree, diff in self.generated("refusals", 0.3):
            files = damage.parse(diff)
            if rng.random() < 0.5:
                files = damage.without_index(files)
            self.refuse(tally, "truncated", one, damage.truncated(rng, files))
            self.refuse(tally, "elided", one, damage.elided(rng, files))
            for change in (None, damage.wrong_lines, damage.bare, damage.wrong_counts):
                damaged = copy.deepcopy(files)
                damaged = change(rng, damaged) if change else damage.text(damaged)
                self.refuse(tally, "applied", other, damaged, (tree,))
            _, back = cases.git(self.repo, "diff", "--no-renames", "-R", one, other)
            self.refuse(tally, "reversed", one, back, (base_tree,))
            bare = damage.bare(rng, damage.without_index(damage.parse(back)))
            self.refuse(tally, "reversed, bare", one, bare, (base_tree,))
        self.finish(tally)

    def test_truncated_in_every_style(self):
        """Where functions are shown whole, context says nothing about what is missing."""
        rng = random.Random(f"{SEED} styles")
        deadline = time.monotonic() + SECONDS * 0.2
        tally = Tally()
        while time.monotonic() < deadline:
            for one, other, _, _ in self.pairs(rng, 20):
                for style in STYLES:
                    _, diff = cases.git(self.repo, "diff", "--no-renames", *style.split(), one,
                                        other)
                    files = damage.without_index(damage.parse(diff))
                    for _ in range(4 if damage.hunks_of(files) else 0):
                        self.refuse(tally, style, one, damage.truncated(rng, files))
        self.finish(tally)

    def test_ambiguous(self):
        rng = random.Random(f"{SEED} ambiguous")
        tally = Tally()
        importer = cases.Importer()
        marks = []
        for _ in range(30):
            block = [f"    call_{rng.randrange(9)}({i})".encode() for i in range(9)]
            parts = []
            for _ in range(rng.randrange(2, 5)):
                parts += [b"    before"] * rng.randrange(3) + block
            old = b"\n".join([b"def f():"] + parts + [b"end", b""])
            marks.append((importer.commit({"x.py": (cases.FILE, old)}), block))
        found = importer.run(self.repo)
        for mark, block in marks:
            at = rng.randrange(3, 6)
            hunk = [b" " + line for line in block]
            hunk[at:at + 1] = rng.choice([[b"-" + block[at], b"+    changed()"], [b"-" + block[at]],
                                          [hunk[at], b"+    added()"]])
            hunk = b"\n".join(hunk[at - 3:at + 5])
            for head in (b"@@", b"@@ -1,9 +40,9 @@", b"@@ -400,7 +400,7 @@ def f():"):
                diff = b"--- a/x.py\n+++ b/x.py\n" + head + b"\n" + hunk + b"\n"
                self.refuse(tally, "ambiguous", found[mark][0], diff)
        self.finish(tally)

    # --- this repository ---------------------------------------------------------

    def test_own_history(self):
        rng = random.Random(f"{SEED} history")
        clone, chosen = self.own_history(rng)
        deadline = time.monotonic() + SECONDS * 0.3
        tally = Tally()
        for commit in chosen:
            _, tree = cases.git(clone, "rev-parse", f"{commit}^{{tree}}")
            parent = cases.git(clone, "rev-parse", f"{commit}^")[1].decode().strip()
            _, diff = cases.git(clone, "diff", "--no-renames", parent, commit)
            if b"@@" not in diff or b"Binary files" in diff or len(diff) > 1 << 20:
                continue
            files = damage.parse(diff)
            indexed = rng.random() < 0.5
            if not indexed:
                files = damage.without_index(files)
            for kind in damage.MENDED:
                self.mend(tally, kind, parent, tree.decode().strip(), files, clone, rng, indexed)
            if time.monotonic() > deadline:
                break
        self.finish(tally)


if __name__ == "__main__":
    unittest.main(verbosity=2)
