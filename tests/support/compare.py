#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what coreanalyze reads from a core with what the target said.

By hand: makes a target of one interpreter, or takes what --from has, and prints
the differences, the most frequent first.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import shutil
import signal
import sys
import tempfile

import interpreters
import makecase
import tool

EXAMPLES = 4
OWN = ("__main__.", "heap_")    # types that the target defines itself
SHOWN = 64      # characters of a text that a value shows


class Row:
    """What the target said of one object."""

    __slots__ = ("address", "type", "type_address", "bytes", "refcount",
                 "gc_tracked")

    def __init__(self, row: list, types: list, gc_tracked: bool):
        self.address, index, self.bytes, self.refcount = row
        self.type, self.type_address = types[index]
        self.gc_tracked = gc_tracked


class Truth:
    """What the target said of itself: truth.py has the form."""

    def __init__(self, path: str):
        with open(path) as f:
            document = json.load(f)
        self.document = document
        self.objects: dict[str, Row] = {}
        self.values: dict[str, list] = {}
        self.parts = [document, *document["interpreters"]]
        # One interpreter may reach what another's collector tracks.
        for key in ("untracked", "tracked", "frozen"):
            for part in self.parts:
                for row in part[key]:
                    self.objects[row[0]] = Row(row, part["types"],
                                               key != "untracked")
        for part in self.parts:
            self.values.update(part["values"])

    def by_type(self) -> dict[str, list[Row]]:
        rows = collections.defaultdict(list)
        for row in self.objects.values():
            rows[row.type].append(row)
        return rows

    def doubts(self) -> list[str]:
        """Why this truth is none: it must be empty."""
        return [f"the recorder's own check failed: {c}"
                for part in self.parts for c in part["checks"]]


class Differences:
    """Differences grouped by what differs, with the first few of each."""

    def __init__(self):
        self.groups: dict[tuple[str, str], list[str]] = {}
        self.counts = collections.Counter()

    def add(self, what: str, of: str, text: str) -> None:
        key = (what, of)
        self.counts[key] += 1
        examples = self.groups.setdefault(key, [])
        if len(examples) < EXAMPLES:
            examples.append(text)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def lines(self, limit: int = 0) -> list[str]:
        out = []
        what_counts = collections.Counter()
        for (what, _), n in self.counts.items():
            what_counts[what] += n
        for what, total in what_counts.items():
            groups = [(n, k) for k, n in self.counts.items() if k[0] == what]
            out.append(f"{what}: {total} in {len(groups)} types")
            groups.sort(key=lambda g: (-g[0], g[1]))
            for n, key in groups[:limit or None]:
                out.append("%8d  %s" % (n, key[1]))
                out += [" " * 10 + e for e in self.groups[key]]
            if limit and len(groups) > limit:
                out.append("          ... and %d more types" % (len(groups) - limit))
        return out

    def __str__(self) -> str:
        return "\n".join(self.lines(12))


# ---- whole documents

def documents(expected, got, where: str = "") -> list[str]:
    """Each place where two documents differ, by its keys. A type's row goes by its name."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return [line for key in {**expected, **got} for line in documents(
            expected.get(key), got.get(key), f"{where}.{key}" if where else str(key))]
    if isinstance(expected, list) and isinstance(got, list):
        return documents(by_name(expected), by_name(got), where)
    return [] if expected == got else [f"{where}: expected {expected!r}, got {got!r}"]


def by_name(rows: list) -> dict:
    named = all(isinstance(row, dict) and "type" in row for row in rows)
    return {row["type"] if named else i: row for i, row in enumerate(rows)}


# ---- types

def compare_types(truth: Truth, document: dict) -> Differences:
    """Counts and sizes by type. Exact wherever the target can know."""
    out = Differences()
    got = {}
    for row in document["types"]:
        if row["type"] in got:
            out.add("types: two rows", row["type"], str(row))
        got[row["type"]] = row
    truths = truth.by_type()
    for name, rows in truths.items():
        if name in got:
            compare_type(out, name, rows, got[name])
        else:
            tracked = sum(r.gc_tracked for r in rows)
            out.add("types: no row", name,
                    f"expected {len(rows)} objects, {tracked} of them tracked;"
                    f" first {first_addresses(rows)}")
    for name, row in got.items():
        if name not in truths and (row["gc_tracked"] or name.startswith(OWN)):
            out.add("types: a row for what is not there", name, str(row))
    totals = document["totals"]
    for total, key in (("objects", "count"), ("bytes", "bytes"),
                       ("owned", "owned"), ("gc_tracked", "gc_tracked")):
        summed = sum(row[key] for row in document["types"])
        if totals[total] != summed:
            out.add("types: totals are not the sum of the rows", total,
                    f"totals {totals[total]}, rows {summed}")
    compare_trust(out, truth, document)
    return out


def compare_type(out: Differences, name: str, rows: list[Row], got: dict) -> None:
    tracked = [r for r in rows if r.gc_tracked]
    if got["gc_tracked"] != len(tracked):
        out.add("types: gc_tracked", name,
                f"expected {len(tracked)}, got {got['gc_tracked']}")
    # Objects that only C code refers to are out of the target's own sight, so
    # there may be more. Instances of what it defines itself it knows all.
    if got["count"] < len(rows) or (
            got["count"] > len(rows) and name.startswith(OWN)):
        out.add("types: count", name,
                f"expected {len(rows)}, got {got['count']};"
                f" first {first_addresses(rows)}")
    sizes = [r.bytes for r in rows]
    if got["count"] == len(rows) and None not in sizes and got["bytes"] != sum(sizes):
        out.add("types: bytes", name, f"expected {sum(sizes)}, got {got['bytes']}")
    if not got["bytes_exact"] and None not in sizes:
        out.add("types: bytes_exact is false", name, str(got))
    type_objects = len({r.type_address for r in rows})
    if got["count"] == len(rows) and got["type_objects"] != type_objects:
        out.add("types: type_objects", name,
                f"expected {type_objects}, got {got['type_objects']}")


def compare_trust(out: Differences, truth: Truth, document: dict) -> None:
    trust = document["trust"]
    parts = sum(trust[k] for k in ("objects", "owned", "freelist", "unexplained"))
    if parts != trust["blocks"]:
        out.add("trust: parts do not add up to blocks", "", f"{trust}, sum {parts}")
    allocated = truth.document["allocated_blocks"]
    if trust["allocator"] == "obmalloc" and trust["blocks"] > allocated:
        out.add("trust: more blocks than allocated", "",
                f"{trust}, sys.getallocatedblocks() is {allocated}")


def first_addresses(rows: list[Row]) -> str:
    return " ".join(r.address for r in rows[:EXAMPLES])


# ---- objects

def compare_objects(truth: Truth, answers: list[dict]) -> Differences:
    """Each object's type, size, refcount, state and value."""
    out = Differences()
    asked = set()
    for got in answers:
        row = truth.objects.get(got["address"])
        asked.add(got["address"])
        if row is None:
            out.add("object: an answer for what was not asked", "", str(got))
        elif "error" in got:
            tracked = "tracked" if row.gc_tracked else "untracked"
            out.add("object: not found", f"{row.type}, {tracked}",
                    f"{row.address} {row.bytes} bytes,"
                    f" refcount {row.refcount}: {got['error']}")
        else:
            compare_object(out, row, got)
            if row.address in truth.values:
                compare_value(out, row, truth.values[row.address], got["value"])
    for address in truth.objects.keys() - asked:
        out.add("object: no answer", truth.objects[address].type, address)
    return out


def compare_object(out: Differences, row: Row, got: dict) -> None:
    if got["type"] != row.type:
        out.add("object: type", row.type, f"{row.address} got {got['type']}")
        return
    for key in ("bytes", "refcount", "gc_tracked"):
        expected = getattr(row, key)
        if expected is not None and got[key] != expected:
            out.add(f"object: {key}", row.type,
                    f"{row.address} expected {expected}, got {got[key]}")


def compare_value(out: Differences, row: Row, expected: list, got) -> None:
    kind, text, *length = expected
    if got is None or not value_agrees(kind, text, length, str(got)):
        out.add("object: value", row.type,
                f"{row.address} expected {text[:60]}, got {str(got)[:80]}")


def value_agrees(kind: str, text: str, length: list, got: str) -> bool:
    """Whether got says it: as repr(), texts cut after SHOWN."""
    if kind in ("function", "module", "type"):
        return text[:SHOWN] in got or not text.isascii()
    if kind not in ("str", "bytes"):
        return got == text
    shown = ast.literal_eval(text)[:SHOWN]
    if kind == "bytes" or shown.isprintable():
        return got == repr(shown) + ("..." if length[0] > SHOWN else "")
    # How what cannot be printed is escaped is free; all else is not.
    plain = [c for c in shown if c.isalnum() and c.isascii()]
    rest = iter(got)
    return all(c in rest for c in plain)


def strangers(truth: Truth) -> list[str]:
    """Addresses inside of objects, where no object starts."""
    rows = [r for r in truth.objects.values() if r.bytes and r.bytes >= 40]
    inside = [hex(int(r.address, 16) + 8) for r in rows[::max(1, len(rows) // 500)]]
    return [a for a in inside if a not in truth.objects]


def compare_strangers(answers: list[dict]) -> Differences:
    out = Differences()
    for got in answers:
        if "error" not in got:
            out.add("object: an object where none starts", got["type"], str(got))
    return out


# ---- info

def compare_info(truth: Truth, document: dict) -> Differences:
    out = Differences()
    said = truth.document
    target = document["target"]
    expected = {"python": "%d.%d.%d" % tuple(said["version"][:3]),
                "pid": said["pid"], "build": "default", "complete": True,
                "arch": "x86_64"}
    for key, value in expected.items():
        if target.get(key) != value:
            out.add("info: target", key,
                    f"expected {value!r}, got {target.get(key)!r}")
    compare_command_line(out, said["command_line"], target["command_line"])
    interpreters_got = len(document["interpreters"])
    if interpreters_got != len(truth.parts):
        out.add("info: how many", "interpreters",
                f"expected {len(truth.parts)}, got {interpreters_got}")
    # A thread may have a state in each interpreter.
    threads_got = sorted({t["native_id"] for t in document["threads"]})
    if threads_got != said["threads"]:
        out.add("info: threads", "native_id",
                f"expected {said['threads']}, got {threads_got}")


def compare_command_line(out: Differences, said: list[str], got: list[str]) -> None:
    # A loader that is run as a program takes its own arguments off the front.
    loader = os.path.basename(said[0]).startswith("ld-")
    if got != said and not (loader and len(got) > 2 and said[-len(got):] == got):
        out.add("info: target", "command_line", f"expected {said}, got {got}")


# ---- all of it

def addresses_of(truth: Truth) -> str:
    return "".join(a + "\n" for a in truth.objects)


def compare(core: str, truth: Truth, *options: str) -> dict[str, Differences]:
    """Everything about one core: what was compared -> what differs."""
    types = tool.ask("types", core, "--limit", "0", *options)
    objects = tool.ask("object", core, "-", "--brief", *options,
                       stdin=addresses_of(truth))
    others = tool.ask("object", core, "-", "--brief", *options,
                      stdin="".join(a + "\n" for a in strangers(truth)))
    return {
        "info": compare_info(truth, tool.ask("info", core, *options)),
        "types": compare_types(truth, types),
        "objects": compare_objects(truth, objects["objects"]),
        "strangers": compare_strangers(others["objects"]),
    }


def beyond(truth: Truth, document: dict) -> list[str]:
    """Untracked objects that coreanalyze has and the target does not know of."""
    known = {name: len(rows) for name, rows in truth.by_type().items()}
    more = [(row["count"] - known.get(row["type"], 0), row["type"], row["count"])
            for row in document["types"]]
    return ["%8d  %s of %d" % m for m in sorted(more, reverse=True) if m[0] > 0]


def held(target: str, said: dict, *expected: str) -> list[dict]:
    """What held.py says against what `object` does; other warnings than the expected are given back."""
    addresses = [a for a, _ in said["kept"] + said["freed"]]
    document = tool.ask("object", target, "-", "--limit", "0", stdin="\n".join(addresses))
    answers = {o["address"]: o for o in document["objects"]}

    def found(row):
        answer = answers[row[0]]
        return (answer.get("type"), answer.get("bytes")) == ("builtins.bytes", row[1])

    lost = [(row, answers[row[0]]) for row in said["kept"] if not found(row)]
    assert not lost, (len(lost), len(said["kept"]), lost[:3])
    dead = [row for row in said["freed"] if found(row)]
    assert not dead, (len(dead), len(said["freed"]), dead[:3])
    return [w for w in document["warnings"] if w["kind"] not in expected]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", metavar="NAME", help="part of an interpreter's"
                        " name; python3 interpreters.py lists them")
    parser.add_argument("--core", choices=("gcore", "kernel"), default="gcore")
    parser.add_argument("--profile", action="append", default=[],
                        help="a part of the heap, as everything.py takes it")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="for the target, as PYTHONMALLOC=debug")
    parser.add_argument("--keep", metavar="DIR", help="leave core and truth.json there")
    parser.add_argument("--from", metavar="DIR", dest="source",
                        help="use the core and truth.json that are there")
    parser.add_argument("--types", type=int, default=12, metavar="N",
                        help="show N types for each difference (0: all)")
    parser.add_argument("-v", "--verbose", action="store_true", help="also the"
                        " trust line and what coreanalyze has beyond the truth")
    args = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)       # ... | head
    if not args.python and not args.source:
        parser.error("give --python or --from")
    directory = args.source or args.keep or tempfile.mkdtemp(prefix="ca-compare-")
    try:
        if not args.source:
            makecase.make_case(interpreters.by_name(args.python), directory,
                               args.core, args.profile, args.env)
        return report(directory, args.types, args.verbose)
    finally:
        if directory not in (args.source, args.keep):
            shutil.rmtree(directory)


def report(directory: str, types: int, verbose: bool) -> int:
    core = os.path.join(directory, "core")
    truth = Truth(os.path.join(directory, "truth.json"))
    failed = 0
    for doubt in truth.doubts():
        print(doubt)
    try:
        results = compare(core, truth)
    except AssertionError as e:
        print(e)
        return 1
    for name, differences in results.items():
        if differences:
            failed += 1
            print("\n".join(differences.lines(types)))
        else:
            print(f"{name}: equal")
    if verbose:
        document = tool.ask("types", core, "--limit", "0")
        print("trust:", document["trust"], "allocated blocks:",
              truth.document["allocated_blocks"])
        print("beyond the truth:", *beyond(truth, document), sep="\n")
        print("warnings:", *document["warnings"], sep="\n")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
