# SPDX-License-Identifier: GPL-3.0-or-later
"""`cycles` against what a full collection finds in a copy of the process."""

import collections
import os
import tempfile

import cores
import tool
from runner import each_python

TARGET = os.path.join(cores.HERE, "collected.py")
ALIVE, DEAD = 2, 3      # of each kind, in collected.py


class Made:
    """A core of collected.py and what its child found."""

    def __init__(self, python, directory, *profiles, env=None):
        with cores.Target(python, directory, *profiles, script=TARGET, env=env) as target:
            self.core = target.core("gcore", os.path.join(directory, "core"))
            self.truth = target.truth()

    def ask(self, *options):
        return tool.ask("cycles", self.core, *options)


def types_of(found):
    return collections.Counter(name for _, name in found)


def check_unreachable(document, found):
    both = found["collectable"] + found["uncollectable"]
    got = collections.Counter({r["type"]: r["count"] for r in document["unreachable_types"]})
    wanted = types_of(both)
    assert got == wanted, f"missing {wanted - got}, too many {got - wanted}"
    assert document["totals"]["unreachable_objects"] == len(both), document["totals"]
    assert document["totals"]["kept_objects"] == len(found["uncollectable"]), document["totals"]


def finalizers_of(document):
    return [f for cycle in document["cycles"] for f in cycle["finalizers"]]


@each_python()
def test_kinds(python):
    with tempfile.TemporaryDirectory() as directory:
        made = Made(python, directory, "kinds", "globals_with_del")
        document = made.ask("--unreachable")
        check_unreachable(document, made.truth["found"])
        assert document["warnings"] == [], document["warnings"]
        assert all(cycle["unreachable"] for cycle in document["cycles"])
        check_finalizers(made.ask("--finalizers", "--limit", "0"))
        check_paths(made)


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


def check_paths(made):
    document = made.ask("--type", "__main__.Parent")
    assert [c["path"] for c in document["cycles"]] == (
        ["Parent.children[0].parent"] * (ALIVE + DEAD)), document["cycles"]
    assert sum(c["unreachable"] for c in document["cycles"]) == DEAD
    assert {"type": "__main__.Node", "count": 3} in document["cycles"][0]["types"]
    (shape,) = document["shapes"]
    assert shape["count"] == ALIVE + DEAD and shape["path"] == "Parent.children[0].parent"
    paths = {shape["path"] for shape in made.ask("--limit", "0")["shapes"]}
    # Up to 3.10 a Node and its dict make the same shape, whatever the attribute's name.
    assert "list[0]" in paths and paths & {"Node.peer.peer", "Node.me"}, paths


@each_python()
def test_legacy_finalizers(python):
    with tempfile.TemporaryDirectory() as directory:
        made = Made(python, directory, "legacy")
        document = made.ask("--unreachable", "--limit", "0")
        check_unreachable(document, made.truth["found"])
        legacy = [f for f in finalizers_of(document) if f["type"] == "__main__.Legacy"]
        assert len(legacy) == 3 and {f["kind"] for f in legacy} == {"legacy"}, legacy


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
