#!/usr/bin/python3
"""Names that file systems take for one are refused, and no others: against the tables of Python.

The rule is the one of snapshots/guard_fold.h: equal after canonical decomposition, without what is
ignored by default, with full case folding. Python's tables may be of an older Unicode; characters
that it does not know are left out.
"""
import base64
import itertools
import json
import random
import subprocess
import unicodedata
import unittest

import patch_cases as cases
from engine import PROGRAM, SEED, RepoCase

# Default_Ignorable_Code_Point of DerivedCoreProperties.txt, as far as assigned
IGNORED = {0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x3164, 0xfeff, 0xffa0,
           *range(0x180b, 0x1810), *range(0x200b, 0x2010), *range(0x202a, 0x202f),
           *range(0x2060, 0x2065), *range(0x2066, 0x2070), *range(0xfe00, 0xfe10),
           *range(0x1bca0, 0x1bca4), *range(0x1d173, 0x1d17b), 0xe0001, *range(0xe0020, 0xe0080),
           *range(0xe0100, 0xe01f0)}

FILES = 5000  # as many as a diff may have


def fold(name):
    kept = "".join(each for each in unicodedata.normalize("NFD", name) if ord(each) not in IGNORED)
    kept = unicodedata.normalize("NFD", kept)  # what was ignored may have parted marks
    return unicodedata.normalize("NFD", kept.casefold())


def assigned():
    return [chr(code) for code in range(0xa1, 0x30000)
            if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co", "Cc", "Zl", "Zp")]


def new_file(path):
    quoted = "".join("\\%03o" % byte for byte in path.encode())
    return f'diff --git "a/{quoted}" "b/{quoted}"\nnew file mode 100644\n'.encode()


class Names(RepoCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        importer = cases.Importer()
        mark = importer.commit({"base": (cases.FILE, b"x")})
        cls.base = importer.run(cls.repo)[mark][0]

    def judge(self, diffs):
        """What is said of each diff: None or the reason with its message."""
        lines = "".join(json.dumps({"id": str(number), "repo": self.repo, "commit": self.base,
                                    "diff_base64": base64.b64encode(diff).decode()}) + "\n"
                        for number, diff in enumerate(diffs))
        done = subprocess.run([PROGRAM, "--batch", "--no-protect"], input=lines, text=True,
                              stdout=subprocess.PIPE, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), len(diffs))
        return [None if each["ok"] else (each["reason"], each["message"]) for each in answers]

    def assert_pairs(self, pairs, folder="n/"):
        diffs = [new_file(folder + one) + new_file(folder + two) for one, two in pairs]
        for (one, two), said in zip(pairs, self.judge(diffs)):
            if fold(one) == fold(two):
                self.assertIsNotNone(said, f"accepted {one!r} with {two!r}")
                self.assertEqual("patch.collision", said[0], (one, two))
            else:
                self.assertIsNone(said, f"refused {one!r} with {two!r}")

    def test_every_character_in_other_forms(self):
        """Each character in the forms of its own, with what they all share around it."""
        pairs = []
        for each in assigned():
            name = f"x{each}y"
            forms = {each.lower(), each.upper(), each.casefold(), each.title(),
                     unicodedata.normalize("NFC", each), unicodedata.normalize("NFD", each),
                     unicodedata.normalize("NFKC", each)} - {each}
            pairs += [(name, f"x{form}y") for form in sorted(forms)
                      if "/" not in form and "\\" not in form]
            if ord(each) in IGNORED:
                pairs.append((name, "Xy"))
        self.assertGreater(len(pairs), 10000)
        self.assertGreater(sum(fold(one) == fold(two) for one, two in pairs), 5000)
        self.assert_pairs(pairs)

    def test_every_character_beside_all_others(self):
        """One diff with a file for each fold: nothing is refused that differs."""
        names = {}
        for each in assigned():
            names.setdefault(fold(f"x{each}"), f"x{each}")
        self.assertGreater(len(names), 100000)
        parts = [names[key] for key in sorted(names)]
        diffs = [b"".join(map(new_file, parts[at:at + FILES])) for at in
                 range(0, len(parts), FILES)]
        self.assertEqual([None] * len(diffs), self.judge(diffs))

    def test_marks_in_any_order(self):
        rng = random.Random(f"{SEED} marks")
        marks = [chr(code) for code in itertools.chain(range(0x300, 0x370), range(0x591, 0x5c0),
                                                       (0x345, 0x34f, 0x200d, 0xfe0f, 0x3099))]
        letters = "aAeEoOuUıİßſǅΐΰᾳᾼῌῼΆαΩΣς가각ạ̇Åﬃŉ"
        pairs = []
        for _ in range(6000):
            one = [rng.choice(letters), *rng.choices(marks, k=rng.randrange(1, 5)),
                   rng.choice(letters), *rng.choices(marks, k=rng.randrange(3))]
            two = list(one)
            for _ in range(rng.randrange(1, 3)):
                at = rng.randrange(1, len(two))
                two[at - 1], two[at] = two[at], two[at - 1]
            form = rng.choice(["NFC", "NFD"])
            two = unicodedata.normalize(form, rng.choice([str.lower, str.upper, str])("".join(two)))
            if "".join(one) != two:
                pairs.append(("".join(one), two))
        self.assertGreater(sum(fold(one) == fold(two) for one, two in pairs), 500)
        self.assert_pairs(pairs, folder="")


if __name__ == "__main__":
    unittest.main(verbosity=2)
