"""What a test program's output says: passed, failed, skipped and why.

Three dialects are read: cmocka's lines, Python's unittest in its verbose form,
and a last line "N passed, N failed, N skipped". What is counted is what ran:
a program that says nothing in any of them has not proved anything.
"""
import re
from dataclasses import dataclass, field


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skips: list = field(default_factory=list)  # (test, reason)

    @property
    def total(self):
        return self.passed + self.failed + len(self.skips)


def read_cmocka(text):
    """One line a test; a skip's reason is what the test printed before it."""
    counts = Counts()
    said = ""
    for line in text.split("\n"):
        found = re.match(r"\[ *(OK|FAILED|ERROR|SKIPPED|RUN) *\] (\S+)$", line.strip())
        if re.match(r"\[ *(PASSED) *\] |\[=+\] .* run\.", line.strip()):
            break
        if not found:
            said = line.strip() or said
        elif found.group(1) == "RUN":
            said = ""
        elif found.group(1) == "OK":
            counts.passed += 1
        elif found.group(1) == "SKIPPED":
            counts.skips.append((found.group(2), said or "no reason given"))
        else:
            counts.failed += 1
    return counts


def read_unittest(text):
    """The summary has the numbers, the verbose lines the reasons of skips."""
    ran = re.findall(r"^Ran (\d+) tests? in ", text, re.MULTILINE)
    if not ran:
        return Counts()
    summary = re.findall(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", text, re.MULTILINE)
    numbers = dict(re.findall(r"([a-z ]+)=(\d+)", summary[-1])) if summary else {"errors": "1"}
    numbers = {name.strip(): int(number) for name, number in numbers.items()}
    counts = Counts()
    counts.failed = numbers.get("failures", 0) + numbers.get("errors", 0) + \
        numbers.get("unexpected successes", 0)
    at = "?"
    for line in text.split("\n"):
        found = re.match(r"(\w+) \(([\w.]+)\)", line)
        at = found.group(1) if found else at
        found = re.search(r" \.\.\. skipped (['\"])(.*)\1$", line)
        if found:
            counts.skips.append((at, found.group(2)))
    while len(counts.skips) < numbers.get("skipped", 0):
        counts.skips.append(("?", "no reason given"))
    counts.passed = len(re.findall(r"^(?:.* \.\.\. )?ok$", text, re.MULTILINE))
    return counts


def read_summary(text):
    counts = Counts()
    found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.MULTILINE)
    if found:
        counts.passed, counts.failed, skipped = (int(number) for number in found[-1])
        reasons = re.findall(r"^SKIP (\S+): (.*)$", text, re.MULTILINE)
        counts.skips = (reasons + [("?", "no reason given")] * skipped)[:skipped]
    return counts


def read(text, status):
    """The counts of one finished program, made consistent with its exit status."""
    counts = max((read_cmocka(text), read_unittest(text), read_summary(text)),
                 key=lambda each: each.total)
    if status == 0 and counts.total == 0:
        counts.failed = 1  # it ran no test
    if status != 0 and counts.failed == 0:
        counts.failed = 1  # it died, or failed outside of its tests
    return counts
