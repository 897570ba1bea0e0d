"""sbx-patch as a person calls it: commands, exit codes, and where it points."""
import base64
import json
import os
import subprocess

import sbxtest


class PatchCli(sbxtest.Case):
    needs_broker = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repo.commit({"README": "one\ntwo\nthree\n", "src/a.c": "int a;\n", "LICENSE": "l\n"})
        cls.change = cls.repo.diff({"README": "one\n2\nthree\n", "tests/new": "n\n"})

    def patch(self, *arguments, diff=b""):
        """(exit status, standard output); the diff goes through a file."""
        path = os.path.join(self.folder, "case.diff")
        with open(path, "wb") as stream:
            stream.write(diff)
        done = self.program("sbx-patch", *arguments, "--repo", self.repo.path, path)
        return done.returncode, done.stdout or done.stderr

    def test_check_says_what_would_result_and_writes_nothing(self):
        status, said = self.patch("check", diff=self.change)
        self.assertEqual(status, 0, said)
        tree = said.split("tree ")[1].split()[0]
        self.assertEqual(tree, self.repo.tree_after(self.change))
        status, said = self.patch("check", "--json", diff=self.change)
        answer = json.loads(said)
        self.assertEqual((status, answer["ok"], answer["tree"]), (0, True, tree))
        self.assertEqual([each["path"] for each in answer["files"]], ["README", "tests/new"])
        self.assertEqual(answer["findings"][0]["rule"], "patch.tests")

    def test_apply_makes_a_commit_under_a_ref(self):
        head = self.repo.head()
        status, said = self.patch("apply", "--ref", "refs/sbx/try", diff=self.change)
        self.assertEqual(status, 0, said)
        commit = said.split("commit ")[1].split()[0]
        self.assertEqual(self.repo.git("rev-parse", "refs/sbx/try").decode().strip(), commit)
        self.assertEqual(self.repo.git("rev-parse", commit + "^").decode().strip(), head)
        self.assertEqual(self.repo.git("show", commit + ":README"), b"one\n2\nthree\n")
        self.assertEqual(self.repo.head(), head)

    def test_a_refusal_points_at_the_line_of_the_diff(self):
        broken = self.change.replace(b"-two", b"-zwei")
        number = broken.split(b"\n").index(b"-zwei") + 1
        status, said = self.patch("check", diff=broken)
        self.assertEqual(status, 3)
        self.assertIn(f"case.diff:{number}: patch.conflict: ", said)
        for word in ("expected | ", "zwei", "found    | ", "two", "hint: "):
            self.assertIn(word, said)
        status, said = self.patch("check", "--json", diff=broken)
        self.assertEqual((status, json.loads(said)["reason"]["line"]), (3, number))

    def test_a_refusal_shows_the_line_and_what_in_it_is_meant(self):
        drop = self.repo.diff({"LICENSE": None})
        status, said = self.patch("check", diff=b"Some words first.\n\n" + drop)
        self.assertEqual(status, 3)
        lines = said.splitlines()
        self.assertIn("case.diff:3: patch.protected: ", lines[0])
        self.assertEqual(lines[1], "  3 | diff --git a/LICENSE b/LICENSE")
        self.assertEqual(lines[2], "    |              ^~~~~~~")
        # What would write to the terminal is spelled out, and nothing points into it.
        status, said = self.patch("check", diff=drop.replace(b"LICENSE", b"\x1b[2J"))
        self.assertEqual(status, 3)
        self.assertNotIn("\x1b", said)
        self.assertNotIn("^", said)

    def test_findings_and_guards_have_their_weight(self):
        change = self.repo.diff({"Makefile": "all:\n", "tests/t": "x\n"})
        status, said = self.patch("check", diff=change)
        self.assertEqual(status, 0)
        self.assertIn("warning  patch.build: Makefile: ", said)
        self.assertIn("info     patch.tests: tests/t: ", said)
        found = json.loads(self.patch("check", "--json", diff=change)[1])["findings"]
        self.assertEqual([each["severity"] for each in found], ["warning", "info"])
        moved = self.repo.diff({"LICENSE": None, "old": "l\n", "Makefile": "x\n"})
        self.assertIn(b"rename from LICENSE", moved)
        files = json.loads(self.patch("guard", "--json", diff=moved)[1])["files"]
        self.assertEqual([(each["path"], each["protected"], each["note"]) for each in files],
                         [("Makefile", "keep", "patch.build"), ("old", "keep", None)])

    def test_stat_show_and_guard_need_no_repository(self):
        self.assertEqual(self.patch("stat", diff=self.change),
                         (0, "1\t1\tREADME\n1\t0\ttests/new\n"))
        status, said = self.patch("show", diff=self.change)
        self.assertEqual(status, 0)
        self.assertIn("hunk 1: old 1+3, new 1+3", said)
        status, said = self.patch("guard", diff=self.change)
        self.assertEqual(status, 0)
        self.assertIn("README: keep by '/README*'", said)
        self.assertIn("tests/new: patch.tests", said)

    def test_the_list_of_protected_files(self):
        done = self.program("sbx-patch", "guard", "--list")
        self.assertEqual(done.returncode, 0)
        self.assertIn("/LICENSE*", done.stdout)
        rules = json.loads(self.program("sbx-patch", "guard", "--list", "--json").stdout)
        self.assertTrue(all(each["why"] for each in rules))

    def test_protection_and_its_switches(self):
        drop = self.repo.diff({"LICENSE": None})
        self.assertEqual(self.patch("check", diff=drop)[0], 3)
        self.assertIn("patch.protected", self.patch("check", diff=drop)[1])
        self.assertEqual(self.patch("check", "--allow", "LICENSE", diff=drop)[0], 0)
        self.assertEqual(self.patch("check", "--no-protect", diff=drop)[0], 0)
        self.assertEqual(self.patch("check", "--protect", "/README", diff=self.change)[0], 3)

    def test_exit_codes_of_misuse(self):
        self.assertEqual(self.program("sbx-patch").returncode, 2)
        self.assertEqual(self.program("sbx-patch", "frobnicate").returncode, 2)
        self.assertEqual(self.program("sbx-patch", "check", "--strip", "x").returncode, 2)
        self.assertEqual(self.program("sbx-patch", "check", "/no/such/diff").returncode, 6)
        self.assertEqual(self.program("sbx-patch", "--help").returncode, 0)
        self.assertEqual(self.program("sbx-patch", "--version").returncode, 0)
        self.assertEqual(self.patch("check", "--commit", "no-such", diff=self.change)[0], 6)
        self.assertEqual(self.patch("check", diff=b"+" * (7 << 20))[0], 3)

    def test_a_batch_survives_every_kind_of_line(self):
        lines = ["", "not json", "{}", '{"id": "x"}',
                 json.dumps({"id": "r", "repo": "/no/such", "commit": "main",
                             "diff_base64": ""}),
                 json.dumps({"id": "m", "repo": self.repo.path, "commit": "main",
                             "mode": "clever", "diff_base64": ""}),
                 json.dumps({"id": "b", "repo": self.repo.path, "commit": "main",
                             "diff_base64": "%%%"}),
                 json.dumps({"id": "c", "repo": self.repo.path, "commit": "none",
                             "diff_base64": ""})]
        done = self.program("sbx-patch", "--batch", stdin="\n".join(lines))
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([(each["id"], each["ok"], each["reason"]) for each in answers],
                         [(None, False, "job.malformed"), (None, False, "job.invalid"),
                          ("x", False, "job.invalid"), ("r", False, "source.unreachable"),
                          ("m", False, "job.unsupported"), ("b", False, "job.invalid"),
                          ("c", False, "source.no_commit")])

    def test_a_batch_reads_the_diff_however_json_spells_it(self):
        text = base64.b64encode(self.change + b"\n-- \nx\xff\xfe?>").decode()
        self.assertIn("/", text)
        common = f'"repo": {json.dumps(self.repo.path)}, "commit": "main"'
        lines = [f'{{"id": "plain", {common}, "diff_base64": "{text}"}}',
                 f'{{"diff_base64" \t:  "{text}" , "id": "first", {common}}}',
                 f'{{"id": "escaped", {common}, "diff_base64": "{text}"}}'.replace("/", "\\/"),
                 f'{{"id": "inside", {common}, "x": {{"diff_base64": "{text}"}}}}',
                 f'{{"id": "both", "x": {{"diff_base64": "AAAA"}}, {common}, '
                 f'"diff_base64": "{text}"}}',
                 f'{{"id": "text", "x": "\\"diff_base64\\": \\"AAAA\\"", {common}, '
                 f'"diff_base64": "{text}"}}',
                 f'{{"id": "element", "x": ["diff_base64", "y"], {common}, '
                 f'"diff_base64": "{text}"}}',
                 f'{{"id": "mark", {common}, "x": {{"diff_base64": "{text}"}}, '
                 f'"diff_base64": "="}}',
                 f'{{"id": "bare", {common}, "diff_base64": "{text.rstrip("=")}"}}',
                 f'{{"id": "odd", {common}, "diff_base64": "{text[:-4] + "A"}"}}',
                 f'{{"id": "open", {common}, "diff_base64": "{text}']
        done = self.program("sbx-patch", "--batch", stdin="\n".join(lines))
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        tree = self.repo.tree_after(self.change)
        self.assertEqual([each["id"] for each in answers if each["tree"] == tree],
                         ["plain", "first", "escaped", "both", "text", "element", "bare"])
        self.assertEqual([(each["id"], each["reason"]) for each in answers if not each["ok"]],
                         [("inside", "job.invalid"), ("mark", "job.invalid"),
                          ("odd", "job.invalid"), (None, "job.malformed")])

    def test_a_batch_does_not_grow(self):
        request = {"repo": self.repo.path, "commit": "main",
                   "diff_base64": base64.b64encode(self.change).decode()}
        refused = {**request, "diff_base64": base64.b64encode(self.change[:-9]).decode()}
        program = os.path.join(sbxtest.BIN, "sbx-patch")
        child = subprocess.Popen([program, "--batch"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        weights = []
        for number in range(12000):
            line = {**(refused if number % 3 == 2 else request), "id": str(number)}
            child.stdin.write(json.dumps(line).encode() + b"\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            self.assertEqual((answer["id"], answer["ok"]), (str(number), number % 3 != 2))
            if number in (4000, 11999):
                with open(f"/proc/{child.pid}/status", encoding="ascii") as status:
                    weights += [int(each.split()[1]) for each in status
                                if each.startswith("VmRSS:")]
        child.stdin.close()
        child.stdout.close()
        self.assertEqual(child.wait(), 0)
        # 8,000 diffs of which each kept a page would be 32 MB.
        self.assertLess(weights[1] - weights[0], 2048, weights)


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
