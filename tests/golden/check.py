#!/usr/bin/python3
"""The golden vectors, read and written by another language's msgpack.

    check.py            each NAME.json and NAME.msgpack are the same message,
                        and Python writes both exactly as they are
    check.py --write    makes each NAME.msgpack from its NAME.json

JSON has no binaries: the fields in BINARY are text there, or {"base64": ...}
when they are not UTF-8. tests/unit/schema/test_golden.c proves the same of
the C side, so that the two agree byte by byte.
"""
import base64
import json
import os
import sys

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))

# Where the fields are that PROTOCOL.md calls bin; None stands for any key.
BINARY = {("patch", "diff"), ("steps", "stdin"), ("steps", "stdout"), ("steps", "stderr"),
          ("artifacts", "data"), ("source", "files", None), ("source", "bundle")}


def from_json(tree, place=()):
    """The tree that goes on the wire. Lists add nothing to a place."""
    if place in BINARY or place[:-1] + (None,) in BINARY:
        return base64.b64decode(tree["base64"]) if isinstance(tree, dict) else tree.encode()
    if isinstance(tree, dict):
        return {name: from_json(item, place + (name,)) for name, item in tree.items()}
    if isinstance(tree, list):
        return [from_json(item, place) for item in tree]
    return tree


def to_json(tree):
    """The tree that a person reads."""
    if isinstance(tree, bytes):
        try:
            return tree.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(tree).decode()}
    if isinstance(tree, dict):
        return {name: to_json(item) for name, item in tree.items()}
    if isinstance(tree, list):
        return [to_json(item) for item in tree]
    return tree


def differences(name):
    """What is wrong with one vector."""
    with open(os.path.join(HERE, name + ".json"), encoding="utf-8") as stream:
        text = stream.read()
    with open(os.path.join(HERE, name + ".msgpack"), "rb") as stream:
        packed = stream.read()
    spelled = json.loads(text)
    tree = msgpack.unpackb(packed, strict_map_key=True)
    if msgpack.packb(tree, use_bin_type=True) != packed:
        yield "Python packs it differently"
    if to_json(tree) != spelled:
        yield "the msgpack is not what the JSON says"
    if msgpack.packb(from_json(spelled), use_bin_type=True) != packed:
        yield "the JSON does not give the msgpack"
    if json.dumps(to_json(tree), indent=2, ensure_ascii=False) + "\n" != text:
        yield "the JSON is not laid out as json.dumps does it"


def write(name):
    with open(os.path.join(HERE, name + ".json"), encoding="utf-8") as stream:
        spelled = json.load(stream)
    with open(os.path.join(HERE, name + ".msgpack"), "wb") as stream:
        stream.write(msgpack.packb(from_json(spelled), use_bin_type=True))


def main():
    names = sorted(name[:-5] for name in os.listdir(HERE) if name.endswith(".json"))
    if not names:
        print("no vectors")
        return 1
    if sys.argv[1:] == ["--write"]:
        for name in names:
            write(name)
        return 0
    failed = 0
    for name in names:
        wrong = list(differences(name))
        failed += bool(wrong)
        print(f"{name}: {'; '.join(wrong) or 'ok'}")
    print(f"{len(names) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
