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
        for key in ("collections", "collected", "uncollectable"):
            assert row[key] == truth["stats"][i][key], (key, row, truth["stats"][i])
    assert {row["type"]: row["count"] for row in document["garbage"]} == (
        collections.Counter(truth["garbage"])), document["garbage"]
    assert document["callbacks"] == [f"<function {name}>" for name in truth["callbacks"]]
    assert document["collecting"] is False and document["unlisted"] == 0
    assert {w["kind"] for w in document["warnings"]} <= {"overcounted"}, document["warnings"]


def advice(document):
    return {row["kind"] for row in document["advice"]}


@each_python()
def test_figures(python):
    document, truth = ask(python, "figures")
    check(document, truth)
    assert len(truth["garbage"]) >= 5 and truth["callbacks"] == ["on_collection"]
    assert {"disabled", "garbage"} <= advice(document), document["advice"]
    assert "saveall" not in advice(document)


@each_python()
def test_frozen(python):
    document, truth = ask(python, "frozen")
    check(document, truth)
    assert document["frozen"] > 1000 and document["frozen_bytes"] > document["frozen"] * 16


@each_python()
def test_waiting_for_a_quarter(python):
    document, truth = ask(python, "starved")
    check(document, truth)
    assert document["enabled"] is True
    assert {"quarter-rule", "saveall"} <= advice(document), document
