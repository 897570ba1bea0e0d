#!/usr/bin/python3
"""Whether two exports of definitions describe the same topology.

usage: definitions_equal.py FILE EXPORTED VHOST

Compares the exchanges, queues and bindings of FILE, whatever its virtual host,
with those that EXPORTED has in VHOST. What differs is printed, line by line.
"""
import json
import sys

KINDS = {
    "exchanges": ("name", "type", "durable", "auto_delete", "internal", "arguments"),
    "queues": ("name", "durable", "auto_delete", "arguments"),
    "bindings": ("source", "destination", "destination_type", "routing_key", "arguments"),
}


def lines(path, vhost):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    found = set()
    for kind, keys in KINDS.items():
        for item in content[kind]:
            if vhost is None or item["vhost"] == vhost:
                fields = {key: item.get(key, False) for key in keys}
                found.add(f"{kind}: {json.dumps(fields, sort_keys=True)}")
    return found


def main():
    ours, theirs = lines(sys.argv[1], None), lines(sys.argv[2], sys.argv[3])
    for line in sorted(ours - theirs):
        print("only in the file:  ", line)
    for line in sorted(theirs - ours):
        print("only in the broker:", line)
    sys.exit(0 if ours == theirs and ours else 1)


if __name__ == "__main__":
    main()
