#!/usr/bin/python3
"""The house style, enforced: `make check-style`.

    check_style.py [ROOT]         judges the tree; file:line: rule: message
    check_style.py --self-test    proves on fixtures that every rule can fail

Theory: a file is read once and split into code (comments and the insides of
literals blanked, so that positions stay) and comments. Each rule is one
function that yields (line, message) for one file; the tables that the rules
consult stand in tables.py, each exclusion with its reason. An exclusion that
no longer excuses anything is itself a finding.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True

import tables  # noqa: E402

RULES = []


def rule(name, *suffixes):
    """Registers a rule for files with one of these suffixes (none: all)."""

    def register(function):
        RULES.append((name, suffixes, function))
        return function

    return register


class File:
    """One file: its lines, and for C its code and comments apart."""

    def __init__(self, root, path):
        self.root = root
        self.path = path
        self.folder = os.path.dirname(path)
        self.name = os.path.basename(path)
        with open(os.path.join(root, path), encoding="utf-8", newline="") as stream:
            self.text = stream.read()
        self.lines = self.text.split("\n")
        self.code, self.comments = [], []
        if path.endswith((".c", ".h", ".def")):
            code, self.comments = split_c(self.text)
            self.code = code.split("\n")


C_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def split_c(text):
    """The code with comments and literals blanked, and the comments as (line, text)."""
    comments = []

    def blank(match):
        token = match.group()
        if token.startswith("/"):
            comments.append((text.count("\n", 0, match.start()) + 1, token))
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[0]

    return C_TOKEN.sub(blank, text), comments


def numbered(lines):
    return enumerate(lines, 1)


# --- form ---------------------------------------------------------------


@rule("blanks")
def blanks(file):
    for number, line in numbered(file.lines):
        if line.endswith("\r"):
            yield number, "line ends with a carriage return"
        elif line != line.rstrip():
            yield number, "trailing blanks"
        if re.match(r"\t* +\t", line):
            yield number, "a tab after a blank in the indentation"
        if file.path.endswith(".py") and re.match(r" *\t", line):
            yield number, "Python is indented by four blanks"
    if file.text and not file.text.endswith("\n"):
        yield len(file.lines), "no newline at the end of the file"
    if file.text.endswith("\n\n"):
        yield len(file.lines) - 1, "blank line at the end of the file"


@rule("columns", ".py")
def columns(file):
    for number, line in numbered(file.lines):
        if len(line) > tables.COLUMNS:
            yield number, f"{len(line)} columns, at most {tables.COLUMNS}"


@rule("file-length", ".c", ".h", ".py")
def file_length(file):
    length = len(file.lines) - 1
    if length > tables.FILE_LINES:
        yield tables.FILE_LINES + 1, f"{length} lines, at most {tables.FILE_LINES}: split the file"


@rule("function-length", ".c", ".h", ".py")
def function_length(file):
    spans = python_functions(file) if file.path.endswith(".py") else c_functions(file)
    for first, last in spans:
        length = last - first + 1
        if length > tables.FUNCTION_LINES:
            yield first, f"function of {length} lines, at most {tables.FUNCTION_LINES}"


def c_functions(file):
    """(first, last) line of each function: the house puts its braces into column 0."""
    first = 0
    for number, line in numbered(file.code):
        if line.startswith("{"):
            first = number
        elif line.startswith("}") and first:
            yield first, number
            first = 0


def python_functions(file):
    import ast

    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno


@rule("head-comment", ".c", ".h")
def head_comment(file):
    if not file.text.startswith("/*"):
        yield 1, "a file opens with a comment: its theory of operation or calling sequence"
    elif not file.comments[0][1].lstrip("/* \n").startswith(
            (file.name + " - ", file.name[:-2] + " - ")):
        yield 1, f'the opening comment starts with "{file.name} - "'


@rule("guard", ".h")
def guard(file):
    parts = re.sub(r"\.h$", "", file.path).split("/")
    names = {"SBX_" + "_".join(parts[at:]).upper() + "_H" for at in range(len(parts) - 1)}
    if len(parts) > 1 and parts[-1].startswith(parts[-2] + "_"):
        names.add("SBX_" + parts[-1].upper() + "_H")
    if parts[0] == "tests":
        names.add("SBX_TESTS_" + "_".join(parts[-2:]).upper() + "_H")
        names.add("SBX_TESTS_" + parts[-1].upper() + "_H")
    code = [(n, line.split()) for n, line in numbered(file.code) if line.strip()]
    if len(code) < 3 or code[0][1][0] != "#ifndef" or code[1][1][:1] != ["#define"]:
        yield 1, "a header opens with #ifndef GUARD and #define GUARD"
        return
    name = code[0][1][1]
    if name not in names or code[1][1][1] != name:
        allowed = " or ".join(sorted(names))
        yield code[0][0], f"the include guard is '{name}', not {allowed}"
    if code[-1][1] != ["#endif"]:
        yield code[-1][0], "the last line of a header is #endif"


@rule("todo")
def todo(file):
    for number, line in numbered(file.lines):
        found = re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line)
        if found:
            yield number, f"'{found.group()}': do it, or open an issue"


DEAD = re.compile(
    r"(return\b[^.]*;|[a-z_][\w>.\[\]-]* *(=[^=].*|\(.*\));|(if|while|for|switch) \(.*\)( \{)?"
    r"|\} else \{|#include .*|#define .*|(static|int|char|void|struct \w+) \**\w+.*;)$"
)


@rule("dead-code", ".c", ".h", ".def")
def dead_code(file):
    """Comments that are code; what a tab indents inside a comment is an example."""
    for number, line in numbered(file.code):
        if re.match(r"\s*#\s*if\s+(0|false)\b", line):
            yield number, "code switched off; delete it"
    for first, comment in file.comments:
        for number, line in enumerate(comment.split("\n"), first):
            line = re.sub(r"^\s*(/\*|\*/|\*|//) ?|\*/$", "", line).rstrip()
            if DEAD.match(line):
                yield number, "a comment that is code; delete it, or indent an example by a tab"


# --- structure ----------------------------------------------------------


def includes(file):
    """(line, name, quoted) of each #include; the name is taken from the raw line."""
    for number, line in numbered(file.code):
        if re.match(r"\s*#\s*include\b", line):
            found = re.search(r'include\s*(["<])([^">]+)[">]', file.lines[number - 1])
            if found:
                yield number, found.group(2), found.group(1) == '"'


def floor_of(path):
    for floor in sorted(tables.FLOORS, key=len, reverse=True):
        if path.startswith(floor + "/"):
            return floor
    return ""


@rule("floors", ".c", ".h", ".def")
def floors(file):
    floor = floor_of(file.path)
    for number, name, quoted in includes(file):
        if not quoted:
            continue
        beside = file.path.startswith("tests/") and "/" not in name and \
            os.path.exists(os.path.join(file.root, file.folder, name))
        if not beside and not os.path.exists(os.path.join(file.root, name)):
            yield number, f"'{name}' does not exist; give the path from the top"
        target = floor_of(name)
        if floor and target and target not in tables.FLOORS[floor]:
            yield number, f"{floor} may not include {target}; see ARCHITECTURE.md"


@rule("private", ".c", ".h")
def private(file):
    for number, name, _ in includes(file):
        own = (file.folder, tables.TESTED.get(file.folder))
        if name.endswith("_private.h") and os.path.dirname(name) not in own:
            yield number, f"'{name}' is private to {os.path.dirname(name)}/"


def matches(path, pattern):
    """`pattern` is a folder that ends in '/', or a glob of one component."""
    if pattern.endswith("/"):
        return path.startswith(pattern)
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), path) is not None


@rule("gateways", ".c", ".h")
def gateways(file):
    for number, name, _ in includes(file):
        for header, allowed in tables.GATEWAYS.items():
            if name == header or name.startswith(header.rstrip("/") + "/"):
                if not any(matches(file.path, pattern) for pattern in allowed):
                    yield number, f"'{name}' may be included by {', '.join(allowed)} alone"


@rule("prototypes", ".c")
def prototypes(file):
    """Only functions that call each other need one, and a comment above it says so. A
    prototype that carries an attribute is another thing: a definition cannot."""
    depth_zero = re.compile(r"static [^=(;{]*\([^{;]*\);", re.DOTALL)
    text = "\n".join(file.code)
    for found in re.finditer(r"^static ", text, re.MULTILINE):
        prototype = depth_zero.match(text, found.start())
        if prototype and not re.search(r"\) [A-Z_]+\(", prototype.group()):
            line = text.count("\n", 0, found.start()) + 1
            if not file.lines[line - 2].endswith("*/"):
                yield line, "static prototype: order the file bottom-up, or say who recurses"


# --- words --------------------------------------------------------------

USED_EXCUSES = set()


def excused(file, name, word):
    key = (name, file.path, word)
    if key in tables.EXCUSES:
        USED_EXCUSES.add(key)
        return True
    return False


def banned_in(file, lines, table):
    for number, line in numbered(lines):
        for found in re.finditer(r"(?<![\w.>])([a-z_]\w*(?:\.\w+)*) *\(", line):
            word = found.group(1)
            free = any(matches(file.path, folder) and word in words
                       for folder, words in tables.ALLOWED.items())
            free = free or (word == "signal" and re.search(r"SIG_(IGN|DFL)\)", line))
            if word in table and not free and not excused(file, "banned", word):
                yield number, f"{word}(): {table[word]}"


@rule("banned", ".c", ".h", ".py")
def banned(file):
    if file.path.endswith(".py"):
        yield from banned_in(file, file.lines, tables.BANNED_PYTHON)
    else:
        yield from banned_in(file, file.code, tables.BANNED_C)


@rule("shell-sleep", ".sh", "run", "sbx-broker")
def shell_sleep(file):
    """A pause of less than a second between two looks is how a shell polls."""
    for number, line in numbered(file.lines):
        if re.match(r"\s*sleep\s+[1-9$]", line) and not excused(file, "shell-sleep", "sleep"):
            yield number, "sleep as synchronisation; poll a condition with a deadline"


@rule("typedef", ".c", ".h")
def typedef(file):
    for number, line in numbered(file.code):
        found = re.search(r"\btypedef\s+(struct|union|enum)\b", line)
        if found:
            yield number, f"{found.group(1)}s are not typedef'd"


@rule("host-path")
def host_path(file):
    for number, line in numbered(file.lines):
        found = re.search(tables.HOST_PATHS, line)
        if found:
            yield number, f"'{found.group()}' is a path of one machine"


# --- documents ----------------------------------------------------------


def anchor_of(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path):
    with open(path, encoding="utf-8") as stream:
        return {anchor_of(line.lstrip("#")) for line in stream if line.startswith("#")}


@rule("links", ".md")
def links(file):
    for number, line in numbered(file.lines):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            full = os.path.join(file.root, file.folder, path) if path else \
                os.path.join(file.root, file.path)
            if not os.path.exists(full):
                yield number, f"link to '{target}', which does not exist"
            elif anchor and full.endswith(".md") and anchor not in anchors(full):
                yield number, f"link to '{target}': no such heading"


@rule("named-paths", ".md")
def named_paths(file):
    """A path in backquotes that starts with a folder of ours exists."""
    for number, line in numbered(file.lines):
        for name in re.findall(r"`([\w.-]+/[\w./-]*)`", line):
            if name.split("/")[0] in tables.TOP_FOLDERS and \
                    not os.path.exists(os.path.join(file.root, name)):
                yield number, f"'{name}' does not exist"


# --- the tree -----------------------------------------------------------


def list_files(root):
    """Tracked files and new ones that git would add; without git, all but build/."""
    git = subprocess.run(["git", "-C", root, "ls-files", "-coz", "--exclude-standard"],
                         capture_output=True, check=False)
    if git.returncode == 0 and git.stdout:
        names = git.stdout.decode().split("\0")
    else:
        names = [os.path.relpath(os.path.join(folder, name), root)
                 for folder, _, files in os.walk(root) for name in files]
    return sorted(name for name in set(names)
                  if name and os.path.isfile(os.path.join(root, name))
                  and not os.path.islink(os.path.join(root, name))
                  and not name.startswith(tables.NOT_JUDGED))


def format_findings(root, files):
    """clang-format's own judgement, file by file in one run."""
    names = [name for name in files if name.endswith((".c", ".h"))]
    if not names:
        return
    try:
        run = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file", *names],
                             cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        yield ".clang-format", 1, "format", "clang-format is not installed; run make deps"
        return
    seen = set()
    for line in run.stderr.split("\n"):
        found = re.match(r"(.+?):(\d+):\d+: error: ", line)
        if found and found.group(1) not in seen:
            seen.add(found.group(1))
            yield found.group(1), int(found.group(2)), "format", "run clang-format -i on this file"
    if run.returncode != 0 and not seen:
        yield ".clang-format", 1, "format", f"clang-format failed: {run.stderr.strip()[:200]}"


def applies(path, suffixes):
    return not suffixes or any(
        path.endswith(s) if s.startswith(".") else os.path.basename(path) == s for s in suffixes)


def judge(root):
    """All findings of a tree as sorted (path, line, rule, message), and how many files."""
    names = list_files(root)
    findings = list(format_findings(root, names))
    guards = {}
    judged = 0
    for name in names:
        try:
            file = File(root, name)
        except UnicodeDecodeError:
            continue
        judged += 1
        for rule_name, suffixes, function in RULES:
            if applies(name, suffixes):
                findings += [(name, line, rule_name, text) for line, text in function(file)]
        for found in re.finditer(r"^#ifndef (SBX_\w+_H)$", file.text, re.MULTILINE):
            other = guards.setdefault(found.group(1), name)
            if name.endswith(".h") and other != name:
                findings.append((name, 1, "guard", f"'{other}' has the same include guard"))
    return sorted(findings), judged


def stale_excuses():
    for key in sorted(set(tables.EXCUSES) - USED_EXCUSES):
        yield "tests/style/tables.py", 1, "excuses", f"{key} excuses nothing any more"


def main(arguments):
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    if arguments == ["--self-test"]:
        import self_test

        return self_test.run(sys.modules[__name__], os.path.join(here, "fixtures"), root)
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    findings, judged = judge(arguments[0] if arguments else root)
    findings += list(stale_excuses())
    for path, line, name, text in findings:
        print(f"{path}:{line}: {name}: {text}")
    print(f"style: {judged} files, {len(RULES) + 2} rules, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
