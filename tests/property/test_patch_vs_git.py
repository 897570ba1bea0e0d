"""Property: on every valid diff the patch engine makes the tree that git makes.

Random repositories and edits, diffed by git in random styles, and this
repository's own history in several; each diff goes through `sbx-patch --batch`
and must give the real tree, which git's own `apply --cached` is asked for on a
sample. On a base that has drifted, or with a damaged diff, the engine may
refuse what git takes, but whatever git refuses it refuses, and where both
accept they agree.
The environment that engine.py describes holds.
"""
import os
import random
import shutil
import subprocess
import tempfile
import time
import unittest

import patch_cases as cases
from engine import SECONDS, SEED, RepoCase

HISTORY_STYLES = (["-M"], ["--no-renames", "-U0"], ["-C", "-U1", "--full-index"],
                  ["-B", "-M", "-U10"], ["--no-prefix", "-U2"], ["-M20%", "--patience"])


class Property(RepoCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.engine = cls.engine_of("--no-protect")

    def complain(self, what, commit, diff, answer, **more):
        kept = os.path.join(tempfile.gettempdir(), "sbx-property-failure")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.folder, kept)
        with open(os.path.join(kept, "diff"), "wb") as stream:
            stream.write(diff)
        self.fail(f"{what}: seed {SEED}, base {commit}, kept in {kept}: {answer} {more}")

    @staticmethod
    def moves_at(diff, message):
        """Whether the file of the diff that `message` ("line 7: ...") names is a copy or rename."""
        line = int(message.split(":")[0].removeprefix("line "))
        header = diff.split(b"\n")[line:line + 6]
        return any(each.startswith((b"copy to ", b"rename to ")) for each in header)

    def check(self, repo, commit, strip, diff, tree, **more):
        answer = self.engine.ask(repo, commit, strip, diff)
        if not answer["ok"] or answer["tree"] != tree or answer["adjusted"]:
            theirs = self.git_tree(repo, commit, strip, diff)
            if not answer["ok"] and theirs is None:
                return False  # git refuses its own diff (a known rarity of -B)
            if answer["reason"] == "patch.exists" and self.moves_at(diff, answer["message"]):
                return False  # onto an existing file, which the guards forbid and git allows
            self.complain("not the real tree", commit, diff, answer, tree=tree, git=theirs, **more)
        return True

    # --- generated -----------------------------------------------------------

    def generate(self, rng, count, make):
        """`count` bases with what `make` derives of them; yields (base, *derived)."""
        importer = cases.Importer()
        made = []
        for _ in range(count):
            base = cases.base_tree(rng)
            trees = [base, *make(rng, base)]
            made.append((trees, [importer.commit(tree) for tree in trees]))
        found = importer.run(self.repo)
        for trees, marks in made:
            yield trees, [found[mark] for mark in marks]

    def rounds(self, share, salt):
        deadline = time.monotonic() + SECONDS * share
        number = 0
        while number == 0 or time.monotonic() < deadline:
            yield random.Random(f"{SEED} {salt} {number}")
            number += 1

    def test_generated_diffs_give_the_real_tree(self):
        done = refused = 0
        for rng in self.rounds(0.4, "valid"):
            pairs = self.generate(rng, 40, lambda r, base: [cases.changed(r, base)])
            for trees, ((one, one_tree), (two, two_tree)) in pairs:
                if one_tree == two_tree:
                    continue
                binaries = any(b"\0" in data for tree in trees for _, data in tree.values())
                for _ in range(3):
                    options, strip, bare = cases.style(rng, binaries)
                    _, diff = cases.git(self.repo, "diff", *options, one, two)
                    diff = cases.without_index(diff) if bare else diff
                    refused += not self.check(self.repo, one, strip, diff, two_tree,
                                              options=options)
                    done += 1
        print(f"{done} diffs, {refused} refused as by git", flush=True)
        self.assertLess(refused, 1 + done // 50)

    def test_series_of_mails(self):
        done = 0
        for rng in self.rounds(0.1, "series"):
            importer = cases.Importer()
            chains = []
            for _ in range(10):
                tree = cases.base_tree(rng)
                chain = [importer.commit(tree)]
                for _ in range(3):
                    tree = cases.changed(rng, tree)
                    chain.append(importer.commit(tree, chain[-1]))
                chains.append(chain)
            found = importer.run(self.repo)
            for chain in chains:
                one, two = found[chain[0]], found[chain[-1]]
                _, mails = cases.git(self.repo, "format-patch", "--stdout", "--binary",
                                     *rng.choice([["--no-renames"], ["-M"], ["-C"], ["-B", "-M"]]),
                                     f"{one[0]}..{two[0]}")
                if one[1] != two[1] and mails:
                    self.check(self.repo, one[0], 1, mails, two[1], options="format-patch")
                    done += 1
        print(f"{done} series", flush=True)

    def test_plain_diffs(self):
        done = 0
        for rng in self.rounds(0.1, "plain"):
            tree, new = {}, {}
            for i in range(rng.choice([1, 3, 8])):
                name = f"d{i % 3}/f {i}" if rng.random() < 0.3 else f"f{i}"
                data = cases.join(rng, cases.lines(rng, rng.choice([3, 20, 80])), crlf=False)
                if rng.random() < 0.85:
                    tree[name] = (cases.FILE, data)
                if rng.random() < 0.85:
                    new[name] = (cases.FILE, cases.edit(rng, data) or b"x\n")
            if not tree or tree == new:
                continue
            importer = cases.Importer()
            importer.commit(tree)
            importer.commit(new or {"only": (cases.FILE, b"x\n")})
            (one, _), (_, two_tree) = importer.run(self.repo).values()
            diff = self.gnu_diff(tree, new or {"only": (cases.FILE, b"x\n")},
                                 rng.choice([["-ruN"], ["-rN", "-U1"], ["-rNU10"]]))
            if diff:
                self.check(self.repo, one, 1, diff, two_tree, options="diff -ruN")
                done += 1
        print(f"{done} plain diffs", flush=True)

    def gnu_diff(self, tree, new, options):
        for side, files in (("old", tree), ("new", new)):
            shutil.rmtree(os.path.join(self.folder, side), ignore_errors=True)
            os.makedirs(os.path.join(self.folder, side))
            for path, (_, data) in files.items():
                full = os.path.join(self.folder, side, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "wb") as stream:
                    stream.write(data)
        return subprocess.run(["diff", *options, "-a", "old", "new"], cwd=self.folder,
                              stdout=subprocess.PIPE, env={**cases.ENV, "TZ": "America/New_York"},
                              check=False).stdout

    # --- not as it was made ----------------------------------------------------

    def compare(self, commit, strip, diff, tally):
        """On any input: what git refuses is refused, what both take is one tree."""
        answer = self.engine.ask(self.repo, commit, strip, diff)
        theirs = self.git_tree(self.repo, commit, strip, diff)
        key = ("taken" if answer["ok"] else "refused") + (" by both" if (theirs is None) !=
                                                          answer["ok"] else " alone")
        tally[key] = tally.get(key, 0) + 1
        if not answer["ok"]:
            tally[answer["reason"]] = tally.get(answer["reason"], 0) + 1
            self.assertTrue(answer["message"])
        elif answer["tree"] != theirs:
            self.complain("not git's answer", commit, diff, answer, git=theirs)

    def test_drifted_bases_never_disagree_with_git(self):
        tally = {}
        for rng in self.rounds(0.2, "drift"):
            triples = self.generate(rng, 20, lambda r, base: [cases.changed(r, base),
                                                              cases.changed(r, base)])
            for _, ((one, one_tree), (two, two_tree), (three, _)) in triples:
                if one_tree != two_tree:
                    options = rng.choice([["-M"], ["--no-renames"], ["-U1"], ["-U5"]])
                    _, diff = cases.git(self.repo, "diff", "--binary", *options, one, two)
                    self.compare(three, 1, diff, tally)
        print(f"drifted: {tally}", flush=True)
        self.assertTrue(tally.get("taken by both"))
        self.assertFalse(tally.get("taken alone"), tally)

    def test_reversed_and_applied_diffs_are_refused(self):
        count = {}
        for rng in self.rounds(0.05, "again"):
            pairs = self.generate(rng, 10, lambda r, base: [cases.changed(r, base)])
            for _, ((one, one_tree), (two, two_tree)) in pairs:
                if one_tree == two_tree:
                    continue
                _, diff = cases.git(self.repo, "diff", "--binary", one, two)
                answer = self.engine.ask(self.repo, two, 1, diff)
                count[answer["reason"]] = count.get(answer["reason"], 0) + 1
                if answer["ok"] and answer["tree"] != self.git_tree(self.repo, two, 1, diff):
                    self.complain("applied twice", two, diff, answer)
        print(f"again: {count}", flush=True)
        self.assertTrue(count.get("patch.applied"))

    def test_truncated_diffs_are_refused(self):
        done = 0
        for rng in self.rounds(0.05, "cut"):
            pairs = self.generate(rng, 10, lambda r, base: [cases.changed(r, base)])
            for _, ((one, one_tree), (two, two_tree)) in pairs:
                _, diff = cases.git(self.repo, "diff", "--binary", one, two)
                if one_tree == two_tree or len(diff) < 10:
                    continue
                for _ in range(5):
                    cut = diff[:rng.randrange(len(diff) - 1)]
                    answer = self.engine.ask(self.repo, one, 1, cut)
                    whole = diff[len(cut):].startswith(b"diff --git ")
                    if answer["ok"] and not whole and answer["tree"] == two_tree:
                        continue  # only what adds nothing was cut off
                    if answer["ok"] and not whole and \
                            answer["tree"] != self.git_tree(self.repo, one, 1, cut):
                        self.complain("took a part", one, cut, answer)
                    done += 1
        print(f"{done} truncated", flush=True)

    # --- this repository ---------------------------------------------------------

    def test_own_history(self):
        rng = random.Random(f"{SEED} history")
        clone, chosen = self.own_history(rng)
        deadline = time.monotonic() + SECONDS * 0.3
        done = 0
        for number, commit in enumerate(chosen):
            if time.monotonic() > deadline:
                break
            _, tree = cases.git(clone, "rev-parse", f"{commit}^{{tree}}", f"{commit}^^{{tree}}")
            tree, before = tree.decode().split()
            if tree == before:
                continue
            for options in (HISTORY_STYLES[number % 6], HISTORY_STYLES[(number + 1) % 6]):
                _, diff = cases.git(clone, "diff", "--binary", *options, f"{commit}^", commit)
                strip = 0 if "--no-prefix" in options else 1
                parent = cases.git(clone, "rev-parse", f"{commit}^")[1].decode().strip()
                self.check(clone, parent, strip, diff, tree, options=options)
                done += 1
            _, mail = cases.git(clone, "format-patch", "--stdout", "--binary", "-1", commit)
            self.check(clone, parent, 1, mail, tree, options="format-patch")
            done += 1
        print(f"{done} diffs of {len(chosen)} commits", flush=True)
        self.assertTrue(done)


if __name__ == "__main__":
    unittest.main(verbosity=2)
