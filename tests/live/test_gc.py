# SPDX-License-Identifier: GPL-3.0-or-later
"""`gc` against what the gc module of the process says of itself."""

import collections
import os
import tempfile

import cores
import tool
from runner import each_python

TARGET = os.path.join(cores.HERE, "collected.py")


def ask(python, *profiles):
    """The document of `gc`, and what the target says."""
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, *profiles, script=TARGET) as target:
            core = target.core("gcore", os.path.join(directory, "core"))
            truth = target.truth()
        return tool.ask("gc", core), truth


def check(document, truth):
    for key in ("enabled", "debug", "frozen"):
        assert document[key] == truth[key], (key, document[key], truth[key])
    for i, row in enumerate(document["generations"]):
        assert row["generation"] == i
        assert row["threshold"] == truth["threshold"][i], (row, truth["threshold"])
        assert row["count"] == truth["count"][i], (row, truth["count"])
        assert row["objects"] == len(truth["generations"][i]), (
            row, [len(g) for g in truth["generations"]])
        assert row["bytes"] == truth["bytes"][i], (row, truth["bytes"])
        for key in ("collections", "collected", "uncollectable"):
            assert row[key] == truth["stats"][i][key], (key, row, truth["stats"][i])
    assert {row["type"]: row["count"] for row in document["garbage"]} == (
        collections.Counter(truth["garbage"])), document["garbage"]
    assert document["callbacks"] == [f"<function {name}>" for name in truth["callbacks"]]
    assert document["collecting"] is False and document["unlisted"] == 0
    assert {w["kind"] for w in document["warnings"]} <= {"overcounted"}, document["warnings"]


def advice(document):
    return {row["kind"]: row["text"] for row in document["advice"]}


def found(truth):
    return len(truth["found"]["collectable"]) + len(truth["found"]["uncollectable"])


@each_python()
def test_figures(python):
    document, truth = ask(python, "figures", "peers_again")
    check(document, truth)
    assert len(truth["garbage"]) >= 5 and truth["callbacks"] == ["on_collection"]
    assert set(advice(document)) == {"disabled", "garbage"}, document["advice"]
    assert found(truth) >= 6 and document["unreachable_objects"] == found(truth)
    assert f": {found(truth)} objects of the process are garbage" in advice(document)["disabled"]
    assert f"keeps {len(truth['garbage'])} objects" in advice(document)["garbage"]
    assert set(document["debug_flags"]) == {"DEBUG_UNCOLLECTABLE"}


@each_python()
def test_frozen(python):
    document, truth = ask(python, "frozen")
    check(document, truth)
    assert document["frozen"] > 20000 and document["frozen_bytes"] > document["frozen"] * 16
    # The collector is off, but there is nothing for it to do.
    assert found(truth) == 0 and set(advice(document)) == {"frozen"}, document["advice"]
    assert f"these {document['frozen']:,} objects" in advice(document)["frozen"]


@each_python()
def test_waiting_for_a_quarter(python):
    document, truth = ask(python, "starved")
    check(document, truth)
    assert document["enabled"] is True
    assert set(advice(document)) == {"quarter-rule", "saveall"}, document["advice"]


@each_python()
def test_nothing_to_advise(python):
    document, truth = ask(python, "quiet")
    check(document, truth)
    assert document["enabled"] is True and document["advice"] == [], document["advice"]


@each_python()
def test_no_threshold(python):
    document, truth = ask(python, "threshold_zero", "peers_again")
    check(document, truth)
    assert document["enabled"] is True and found(truth) >= 6
    assert set(advice(document)) == {"threshold-zero"}, document["advice"]
    assert f": {found(truth)} objects of the process are garbage" in advice(document)["threshold-zero"]


@each_python()
def test_another_interpreter(python):
    """Its own figures, beside those of the main one."""
    if python.minor < (3, 9):
        return      # all interpreters have one collector
    document, truth = ask(python, "another")
    check(document, truth)
    (other,) = document["interpreters"]
    assert other["enabled"] is False and other["debug_flags"] == ["DEBUG_SAVEALL"]
    thresholds = [row["threshold"] for row in other["generations"]]
    assert thresholds[:2] == [321, 5], thresholds
    assert {row["type"]: row["count"] for row in other["garbage"]}["builtins.list"] >= 4
    assert "saveall" in advice(other) and "saveall" not in advice(document), document["advice"]
