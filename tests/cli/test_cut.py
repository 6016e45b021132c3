# SPDX-License-Identifier: GPL-3.0-or-later
"""A core that is cut short anywhere: what is left is answered for, or refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile

import cores
import interpreters
import tool

PLACES = 90
EDGES = (1, 3, 5, 20, 63, 64, 100, 1000, 4096)


def cuts(size: int) -> list[int]:
    """Through the headers, all along, and close to the end, where gdb has the notes: over 100."""
    inside = [size * i // PLACES for i in range(1, PLACES)]
    # Odd places too: no page, no word ends there.
    inside[::4] = [place + 13 * i for i, place in enumerate(inside[::4])]
    return sorted({*EDGES, *inside, *(size - edge for edge in (*EDGES, 20_000, 100_000))})


def check(core: str, cut: str) -> None:
    whole = tool.ask("types", core, "--limit", "0")
    assert whole["target"]["complete"] and not whole["warnings"], whole["warnings"]
    size = os.path.getsize(core)
    assert len(cuts(size)) >= 100
    answered = refused = 0
    # From the end on, so that one copy is enough.
    shutil.copyfile(core, cut)
    for place in sorted(cuts(size), reverse=True):
        os.truncate(cut, place)
        done = tool.run("types", cut, "--limit", "0", "--json")
        where = f"{place} of {size}"
        assert done.returncode in (0, 3), (where, done.returncode, done.stderr)
        if done.returncode == 3:
            refused += 1
            check_refusal(done.stderr, where, place)
        else:
            answered += 1
            check_answer(json.loads(done.stdout), whole, where)
    assert answered > 5 and refused > 5, (answered, refused)


def check_refusal(said: str, where: str, place: int) -> None:
    assert said.startswith("coreanalyze: ") and said.count("\n") == 1, (where, said)
    if place > 3:
        assert "cut short" in said, (where, said)
        assert re.search(r"\d+ of (at least )?\d+ bytes", said), (where, said)


def check_answer(document: dict, whole: dict, where: str) -> None:
    del document["target"]["path"]
    expected = {**whole, "target": {**whole["target"]}}
    del expected["target"]["path"]
    if document == expected:
        return      # what is gone held nothing of the process
    texts = {w["kind"]: w["text"] for w in document["warnings"]}
    assert document["target"]["complete"] is False, where
    assert re.search(r"\d+ of \d+ bytes are missing", texts.get("truncated", "")), (where, texts)
    for key, value in document["totals"].items():
        assert value <= whole["totals"][key], (where, key, document["totals"], whole["totals"])
    missing = sum(whole["totals"][key] - document["totals"][key] for key in ("bytes", "owned"))
    assert missing <= sum(w["bytes"] for w in document["warnings"]), (
        where, missing, document["warnings"])


def check_kind(kind: str) -> None:
    chosen = interpreters.chosen()
    for python in dict.fromkeys((chosen[0], chosen[-1])):
        with tempfile.TemporaryDirectory() as directory:
            with cores.Target(python, directory, "nodes=1000") as target:
                core = target.core(kind, os.path.join(directory, "core"))
            check(core, os.path.join(directory, "cut"))


def test_gcore():
    check_kind("gcore")


def test_kernel():
    check_kind("kernel")
