"""The self-test of check_style.py: a check that cannot fail is no check.

A fixture is a small tree in one text file:

    # what it shows
    expect: rule path:line        (any number; none: the tree is clean)
    === path/of/a/file.c
    content ...

The whole set of findings must be the expected one, and every rule that exists
must be tripped by some fixture. "{N lines}" in a content line repeats the line
below it N times, so that length rules need no long fixtures.
"""
import os
import re
import shutil
import tempfile


def parse(path):
    """Expected (path, line, rule) triples, and a list of (path, content)."""
    expected, files = set(), []
    with open(path, encoding="utf-8", newline="") as stream:
        lines = stream.read().split("\n")
    if lines[-1] == "":
        lines.pop()
    repeat = 1
    for line in lines:
        if line.startswith("=== "):
            files.append((line[4:], []))
        elif not files:
            found = re.fullmatch(r"expect: (\S+) (\S+):(\d+)", line)
            if found:
                expected.add((found.group(2), int(found.group(3)), found.group(1)))
            elif line and not line.startswith("#"):
                raise ValueError(f"{path}: cannot read '{line}'")
        elif re.fullmatch(r"\{\d+ lines\}", line):
            repeat = int(line[1:].split()[0])
        else:
            files[-1][1].extend([line] * repeat)
            repeat = 1
    return expected, files


def content_of(lines):
    """A last line of "{no newline}" leaves the newline out; {cr} and {blank} stand for those."""
    text = "\n".join(lines) + "\n"
    text = text.replace("{cr}", "\r").replace("{blank}", " ").replace("{empty}\n", "\n")
    return text.replace("\n{no newline}\n", "")


def judge_fixture(checker, root, files):
    with tempfile.TemporaryDirectory(prefix="sbx-style-") as folder:
        shutil.copy(os.path.join(root, ".clang-format"), folder)
        for name, lines in files:
            full = os.path.join(folder, name)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8", newline="") as stream:
                stream.write(content_of(lines))
        findings, _ = checker.judge(folder)
    return {(path, line, rule) for path, line, rule, _ in findings}


def run(checker, fixtures, root):
    failures, tripped, count = 0, set(), 0
    for name in sorted(os.listdir(fixtures)):
        expected, files = parse(os.path.join(fixtures, name))
        found = judge_fixture(checker, root, files)
        tripped |= {rule for _, _, rule in found}
        count += 1
        if found != expected:
            failures += 1
            for path, line, rule in sorted(expected - found):
                print(f"{name}: expected {rule} at {path}:{line}, which was not found")
            for path, line, rule in sorted(found - expected):
                print(f"{name}: found {rule} at {path}:{line}, which was not expected")
    for rule in sorted({name for name, _, _ in checker.RULES} | {"format"}):
        if rule not in tripped:
            failures += 1
            print(f"{rule}: no fixture trips this rule")
    stale = list(checker.stale_excuses())
    if len(stale) != len(checker.tables.EXCUSES):
        failures += 1
        print("excuses: a fixture used an excuse of the real tree")
    print(f"style self-test: {count} fixtures, {failures} failures")
    return 1 if failures else 0
