# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps planted objects alive: one core an interpreter, two dozen kinds of leaks."""

import json
import os
import re
import subprocess
import tempfile

import cores
import interpreters
import tool
from runner import each_python

TARGET = os.path.join(cores.HERE, "leaks.py")


@each_python()
def test_planted_owners(python):
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, script=TARGET) as target:
            planted = target.truth()
            core = target.core("gcore", os.path.join(directory, "core"))
        counts = {row["type"]: row for row in tool.ask("types", core, "--limit", "0")["types"]}
        problems = []
        for name, owners in planted.items():
            problems += check_owner(core, name, owners, counts[name]["count"])
        assert not problems, "\n".join(problems)
        check_addresses(core)
        check_detours(core)
        check_suspects(core, planted)
        check_sums(core)
        check_the_slow_way(core)


def check_the_slow_way(core, samples=40):
    """What some objects retain, by taking each out of the graph (tests/slow)."""
    build = os.environ.get("BUILD") or os.path.join(interpreters.ROOT, "build")
    done = subprocess.run([os.path.join(build, "tests", "slow"), core, str(samples)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def check_owner(core, name, owners, count):
    document = tool.ask("owners", core, "--type", name)
    if document["objects"] != count or not document["paths"]:
        return [f"{name}: {document['objects']} objects of {count}, {document['paths'][:1]}"]
    held = sum(path["count"] for path in document["paths"])
    first = document["paths"][0]
    if held != count or first["count"] < count - 1:
        return [f"{name}: {held} of {count} are held, {first['count']} by the first: {first}"]
    said = (first["owner"], first["root"]["name"])
    if not any(text.startswith(owner) for text in said for owner in owners):
        return [f"{name}: expected {owners}: {json.dumps(first)[:1500]}"]
    return []


def first_path(core, name, *options):
    return tool.ask("owners", core, "--type", name, *options)["paths"][0]


def check_addresses(core):
    """An address that one answer gives is a question for the next."""
    path = first_path(core, "__main__.InList")
    one = tool.ask("owners", core, path["address"])
    assert one["objects"] == 1 and one["paths"][0]["owner"] == "__main__.EVENTS", one
    container = path["steps"][0]
    assert container["type"] == "builtins.list", path
    # Through the list there is every way.
    for what in (container["address"], "builtins.list"):
        left = tool.ask("owners", core, "--type", "__main__.InList", "--not-through", what)
        assert left["unheld"] == left["objects"] and left["paths"] == [], left
    assert tool.ask("owners", core, path["address"])["weak"] == []
    watched = tool.ask("owners", core, "--type", "__main__.Watched")
    assert watched["weak_total"] >= 1, watched
    assert watched["paths"][0]["owner"].startswith("__main__.KEPT") or (
        watched["paths"][0]["root"]["name"] == "__main__.KEPT"), watched
    big = tool.ask("owners", core, "--type", "builtins.list", "--where", "length >= 300")
    owners = {path["owner"] for path in big["paths"]} | {
        path["root"]["name"] for path in big["paths"]}
    assert any(o.startswith("__main__.EVENTS") for o in owners), owners
    none = tool.ask("owners", core, "--type", "builtins.list", "--where", "length > 100M")
    assert none["objects"] == 0 and none["paths"] == []
    dot = tool.run("owners", core, "--type", "__main__.InChain", "--dot")
    assert dot.returncode == 0 and dot.stdout.startswith("strict digraph"), dot
    try:
        drawn = subprocess.run(["dot", "-Tplain"], input=dot.stdout, text=True,
                               capture_output=True)
    except FileNotFoundError:
        return
    assert drawn.returncode == 0, drawn.stderr


def check_detours(core):
    """What two hold is held by the other one too."""
    path = first_path(core, "__main__.Twice")
    paths = tool.ask("owners", core, path["address"], "--all-paths", "5")["paths"]
    owners = {p["owner"] for p in paths} | {p["root"]["name"] for p in paths}
    assert any(o.startswith("__main__.FIRST") for o in owners), paths
    assert any(o.startswith("__main__.SECOND") for o in owners), paths


def check_suspects(core, planted):
    """The big one leads; what is small is none."""
    suspects = tool.ask("suspects", core)["suspects"]
    assert suspects and len(suspects) <= 5, suspects
    first = suspects[0]
    assert first["owner"].startswith("__main__.STORE"), first
    assert first["accumulates"]["type"] == "__main__.Row", first
    assert first["accumulates"]["count"] == 20000, first
    assert first["share"] > 0.1 and first["retained_bytes"] >= first["accumulates"]["bytes"]
    assert "20,000" in first["why"] and "__main__.Row" in first["why"], first
    for suspect in suspects:
        assert not suspect["owner"].startswith(("sys.modules", "interpreter", "module ")), suspect


def check_sums(core):
    types = tool.ask("types", core, "--limit", "0")["totals"]
    owners = tool.ask("retained", core, "--by", "owner", "--limit", "0")
    by_type = tool.ask("retained", core, "--by", "type", "--limit", "0")
    for document in (owners, by_type):
        rows, totals = document["objects"], document["totals"]
        assert totals["retained_objects"] == totals["objects"] == types["objects"], totals
        assert totals["retained_bytes"] == types["bytes"] + types["owned"], totals
        assert sum(row["bytes"] for row in rows) == types["bytes"]
        assert sum(row["owned"] for row in rows) == types["owned"]
        assert sum(row["count"] for row in rows) == types["objects"]
    rows = tool.ask("retained", core, "--limit", "0")["objects"]
    assert len(rows) == types["objects"]
    inside = {}
    for row in rows:
        inside.setdefault(row["dominator"], []).append(row)
    # What an object retains is itself and what its children retain.
    for row in rows:
        children = inside.get(row["address"], [])
        assert row["retained_bytes"] == row["bytes"] + row["owned"] + sum(
            c["retained_bytes"] for c in children), row
        assert row["retained_objects"] == 1 + sum(c["retained_objects"] for c in children), row
    some = rows[::len(rows) // 20]
    asked = tool.ask("retained", core, *(row["address"] for row in some))
    assert asked["objects"] == some and asked["objects_total"] == len(some)
    top = tool.ask("retained", core, "--top")["objects"]
    assert any(row["name"].startswith("__main__.STORE") for row in top[:5]), top[:5]
    store = next(row for row in top if row["name"].startswith("__main__.STORE"))
    under = tool.ask("retained", core, "--under", store["address"], "--limit", "0")["objects"]
    assert {r["address"] for r in under} == {r["address"] for r in inside[store["address"]]}


@each_python()
def test_growth_by_owner(python):
    """Of what came between two cores, who holds it."""
    with tempfile.TemporaryDirectory() as directory:
        grows = os.path.join(cores.HERE, "grows.py")
        with cores.Target(python, directory, script=grows) as target:
            before = target.core("gcore", os.path.join(directory, "before"))
            target.go_on()
            after = target.core("gcore", os.path.join(directory, "after"))
        document = tool.ask("diff", before, after)
        rows = {plain(row["owner"]): row for row in document["owners"]}
        delta = document["totals"]["delta"]
        assert sum(row["bytes_delta"] for row in rows.values()) == delta["bytes"]
        assert sum(row["count_delta"] for row in rows.values()) == delta["objects"]
        assert sum(row["owned_delta"] for row in rows.values()) == delta["owned"]
        # All of it hangs on one local of the function that runs, by attribute.
        for name, new, delta in (("texts", 2000, 2001), ("grows", 1000, 1000),
                                 ("numbers", 3000, 3000), ("shrinks", 0, -400)):
            place = f"keep.{name} in main() at {grows}"
            assert place in rows, (place, [name for name in rows if "keep" in name])
            assert rows[place]["count_delta"] >= delta, rows[place]
            # By address, which another one of the same type may have had before.
            assert rows[place]["new"] >= new - new // 100, rows[place]
        # Three cores: what came and lasts.
        lasting = tool.ask("diff", before, after, after, "--limit", "0")
        new = {row["type"]: row["new"] for row in lasting["types"]}
        assert new["__main__.Comes"] == 300 and new["__main__.Grows"] == 1000, new
        none = tool.ask("diff", before, before, after, "--limit", "0")
        assert not any(row["new"] for row in none["types"]), none["types"][:3]


def plain(owner):
    """Without the line, which differs."""
    return re.sub(r":\d+, thread \d+$", "", owner)
