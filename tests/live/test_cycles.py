# SPDX-License-Identifier: GPL-3.0-or-later
"""`cycles` against what a full collection finds in a copy of the process."""

import collections
import json
import os
import tempfile
import time

import cores
import extension
import interpreters
import tool
from runner import Skip, each_python

TARGET = os.path.join(cores.HERE, "collected.py")
ALIVE, DEAD, LEAKED = 2, 3, 7   # in collected.py
LEGACY = os.path.join(cores.HERE, "extension_module", "legacy.c")
RING = 500_000


class Made:
    """A core of collected.py and what its child found."""

    def __init__(self, python, directory, *profiles, env=None, ways=False):
        with cores.Target(python, directory, *profiles, script=TARGET, env=env) as target:
            self.core = target.core("gcore", os.path.join(directory, "core"))
            self.truth = target.truth()
            self.ways = self._follow_ways(target) if ways else None

    def ask(self, *options):
        return tool.ask("cycles", self.core, *options)

    def _follow_ways(self, target):
        """(way, whether it led the process itself back) of each cycle; None where Python
        cannot write it."""
        document = self.ask("--limit", "0")
        ways = [[int(c["edges"][0]["address"], 16), c["path"]] for c in document["cycles"]
                if "(" not in c["path"]]
        path = target.output + ".ways"
        with open(path, "w") as f:
            json.dump(ways, f)
        target.go_on()
        end = time.monotonic() + cores.TIMEOUT
        while not os.path.exists(path + ".answers"):
            assert time.monotonic() < end and target.process.poll() is None, "no answer"
            time.sleep(0.02)
        with open(path + ".answers") as f:
            return [(way, answer) for (_, way), answer in zip(ways, json.load(f))] + [
                (c["path"], None) for c in document["cycles"] if "(" in c["path"]]


def types_of(found):
    return collections.Counter(name for _, name in found)


def counts(rows):
    return collections.Counter({row["type"]: row["count"] for row in rows})


def check_unreachable(document, found):
    both = found["collectable"] + found["uncollectable"]
    got, wanted = counts(document["unreachable_types"]), types_of(both)
    assert got == wanted, f"missing {wanted - got}, too many {got - wanted}"
    totals = document["totals"]
    assert totals["unreachable_objects"] == len(both), totals
    assert totals["kept_objects"] == len(found["uncollectable"]), totals
    assert totals["pending_finalizers"] == found["pending"], (totals, found["pending"])


def finalizers_of(document):
    return [f for cycle in document["cycles"] for f in cycle["finalizers"]]


@each_python()
def test_kinds(python):
    with tempfile.TemporaryDirectory() as directory:
        made = Made(python, directory, "kinds", "globals_with_del", "leaked", "big", ways=True)
        document = made.ask("--unreachable")
        check_unreachable(document, made.truth["found"])
        assert document["warnings"] == [], document["warnings"]
        assert all(cycle["unreachable"] for cycle in document["cycles"])
        check_finalizers(made.ask("--finalizers", "--limit", "0"))
        check_paths(made)
        check_ways(made.ways)
        check_weak(document, made.truth["found"])
        check_leaked(document)
        check_options(made)
        check_text(made, document)


def check_finalizers(document):
    rows = [f for f in finalizers_of(document) if f["type"].startswith("__main__.")]
    of = {name: [f for f in rows if f["type"] == "__main__." + name]
          for name in ("Finalized", "Heir", "Returns")}
    # The 5,000 that the module's dict has are in no cycle.
    assert len(of["Finalized"]) == ALIVE + DEAD, len(of["Finalized"])
    assert len(of["Heir"]) == ALIVE + DEAD and len(of["Returns"]) == 2 * (ALIVE + DEAD), of
    assert len(rows) == sum(map(len, of.values())), rows
    assert all(f["kind"] == "python" and f["file"] == TARGET for f in rows)
    assert {f["defined_by"] for f in of["Heir"]} == {"__main__.Finalized"}
    with open(TARGET) as f:
        lines = f.read().splitlines()
    assert {lines[f["line"] - 1].strip() for f in rows} == {"def __del__(self):"}
    ran = collections.Counter(f["ran"] for f in of["Returns"])
    assert ran == {True: ALIVE + DEAD, False: ALIVE + DEAD}, ran
    assert not any(f["ran"] for f in of["Finalized"] + of["Heir"])
    generators = [f for f in finalizers_of(document) if f["type"] == "builtins.generator"]
    assert len(generators) >= 2 * (ALIVE + DEAD) and {f["kind"] for f in generators} == {"c"}
    assert document["registrations"] == [], document["registrations"]


def check_paths(made):
    document = made.ask("--type", "__main__.Parent")
    assert [c["path"] for c in document["cycles"]] == (
        ["Parent.children[0].parent"] * (ALIVE + DEAD)), document["cycles"]
    assert sum(c["unreachable"] for c in document["cycles"]) == DEAD
    assert counts(document["cycles"][0]["types"])["__main__.Node"] == 3
    owners = sorted(c["owner"] for c in document["cycles"] if c["owner"])
    assert owners == ["__main__.keep[4]", "__main__.keep[5]"], owners
    assert all((c["owner"] is None) == c["unreachable"] for c in document["cycles"])
    (shape,) = document["shapes"]
    assert shape["count"] == ALIVE + DEAD and shape["path"] == "Parent.children[0].parent"
    assert shape["unreachable"] == DEAD and shape["objects"] == sum(
        c["objects"] for c in document["cycles"])


WAYS = {
    "list[0]", "Node.peer.peer", "Parent.children[0].parent", "Slotted.other.other",
    "Finalized.holder['one']", "Heir.me[0]", "Returns.me", "Node.me", "Node.callback.__self__",
    "Awaitable.holder.cr_frame.f_locals['awaitable']", "generator.gi_frame.f_locals['mine'][0]",
    "recursive.__closure__[0].cell_contents", "Local.__mro__[0]", "Lost.__mro__[0]", "C.__mro__[0]",
    "ValueError.__traceback__.tb_frame.f_locals['kept']",
    "Node.table['it\\'s \"x\"\\n'][7][b'bytes'][None][2.5]['plain']"}


def check_ways(ways):
    """Python itself comes back by each way that it can write; few are ways that it cannot."""
    written = [(way, answer) for way, answer in ways if answer is not None]
    wrong = [(way, answer) for way, answer in written if answer is not True]
    assert not wrong, wrong[:20]
    assert WAYS <= {way for way, _ in written}, WAYS - {way for way, _ in written}
    others = collections.Counter(way for way, answer in ways if answer is None)
    odd = {way for way in others
           if not way.startswith(("enumerate(", "map(", "zip(", "list_iterator(",
                                  "Node.friends(member)", "_FuncPtr(", "async_generator(f_func)"))}
    assert not odd and others["Node.friends(member)"] == ALIVE + DEAD, others


def check_weak(document, found):
    """A registry that has the key, the reference beside it, and one with a callback."""
    (row,) = [r for r in document["weakly_held"] if r["type"] == "__main__.Node"]
    assert (row["count"], row["references"], row["callbacks"]) == (DEAD, 3 * DEAD, 2 * DEAD), row
    # The registry's own forgets its key, the other one is counted by the process.
    assert found["called_back"] == DEAD and document["weakref_callbacks"] == 2 * DEAD, found


def check_leaked(document):
    assert counts(document["leaked_types"])["__main__.Node"] == LEAKED, document["leaked_types"]
    assert document["totals"]["leaked_objects"] == sum(counts(document["leaked_types"]).values())


def check_options(made):
    everything = made.ask("--limit", "0")
    assert len(everything["cycles"]) == everything["totals"]["cycles"] == everything["cycles_total"]
    assert sum(c["objects"] for c in everything["cycles"]) == everything["totals"]["objects"]
    assert made.ask("--limit", "3")["cycles"] == everything["cycles"][:3]

    hidden = {shape["path"] for shape in made.ask("--redact", "--limit", "0")["shapes"]}
    (way,) = [way for way in hidden if way.startswith("Node.table")]
    assert way == ("Node.table[[str #9]][[builtins.int]][[builtins.bytes]][[builtins.NoneType]]"
                   "[[builtins.float]]['plain']"), way     # plain is a function's name

    document = made.ask("--min-bytes", "700K")
    (cycle,) = document["cycles"]
    assert cycle["path"] == "list[100000]" and cycle["bytes"] > 700 * 1024, cycle
    assert document["totals"] == everything["totals"] and document["cycles_total"] == 1

    # With all edges the program is one cycle, and all that is in the module's dict is in it.
    document = made.ask("--all-edges")
    biggest = document["cycles"][0]
    assert counts(biggest["types"])["builtins.module"] > 20, biggest["types"][:5]
    assert biggest["finalizers_total"] >= 5000 > everything["totals"]["with_finalizers"]
    assert biggest["objects"] >= everything["program"]["objects"]
    assert document["program"]["objects"] == 0, document["program"]


def check_text(made, document):
    said = tool.run("cycles", made.core, "--unreachable").stdout
    totals = document["totals"]
    assert f"{totals['unreachable_objects']:,} tracked objects wait for the collector" in said, said
    assert f"{totals['leaked_objects']:,} objects are in no cycle" in said, said
    said = tool.run("report", made.core).stdout
    line = f"{totals['unreachable_objects']:,} objects wait for the collector"
    assert line in said and f"cycles: {totals['cycles']:,} of" in said, said
    assert "collector: disabled; " in said, said


@each_python()
def test_legacy_finalizers(python):
    with tempfile.TemporaryDirectory() as directory:
        made = Made(python, directory, "legacy")
        document = made.ask("--unreachable", "--limit", "0")
        check_unreachable(document, made.truth["found"])
        legacy = [f for f in finalizers_of(document) if f["type"] == "__main__.Legacy"]
        assert len(legacy) == 3 and {f["kind"] for f in legacy} == {"legacy"}, legacy
        assert any(cycle["kept"] for cycle in document["cycles"])


@each_python()
def test_finalizers_of_an_extension(python):
    with tempfile.TemporaryDirectory() as directory:
        env = extension.build(python, directory, "legacy", LEGACY)
        made = Made(python, directory, "extension", env=env)
        document = made.ask("--unreachable", "--limit", "0")
        check_unreachable(document, made.truth["found"])
        assert document["totals"]["kept_objects"] >= DEAD
        kinds = collections.Counter(
            (f["type"].rpartition(".")[2], f["kind"])
            for f in finalizers_of(made.ask("--finalizers", "--limit", "0")))
        # A class does not inherit tp_del, but tp_finalize it does.
        wanted = {("Old", "legacy"): DEAD, ("Final", "c"): DEAD, ("FinalHeir", "c"): DEAD}
        assert {k: v for k, v in kinds.items() if "Old" in k[0] or "Final" in k[0]} == wanted, kinds


@each_python()
def test_registered_finalizers(python):
    with tempfile.TemporaryDirectory() as directory:
        document = Made(python, directory, "registered").ask("--finalizers")
        assert document["registrations_total"] == 9, document["registrations"]
        rows = {(r["function"].rpartition(".")[2], r["keeps_object"]): r
                for r in document["registrations"]}
        assert {r["type"] for r in rows.values()} == {"__main__.Watched"}, rows
        harmless = rows["at_the_end", False]
        assert harmless["count"] == 4 and 4 * 50000 < harmless["retained_bytes"] < 4 * 102000, rows
        in_vain = rows["at_the_end", True]
        assert in_vain["count"] == 2 and in_vain["retained_bytes"] < 10000, rows
        (bound,) = [r for r in rows.values() if r["count"] == 3]
        # A bytearray of 3.15 has its bytes in an object of their own, and counts them too.
        assert bound["keeps_object"] and 3 * 30000 < bound["retained_bytes"] < 3 * 62000, rows


@each_python()
def test_in_the_middle_of_a_collection(python):
    for call in ("1", "2"):
        with tempfile.TemporaryDirectory() as directory:
            made = Made(python, directory, "collecting", call)
            document = made.ask("--unreachable")
            check_unreachable(document, made.truth["found"])
            kinds = [w["kind"] for w in document["warnings"]]
            assert kinds == ["collecting"], document["warnings"]
            assert tool.ask("gc", made.core)["collecting"] is True


@each_python()
def test_frozen_objects_are_not_looked_at(python):
    with tempfile.TemporaryDirectory() as directory:
        made = Made(python, directory, "kinds", "frozen", "peers_again")
        document = made.ask("--unreachable")
        check_unreachable(document, made.truth["found"])


def test_one_component_of_many():
    """No recursion, and no pass for each member."""
    pythons = [p for p in interpreters.chosen() if not p.stripped]
    if not pythons:
        raise Skip("no interpreter")
    for python in {pythons[0].name: pythons[0], pythons[-1].name: pythons[-1]}.values():
        with tempfile.TemporaryDirectory() as directory:
            made = Made(python, directory, "ring")
            document = made.ask("--unreachable")
            check_unreachable(document, made.truth["found"])
            cycle = document["cycles"][0]
            assert cycle["objects"] == cycle["edges_total"] == RING, cycle["objects"]
            assert cycle["path"] == "list" + 32 * "[0]" + "...", cycle["path"]
