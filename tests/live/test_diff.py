# SPDX-License-Identifier: GPL-3.0-or-later
"""`diff` of two cores of one process, between which known objects came and went."""

import os
import re
import signal
import sys
import tempfile

import compare
import cores
import tool
from living import Server, wait_until
from runner import each_python

# What grows.py does.
CHANGES = {"__main__.Stays": 0, "__main__.Grows": 1000, "__main__.Shrinks": -400,
           "__main__.Comes": 300, "__main__.Goes": -200, "__main__.Replaced": 0}
TARGET = os.path.join(cores.HERE, "grows.py")


@each_python()
def test_deltas_are_exact(python):
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, script=TARGET) as target:
            before = target.core("gcore", os.path.join(directory, "before"))
            truth_before = compare.Truth(target.truth_path())
            target.go_on()
            truth_after = compare.Truth(target.truth_path())
            after = target.core("gcore", os.path.join(directory, "after"))
        document = tool.ask("diff", before, after, "--limit", "0")
        differences = compare_diff(document, truth_before, truth_after)
        for core, side in ((before, "before"), (after, "after")):
            compare_side(differences, document, core, side)
        assert document["same_process"] is True
        assert not differences, str(differences)
        check_guards(before, after)


def compare_diff(document, before, after):
    out = compare.Differences()
    rows = {row["type"]: row for row in document["types"]}
    for name, change in CHANGES.items():
        if rows.get(name, {"count_delta": 0})["count_delta"] != change:
            out.add("diff: count_delta", name, f"expected {change}: {rows.get(name)}")
    types_before, types_after = before.by_type(), after.by_type()
    for name in types_before.keys() | types_after.keys():
        old = {r.address for r in types_before.get(name, ())}
        new = {r.address for r in types_after.get(name, ())}
        row = rows.get(name)
        if row is None:
            if old != new:
                out.add("diff: no row", name, f"{len(old)} before, {len(new)} after")
        elif name.startswith("__main__.") or (
                row["count_before"] == len(old) and row["count_after"] == len(new)):
            expected = {"count_before": len(old), "count_after": len(new),
                        "new": len(new - old), "freed": len(old - new)}
            for key, value in expected.items():
                if row[key] != value:
                    out.add(f"diff: {key}", name, f"expected {value}: {row}")
    for name, row in rows.items():
        if row["new"] - row["freed"] != row["count_delta"]:
            out.add("diff: new - freed is not count_delta", name, str(row))
        for what in ("count", "bytes"):
            delta = row[what + "_after"] - row[what + "_before"]
            if row[what + "_delta"] != delta:
                out.add(f"diff: {what}_delta", name, str(row))
    return out


def compare_side(out, document, core, side):
    """The counts of one side are those of `types` on that core."""
    types = tool.ask("types", core, "--limit", "0")
    totals = document["totals"]
    for key in ("objects", "bytes", "owned"):
        if totals[side][key] != types["totals"][key]:
            out.add(f"diff: totals of {side}", key,
                    f"expected {types['totals'][key]}, got {totals[side][key]}")
    for key in totals["delta"]:
        if totals["delta"][key] != totals["after"][key] - totals["before"][key]:
            out.add("diff: totals delta", key, str(totals))
    rows = {row["type"]: row for row in document["types"]}
    for row in types["types"]:
        if row["type"] in rows:
            for key in ("count", "bytes"):
                if rows[row["type"]][f"{key}_{side}"] != row[key]:
                    out.add(f"diff: {key}_{side}", row["type"], str(rows[row["type"]]))


def check_guards(before, after):
    for guard, status in (("__main__.Grows:999", 1), ("__main__.Grows:1000", 0)):
        tool.ask("diff", before, after, "--fail-above-type", guard, status=status)
    for size, status in (("1K", 1), ("1G", 0)):
        tool.ask("diff", before, after, "--fail-above", size, status=status)


@each_python()
def test_two_processes_are_told_apart(python):
    with tempfile.TemporaryDirectory() as directory:
        made = []
        for name in ("a", "b"):
            where = os.path.join(directory, name)
            with cores.Target(python, where, "nodes=100") as target:
                made.append(target.core("gcore", os.path.join(where, "core")))
        document = tool.ask("diff", *made, "--limit", "0")
        assert document["same_process"] is False
        rows = {row["type"]: row for row in document["types"]}
        node = rows.get("__main__.Node", {"count_delta": 0})
        assert node["count_delta"] == 0, node


# ---- two workers of one server: the same program, at the same addresses

GROWN, EACH = 40000, sys.getsizeof(bytes(1000))    # what SIGUSR1 adds in prefork.py


def has_grown(pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return int(status["RssAnon"].split()[0]) * 1024 > GROWN * EACH and status["State"][0] == "S"


def test_workers_by_owner():
    with tempfile.TemporaryDirectory() as directory:
        with Server(os.path.join(directory, "pid"), 2) as server:
            pids = sorted(server.workers())
            os.kill(pids[1], signal.SIGUSR1)
            wait_until(lambda: has_grown(pids[1]))
            small, large = (os.path.join(directory, str(pid)) for pid in pids)
            for pid, core in zip(pids, (small, large)):
                tool.ask("capture", str(pid), "-o", core)
        check_by_owner(tool.ask("diff", small, large, "--limit", "0"), "after", 1)
        check_by_owner(tool.ask("diff", large, small, "--limit", "0"), "before", -1)
        said = tool.run("diff", small, large).stdout
        assert "Two processes: objects are counted, not told apart." in said
        assert re.search(r"\n__main__\.kept +builtins\.list +\+40,", said), said


def check_by_owner(document, side, sign):
    assert document["same_process"] is False
    row = next(r for r in document["types"] if r["type"] == "builtins.bytes")
    assert row["count_delta"] == sign * GROWN and row["bytes_delta"] == sign * GROWN * EACH, row
    rows = {re.sub(r", thread \d+$", "", r["owner"]): r for r in document["owners"]}
    assert len(rows) == len(document["owners"]), "owners of the two are not matched: " + ", ".join(rows)
    kept = rows["__main__.kept"]
    assert document["owners"][0 if sign > 0 else -1] == kept
    assert kept[f"count_{side}"] == GROWN + 1 and kept[f"length_{side}"] == GROWN, kept
    # The other one has it too, however little is in it.
    other = "before" if side == "after" else "after"
    assert kept[f"count_{other}"] == 1 and kept[f"length_{other}"] == 0, kept
    assert all(r["new"] is None for r in (*document["types"], *document["owners"]))
    for each in ("before", "after"):
        for key, total in (("count", "objects"), ("bytes", "bytes")):
            assert sum(r[f"{key}_{each}"] for r in document["owners"]) == document["totals"][each][total]
