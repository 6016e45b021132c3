# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of an extension that nobody was taught."""

import os
import tempfile

import cores
import extension
import tool
from runner import each_python

TARGET = os.path.join(cores.HERE, "untaught_target.py")
UNTAUGHT = {"Pair": "untaught.Pair", "Chain": "untaught.Chain",
            "PairOfPython": "__main__.PairOfPython", "ChainWithDict": "__main__.ChainWithDict"}


def rows_of(document):
    return {row["type"]: row for row in document["deep"]["types"]}


@each_python()
def test_references_are_learnt_and_a_leak_is_found(python):
    with tempfile.TemporaryDirectory() as directory:
        environment = extension.build(python, directory)
        with cores.Target(python, directory, script=TARGET, env=environment) as target:
            truth = target.truth()
            core = target.core("gcore", os.path.join(directory, "core"))
        document = tool.ask("verify", core, "--deep=0", "--limit", "0")
        rows = rows_of(document)
        for name, kind in UNTAUGHT.items():
            row = rows[kind]
            assert row["objects"] == len(truth[name]), row
            assert row["equal"] == row["objects"], row
        excess = {row["type"]: row for row in document["refcounts"]["excess_by_type"]}
        assert excess["untaught.Pair"]["objects"] == 7, excess["untaught.Pair"]
        # 7 times 3; a word of static data that happens to point at one stands for a reference.
        assert 14 <= excess["untaught.Pair"]["references"] <= 21, excess["untaught.Pair"]
        deficit = {row["type"] for row in document["refcounts"]["deficit_by_type"]}
        assert not deficit & set(UNTAUGHT.values()), deficit
        check_referents(core, truth)


def check_referents(core, truth):
    expected = {"0x%x" % int(address): sorted("0x%x" % r for r in refs)
                for objects in truth.values() for address, refs in objects.items()}
    answers = tool.ask("object", core, "-", "--limit", "0",
                       stdin="".join(a + "\n" for a in expected))["objects"]
    for answer in answers:
        found = sorted(r["address"] for r in answer["referents"] if r["gc"])
        assert found == expected[answer["address"]], (answer, expected[answer["address"]])
