"""Diffs that are made to cost a reader time or memory, and the files that they are held against.

inputs(oid) gives {name: diff}, where `oid` tells the blob of a file of the base, for index lines
that make a diff try what they prove. All of them are to be refused, but for those in VALID.
"""
import base64
import hashlib
import zlib

# name -> content of the base
FILES = {
    "same": b"x\n" * 500000,
    "ab": b"a\nb\n" * 250000,
    "blank": b"\n" * 1000000,
    "almost": b"".join(b"    item(%d);\n" % (i % 50) for i in range(200000)),
    "block": b"".join(b"".join(b"line %d of block\n" % k for k in range(30)) + b"end %d\n" % (i % 3)
                      for i in range(10000)),
    "twice": b"".join(b"line %d\n" % i for i in range(40000)) * 2,
    "white": (b" " * 5000 + b"\n") * 400,
    "long": b"y" * 4000000 + b"\n",
    "longs": b"".join(b"z" * 100000 + b"%d\n" % i for i in range(40)),
    "unique": b"".join(b"unique line %d\n" % i for i in range(300000)),
    "digits": b"".join(b"%d\n" % (i % 10) for i in range(200001)),
    "heads": b"def f():\n    return 1\n" * 100000,
    "small": b"one\ntwo\nthree\n",
}
# What is a diff after all, in each mode.
VALID = {"strict": ("100,000 hunks, right", "long lines"),
         "recover": ("100,000 hunks, right", "long lines", "20,000 hunks, bare")}


def head(name):
    return b"--- a/%s\n+++ b/%s\n" % (name, name)


def repeated(out, name, first, second):
    """Hunks against a file that repeats two lines."""
    pair = b" " + first + b"\n " + second + b"\n"
    hunk = pair + b"-" + first + b"\n+new\n " + second + b"\n" + pair
    top = head(name)
    label = name.decode()
    out[f"{label}: 10,000 bare hunks"] = top + (b"@@\n" + hunk) * 10000
    out[f"{label}: 10,000 moved hunks"] = top + b"".join(
        b"@@ -%d,6 +%d,6 @@\n" % (7 * i + 1000001, 7 * i + 1000001) + hunk for i in range(10000))
    out[f"{label}: 10,000 wrong counts"] = top + b"".join(
        b"@@ -%d,7 +%d,7 @@\n" % (7 * i + 1, 7 * i + 1) + hunk for i in range(10000))
    out[f"{label}: a huge hunk"] = top + b"@@ -400001,200002 +400001,200002 @@\n" + \
        pair * 100000 + b"-q\n+new\n"
    out[f"{label}: 20 huge hunks"] = top + \
        (b"@@\n" + pair * 5000 + b"-q\n+new\n" + pair * 5000) * 20


def unique(count, header, number=lambda i: 3 * i):
    """`count` hunks of the file of unique lines; line numbers for each %d of the header."""
    numbers = header.count(b"%d")
    return b"".join(header % ((3 * i + 1,) * numbers) +
                    b" unique line %d\n-unique line %d\n+changed\n unique line %d\n"
                    % (number(i), number(i) + 1, number(i) + 2) for i in range(count))


def hunks(out):
    top = head(b"unique")
    out["70,000 hunks, moved"] = top + unique(70000, b"@@ -%d,3 +%d,3 @@\n", lambda i: 3 * i + 4)
    out["20,000 hunks, bare"] = top + unique(20000, b"@@\n")
    out["20,000 hunks, all but the last"] = top + unique(19999, b"@@\n") + b"@@\n-none\n+new\n"
    out["70,000 hunks, bare"] = top + unique(70000, b"@@\n")
    short = [b"@@ -%d +%d @@\n" % (2 * i + 1, 2 * i + 1) for i in range(100000)]
    out["100,000 hunks, nowhere"] = head(b"small") + b"".join(
        short[i] + b"-%d\n+x\n" % i for i in range(100000))
    out["100,000 hunks, all but the last"] = head(b"digits") + b"".join(
        short[i] + b"-%d\n+x\n" % (2 * i % 10) for i in range(99999)) + short[-1] + b"-q\n+x\n"
    out["100,000 hunks, moved"] = head(b"digits") + b"".join(
        short[i] + b"-%d\n+x\n" % ((2 * i + 1) % 10) for i in range(100000))
    out["100,000 hunks, applied"] = head(b"same") + b"".join(
        short[i] + b"-%d\n+x\n" % i for i in range(100000))
    out["101,000 hunks"] = head(b"small") + b"@@ -1 +1 @@\n-a\n+b\n" * 101000
    for count in (20000, 100000):
        out[f"{count:,} hunks of 20,000 files"] = b"".join(
            head(b"d/%d" % i) + b"@@ -1 +1 @@\n-a\n+b\n" * (count // 20000) for i in range(20000))
    out["70,000 hunks, wrong counts"] = top + unique(70000, b"@@ -%d,4 +%d,4 @@\n",
                                                     lambda i: 3 * i + 1)
    out["70,000 hunks, nowhere"] = top + unique(70000, b"@@ -%d,3 +%d,3 @@\n",
                                                lambda i: 3 * i + 500000)
    out["one large file 2,000 times"] = b"".join(
        top + b"@@\n unique line %d\n-unique line %d\n+y\n unique line %d\n" % (i, i + 1, i + 2)
        for i in range(0, 6000, 3))
    out["30,000 hunks, two places each"] = head(b"twice") + b"".join(
        b"@@\n line %d\n-line %d\n+new\n line %d\n" % (i, i + 1, i + 2)
        for i in range(0, 39000, 3) for _ in range(2))
    out["almost the same lines"] = head(b"almost") + b"".join(
        b"@@ -%d,7 +%d,7 @@\n" % (50 * i + 7, 50 * i + 7) +
        b"".join(b"     item(%d);\n" % (k % 50) for k in range(i, i + 3)) +
        b"-    item(%d);\n+    changed();\n" % ((i + 3) % 50) +
        b"".join(b"     item(%d);\n" % (k % 50) for k in range(i + 4, i + 7)) for i in range(3000))
    lines = [b" line %d of block\n" % k for k in range(30)]
    out["blocks, bare"] = head(b"block") + (b"@@\n" + b"".join(lines[:15]) +
        b"-line 15 of block\n+new\n" + b"".join(lines[16:]) + b" end 7\n") * 2000
    out["blocks, long hunks"] = head(b"block") + (b"@@ -1,3101 +1,3101 @@\n" +
        (b"".join(lines) + b" end 0\n") * 100 + b"-nothing\n+new\n") * 50
    out["indented anew"] = head(b"heads") + b"@@ -3,60002 +3,90002 @@\n" + \
        b" def f():\n   return 1\n" * 30000 + b"".join(
            b"+" + b" " * (i % 61 + 5) + b"x\n" for i in range(30000)) + b" def f():\n   return 1\n"
    out["headings"] = head(b"heads") + \
        b"@@ def f():\n     return 1\n-def f():\n+def g():\n     return 1\n" * 2000
    out["white space"] = head(b"white") + (b"@@ -1,3 +1,3 @@\n " + b"\t" * 5000 + b"\n-" +
                                           b" " * 4999 + b"\n+x\n " + b" " * 4998 + b"\n") * 100
    out["a long line"] = head(b"long") + b"@@ -1 +1 @@\n-" + b"y" * 3999999 + b"\n+z\n"
    out["long lines"] = head(b"longs") + b"".join(
        b"@@ -%d,2 +%d,2 @@\n-" % (i + 1, i + 1) + b"z" * 100000 + b"%d\n+q\n " % i +
        b"z" * 100000 + b"%d\n" % (i + 1) for i in range(0, 28, 2))
    out["a million removed blank lines"] = head(b"blank") + b"@@\n" + b"-\n" * 1000000


def proven(out, oid):
    """An index line makes a reader try again and again."""
    def top(name):
        return b"diff --git a/%s b/%s\nindex %s..1234567 100644\n" % (name, name, oid(name)) + \
            head(name)
    out["proof: same"] = top(b"same") + b"@@\n x\n x\n-x\n+y\n x\n x\n" * 5000
    out["proof: ab"] = top(b"ab") + b"@@ -300,5 +7,5 @@\n a\n b\n-a\n+y\n b\n a\n" * 50
    out["proof: gaps"] = top(b"block") + b"".join(
        b"@@ -%d,7 +%d,8 @@\n line 1 of block\n line 2 of block\n line 3 of block\n+new\n"
        b" line 5 of block\n line 6 of block\n line 7 of block\n" % (31 * i + 2, 31 * i + 2)
        for i in range(500))
    out["proof: a large file"] = b"".join(top(b"unique") + unique(1, b"@@\n") for _ in range(100))
    result = b"".join(b"x\n" if i % 2 == 0 and i < 200000 else b"%d\n" % (i % 10)
                      for i in range(200001))
    result = hashlib.sha1(b"blob %d\0" % len(result) + result).hexdigest()[:10].encode()
    out["100,000 hunks, right"] = b"diff --git a/digits b/digits\nindex %s..%s 100644\n" % (
        oid(b"digits"), result) + head(b"digits") + b"".join(
            b"@@ -%d +%d @@\n-%d\n+x\n" % (2 * i + 1, 2 * i + 1, 2 * i % 10) for i in range(100000))


def forms(out):
    out["20,000 files that are not there"] = b"".join(
        head(b"n%d" % i) + b"@@ -1 +1 @@\n-x\n+y\n" for i in range(20000))
    out["20,000 new files"] = b"".join(
        b"diff --git a/n%d b/n%d\nnew file mode 100644\n--- /dev/null\n+++ b/n%d\n"
        b"@@ -0,0 +1 @@\n+y\n" % (i, i, i) for i in range(20000))
    out["20,000 new files, bare"] = b"".join(
        b"diff --git n/n%d n/n%d\n--- n/n%d\n+++ n/n%d\n@@\n+y\n" % (i, i, i, i)
        for i in range(20000))
    out["one small file 20,000 times"] = b"".join(
        head(b"small") + b"@@ -1,5 +1,5 @@\n one\n-two%d\n+y\n three\n" % i for i in range(20000))
    out["prose"] = b"lorem ipsum dolor sit amet\n" * 150000
    out["marks"] = b"@@\n" * 1300000
    out["old names"] = b"--- a\n" * 600000
    out["headers"] = b"diff --git a/x b/x\n" * 200000
    out["blank lines in a header"] = b"diff --git a/small b/small\n" + b"\n" * 4000000
    out["fences"] = b"```\n" * 1000000
    out["blank lines in a hunk"] = head(b"small") + b"@@\n one\n" + b"\n" * 3000000 + b"prose\n"
    out["blank lines behind hunks"] = head(b"small") + \
        (b"@@\n one\n-two\n+x\n" + b"\n" * 3000) * 1000
    out["elisions"] = head(b"small") + b"@@\n" + b" ...\n" * 700000
    out["twins"] = b"--- small\n" * 300000 + b"+++ small\n@@\n one\n"
    out["a long name"] = head(b"n" * 1000000) + b"@@ -1 +1 @@\n-x\n+y\n"
    out["a deep name"] = head(b"n/" * 500000 + b"x") + b"@@ -1 +1 @@\n-x\n+y\n"


def base85(data):
    out = []
    for at in range(0, len(data), 52):
        part = data[at:at + 52]
        letter = len(part) + (64 if len(part) <= 26 else 70)
        out.append(b"%c" % letter + base64.b85encode(part + b"\0" * (-len(part) % 4)) + b"\n")
    return b"".join(out)


def binaries(out):
    def patch(kind, size, data):
        return b"diff --git a/bomb b/bomb\nnew file mode 100644\nindex " + b"0" * 40 + b".." + \
            b"1" * 40 + b"\nGIT binary patch\n%s %s\n" % (kind, size) + base85(data) + \
            b"\nliteral 0\nHcmV?d00001\n\n"
    zip_ = zlib.compressobj(9)
    bomb = b"".join(zip_.compress(bytes(1 << 20)) for _ in range(256)) + zip_.flush()
    small = zlib.compress(b"hello")
    out["256 MiB in a literal"] = patch(b"literal", b"%d" % (256 << 20), bomb)
    out["256 MiB in a literal of 100 bytes"] = patch(b"literal", b"100", bomb)
    out["a literal of 18 EB"] = patch(b"literal", b"9" * 19, small)
    out["a literal of 99 digits"] = patch(b"literal", b"9" * 99, small)
    # a delta whose result has 1.5 GB: copies of 16 MB each
    copies = b"\xf0\xff\xff\xff" * 96
    delta = b"\x0e" + b"\x80\x80\x80\xde\x05" + copies
    out["1.5 GB in a delta"] = b"diff --git a/small b/small\nindex " + b"1" * 40 + b".." + \
        b"2" * 40 + b" 100644\nGIT binary patch\ndelta %d\n" % len(delta) + \
        base85(zlib.compress(delta)) + b"\nliteral 0\nHcmV?d00001\n\n"


def inputs(oid):
    out = {}
    repeated(out, b"same", b"x", b"x")
    repeated(out, b"ab", b"a", b"b")
    repeated(out, b"blank", b"", b"")
    hunks(out)
    proven(out, oid)
    forms(out)
    binaries(out)
    return out
