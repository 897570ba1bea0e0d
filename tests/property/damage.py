"""Damage of the kinds that diffs suffer on their way, and files to diff.

A diff is a list of files; a file is (header lines, hunks); a hunk is
[a, b, c, d, heading, lines], or has a ready header in place of the numbers.
Each kind takes (rng, files) and returns bytes, or None where it does not apply.
"""
import copy
import re

RANGE = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)", re.S)


# --- files that look like programs ---------------------------------------

NOUNS = ["node", "item", "user", "buffer", "index", "state", "queue", "entry", "table", "name"]
VERBS = ["get", "set", "find", "free", "load", "check", "parse", "reset"]


def c_function(rng):
    noun, verb = rng.choice(NOUNS), rng.choice(VERBS)
    out = [f"int {noun}_{verb}(struct {noun} *{noun}, int value)", "{"]
    if rng.random() < 0.5:
        out.append("\tint result = 0;")
        out.append("")
    for _ in range(rng.randrange(1, 7)):
        field = rng.choice(NOUNS)
        out += rng.choice([
            [f"\tif ({noun} == NULL)", "\t\treturn -1;"],
            [f"\tif ({noun}->{field} == {rng.randrange(10)}) {{", f"\t\t{noun}->{field}++;",
             "\t\treturn 0;", "\t}"],
            [f"\t{noun}->{field} = value;"],
            [f"\tfor (int i = 0; i < {rng.choice([8, 16, 64])}; i++) {{",
             f"\t\tresult += {noun}->{field};", "\t}"],
            [""], [f"\t/* {rng.choice(NOUNS)} {rng.choice(VERBS)} */"],
            ["\tfree(result);"], ["\tbreak;"]])
    return out + ["\treturn 0;", "}", ""]


def py_function(rng):
    noun, verb = rng.choice(NOUNS), rng.choice(VERBS)
    out = [f"def {verb}_{noun}(self, value):"]
    for _ in range(rng.randrange(1, 7)):
        field = rng.choice(NOUNS)
        out += rng.choice([
            [f"    if {noun} is None:", "        return None"],
            [f"    for {field} in self.{noun}:", f"        {field}.{verb}(value)"],
            [f"    self.{field} = value"], ["    try:", f"        {verb}({field})",
                                           "    except ValueError:", "        pass"],
            [""], [f"    # {noun} {field}"], [f'    log("{noun}", {rng.randrange(100)})']])
    return out + [f"    return {noun}", "", ""]


def program(rng):
    """Text of a program: functions, some of them repeated with small changes."""
    make = rng.choice([c_function, py_function])
    blocks = [make(rng) for _ in range(rng.choice([1, 3, 8, 20]))]
    for _ in range(rng.choice([0, 0, 2, 5])):
        block = list(rng.choice(blocks))
        if rng.random() < 0.6:
            block[rng.randrange(len(block))] = f"    unique_{rng.randrange(10 ** 6)}();"
        blocks.insert(rng.randrange(len(blocks) + 1), block)
    out = [line for block in blocks for line in block]
    end = "\r\n" if rng.random() < 0.1 else "\n"
    text = end.join(out) + end
    return (text.rstrip() if rng.random() < 0.12 else text).encode()


def edited(rng, data):
    end = b"\r\n" if b"\r\n" in data else b"\n"
    parts = data.split(end)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 5])):
        at = rng.randrange(max(1, len(parts) - 1))
        new = [rng.choice([b"    added_%d()" % rng.randrange(1000), b"\treturn 1;",
                           b"", b"    x = %d" % rng.randrange(1000),
                           b"\tif (value)" ]) for _ in range(rng.choice([0, 1, 1, 1, 2, 4]))]
        parts[at:at + rng.choice([0, 1, 1, 2, 3])] = new
    return end.join(parts)


# --- diffs -----------------------------------------------------------------

def parse(diff):
    files = []
    owed = [0, 0]
    for line in diff.split(b"\n")[:-1]:
        if owed[0] > 0 or owed[1] > 0 or (line[:1] == b"\\" and files and files[-1][1]):
            files[-1][1][-1][5].append(line)
            owed[0] -= line[:1] in (b" ", b"-")
            owed[1] -= line[:1] in (b" ", b"+")
            continue
        found = RANGE.fullmatch(line)
        if found and files:
            a, b, c, d, heading = found.groups()
            b, d = b or b"1", d or b"1"
            owed = [int(b), int(d)]
            files[-1][1].append([int(a), int(b), int(c), int(d), heading, []])
        elif line.startswith(b"diff --git "):
            files.append(([line], []))
        else:
            files[-1][0].append(line)
    return files


def hunk_text(hunk):
    if isinstance(hunk[0], bytes):
        head = hunk[0]
    else:
        head = b"@@ -%d,%d +%d,%d @@" % tuple(hunk[:4])
        if hunk[4]:
            head += b" " + hunk[4]
    return [head] + hunk[5]


def lines_of(files):
    out = []
    for header, hunks in files:
        out += header
        for hunk in hunks:
            out += hunk_text(hunk)
    return out


def text(files):
    return b"\n".join(lines_of(files)) + b"\n"


def hunks_of(files):
    return [hunk for _, hunks in files for hunk in hunks]


def without_index(files):
    files = copy.deepcopy(files)
    for header, _ in files:
        header[:] = [line for line in header if not line.startswith(b"index ")]
    return files


# --- damage that may be mended --------------------------------------------------

def wrong_counts(rng, files):
    for hunk in hunks_of(files):
        for i in (1, 3):
            hunk[i] = max(0, hunk[i] + rng.choice([-3, -2, -1, 0, 1, 2, 3]))
    return text(files)


def wrong_lines(rng, files):
    for hunk in hunks_of(files):
        for i in (0, 2):
            hunk[i] = max(1, hunk[i] + rng.randrange(-40, 40))
    return text(files)


def wrong_both(rng, files):
    wrong_lines(rng, files)
    return wrong_counts(rng, files)


def bare(rng, files):
    for hunk in hunks_of(files):
        hunk[0] = rng.choice([b"@@", b"@@ @@", b"@@ ... @@",
                              b"@@ @@" + (b" " + hunk[4] if hunk[4] else b"")])
    return text(files)


def plain_only(files):
    return all(hunks and not any(line.startswith((b"new file", b"deleted", b"rename", b"copy",
                                                  b"old mode", b"similarity"))
                                 for line in header) for header, hunks in files)


def no_git_line(_, files):
    if not plain_only(files):
        return None
    for header, _ in files:
        header[:] = [line for line in header if line.startswith((b"--- ", b"+++ "))]
    return text(files)


def no_prefix(_, files):
    if any(b'"' in line or line.startswith((b"rename", b"copy")) for header, _ in files
           for line in header):
        return None
    for header, _ in files:
        header[:] = [re.sub(rb"^(---|\+\+\+) [ab]/", rb"\1 ",
                            re.sub(rb"^diff --git a/(.*) b/(.*)$", rb"diff --git \1 \2", line))
                     for line in header]
    return text(files)


def no_final_newline(_, files):
    return text(files)[:-1]


def fence(rng, files):
    word = rng.choice([b"diff", b"patch", b""])
    return b"```" + word + b"\n" + text(files) + b"```" + rng.choice([b"", b"\n"])


def prose_before(_, files):
    return b"Here is the change that you asked for:\n\n" + text(files)


def prose_after(_, files):
    return text(files) + b"\nThis makes the function return early.\nTell me if it helps.\n"


def each_line(files, change):
    for hunk in hunks_of(files):
        hunk[5] = [change(line) for line in hunk[5]]
    return text(files)


def blank_context(_, files):
    return each_line(files, lambda line: b"" if line == b" " else line)


def context_stripped(_, files):
    return each_line(files, lambda line: line.rstrip() if line[:1] == b" " else line)


def all_stripped(_, files):
    if any(line != line.rstrip() and line[:1] == b"+" and b"\r" not in line
           for hunk in hunks_of(files) for line in hunk[5]):
        return None
    return b"\n".join(line.rstrip() for line in lines_of(files)) + b"\n"


def crlf_all(_, files):
    return text(files).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def crlf_mixed(rng, files):
    """At least one header line gets a CR, else nothing may tell that it is damage."""
    lines = lines_of(files)
    first = rng.randrange(2)
    return b"".join(line + (b"\r\n" if i == first else rng.choice([b"\n", b"\r\n"]))
                    for i, line in enumerate(lines))


def lf_for_crlf(_, files):
    data = text(files)
    return data.replace(b"\r\n", b"\n") if b"\r\n" in data else None


def changes_at(lines):
    return [i for i, line in enumerate(lines) if line[:1] in (b"+", b"-")]


def context_dropped(rng, files):
    done = False
    for hunk in hunks_of(files):
        spots = [i for i, line in enumerate(hunk[5]) if line[:1] == b" " and
                 hunk[5][i + 1:i + 2] and hunk[5][i + 1][:1] != b"\\"]
        if len(spots) > 2 and rng.random() < 0.7:
            del hunk[5][rng.choice(spots)]
            if rng.random() < 0.5:
                hunk[1] -= 1
                hunk[3] -= 1
            done = True
    return text(files) if done else None


def context_altered(rng, files):
    done = False
    for hunk in hunks_of(files):
        changed = changes_at(hunk[5])
        for i, outer in ((0, changed[0] > 1), (-1, changed[-1] < len(hunk[5]) - 2)):
            if outer and rng.random() < 0.5 and hunk[5][i][:1] == b" ":
                hunk[5][i] = b"     something_else(%d);" % rng.randrange(1000)
                done = True
    return text(files) if done else None


def context_indented(rng, files):
    change = rng.choice([lambda line: b" " + line[1:].expandtabs(),
                         lambda line: b"   " + line[1:], lambda line: b" " + line[1:].lstrip()])
    return each_line(files, lambda line: change(line) if line[:1] == b" " else line)


def out_of_order(rng, files):
    done = False
    for _, hunks in files:
        before = list(hunks)
        rng.shuffle(hunks)
        done = done or before != hunks
    return text(files) if done else None


def new_without_mode(rng, files):
    done = False
    for header, hunks in files:
        if not any(line.startswith(b"new file mode 100644") for line in header) or not hunks:
            continue
        way = rng.randrange(3)
        name = next(line for line in header if line.startswith(b"+++ "))[6:]
        if way != 0:
            header[:] = [line for line in header if not line.startswith(b"new file")]
        if way != 1:
            header[:] = [b"--- a/" + name if line == b"--- /dev/null" else line for line in header]
        done = True
    return text(files) if done else None


def fake_index(rng, files):
    done = False
    for header, _ in files:
        for i, line in enumerate(header):
            if line.startswith(b"index "):
                new = b"0000000" in line[6:13]
                made = rng.choice([b"index 1234567..89abcde", b"index abc1234..def5678",
                                   b"index %07x..%07x" % (rng.getrandbits(28), rng.getrandbits(28)),
                                   b"index XXXXXXX..YYYYYYY"])
                header[i] = b"index 0000000..e69de29" if new else made + b" 100644"
                done = True
    return text(files) if done else None


def marked(lines):
    """The kinds of the lines that have the marker behind them."""
    return {before[:1] for before, line in zip(lines, lines[1:]) if line[:1] == b"\\"}


def marker_lost(_, files):
    """Only where the base tells that it was there: of both sides, or of none."""
    done = False
    for hunk in hunks_of(files):
        if marked(hunk[5]) in ({b"+"}, {b"-"}):
            return None
        kept = [line for line in hunk[5] if line[:1] != b"\\"]
        done = done or kept != hunk[5]
        hunk[5] = kept
    return text(files) if done else None


MENDED = {"wrong counts": wrong_counts, "wrong lines": wrong_lines, "wrong both": wrong_both,
          "bare @@": bare, "no diff --git": no_git_line, "no prefix": no_prefix,
          "no final newline": no_final_newline, "code fence": fence,
          "prose before": prose_before, "prose after": prose_after,
          "blank context": blank_context, "context stripped": context_stripped,
          "all stripped": all_stripped, "CRLF all": crlf_all, "CRLF mixed": crlf_mixed,
          "LF for CRLF": lf_for_crlf, "context dropped": context_dropped,
          "context altered": context_altered, "context indented": context_indented,
          "out of order": out_of_order, "new without mode": new_without_mode,
          "fake index": fake_index, "marker lost": marker_lost}


# --- what must be refused ---------------------------------------------------------

def truncated(rng, files):
    """Cut inside a hunk, so that a line or a part of one is lost."""
    files = copy.deepcopy(files)
    number = rng.choice([i for i, (_, hunks) in enumerate(files) if hunks])
    del files[number + 1:]
    hunks = files[-1][1]
    del hunks[rng.randrange(len(hunks)) + 1:]
    lines = hunks[-1][5]
    if lines[-1][:1] == b"\\":
        return None
    keep = rng.randrange(len(lines))
    if rng.random() < 0.5:
        hunks[-1][5] = lines[:keep]
        return text(files)
    line = lines[keep]
    cut = line[:rng.randrange(len(line))]
    if keep == len(lines) - 1 and cut == line.removesuffix(b"\r"):
        return None  # nothing but the end of a line
    hunks[-1][5] = lines[:keep] + [cut]
    return text(files)[:-1]


def elided(rng, files):
    files = copy.deepcopy(files)
    hunk = rng.choice(hunks_of(files))
    if len(hunk[5]) < 5 or any(line[:1] == b"\\" for line in hunk[5]):
        return None
    at = rng.randrange(len(hunk[5]) - 2)
    gone = hunk[5][at:at + rng.randrange(2, 4)]
    mark = rng.choice([b"...", b" ...", b"     // ... existing code ...",
                       b"     # ... rest unchanged", b"+    # ... existing code ...",
                       b"\xe2\x80\xa6"])
    hunk[5][at:at + len(gone)] = [mark]
    if rng.random() < 0.5:
        hunk[1], hunk[3] = (sum(line[:1] in kinds for line in hunk[5])
                            for kinds in ((b" ", b"-"), (b" ", b"+")))
    return text(files)
