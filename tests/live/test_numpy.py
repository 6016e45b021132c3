# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays of objects, which have no tp_traverse, against what numpy itself says of them."""

import os
import re
import struct
import tempfile
from collections import Counter

import cores
import programs
import tool
from runner import each_python

TARGET = os.path.join(cores.HERE, "numpy_target.py")
ITEMS = {"__main__.Item", "__main__.Plain", "__main__.Slotted"}


def objects_at(core, addresses, *options):
    asked = "".join(a + "\n" for a in addresses)
    answers = tool.ask("object", core, "-", "--limit", "0", *options, stdin=asked)["objects"]
    return dict(zip(addresses, answers))


def items_of(one):
    return Counter(r["address"] for r in one["referents"] if r["type"] == "__main__.Item")


def check_array(name, expected, one):
    assert one["bytes"] == expected["bytes"], (name, one["bytes"], expected["bytes"])
    slots = [r["address"] for r in one["referents"] if r["gc"] and r["type"] == "__main__.Item"]
    assert items_of(one) == Counter(expected["items"] + slots), name
    assert not [r for r in one["referents"] if r["guess"]], name
    others = {r["via"]: r["address"] for r in one["referents"] if not r["gc"]}
    assert others[".dtype"] == expected["dtype"], (name, others)
    assert others.get(".base") == expected["base"], (name, others)


def check_ways(core, truth):
    for way, address in truth["ways"].items():
        name, inside = re.match(r"(\w+)(.*)", way).groups()
        held = objects_at(core, [address])[address]["referrers"]
        assert [r for r in held if r["via"] == inside
                and r["address"] == truth["arrays"][name]["address"]], (way, held)
    secret = truth["ways"]["rows[0]['secret-field']"]
    held = objects_at(core, [secret], "--redact")[secret]["referrers"]
    assert "[0][[str #12]]" in {r["via"] for r in held}, held


def check_counts(core):
    document = tool.ask("verify", core, "--limit", "0")
    wrong = [row for key in ("excess_by_type", "deficit_by_type")
             for row in document["refcounts"][key] if row["type"] in ITEMS]
    assert not wrong, wrong


def check_sizes(core):
    rows = {row["type"]: row for row in tool.ask("types", core, "--limit", "0")["types"]}
    for kind in ("numpy.ndarray", "__main__.Plain", "__main__.Slotted"):
        assert rows[kind]["bytes_exact"], rows[kind]


def write(core, address, data):
    """Puts other bytes where the process had the address."""
    with open(core, "r+b") as f:
        header = f.read(64)
        f.seek(struct.unpack_from("<Q", header, 32)[0])
        headers = f.read(56 * struct.unpack_from("<H", header, 56)[0])
        for kind, _, offset, start, _, size, *_ in struct.iter_unpack("<IIQQQQQQ", headers):
            if kind == cores.PT_LOAD and start <= address < start + size:
                f.seek(offset + address - start)
                f.write(data)
                return
    raise AssertionError(hex(address))


def check_damage(core, arrays):
    """Of arrays that lie nothing is read but what is there, and the others are whole."""
    data, nd, dimensions, descr = 16, 24, 32, 56
    damaged = {"objects": (data, 0x123456789), "grid": (nd, 1 << 31), "cube": (dimensions, 8),
               "rows": (descr, int(arrays["table"]["address"], 16))}
    for name, (at, value) in damaged.items():
        write(core, int(arrays[name]["address"], 16) + at, struct.pack("<Q", value)[:4 if at == nd else 8])
    answers = objects_at(core, [a["address"] for a in arrays.values()])
    for name, expected in arrays.items():
        one = answers[expected["address"]]
        assert "error" not in one, one
        if name in damaged:
            assert not items_of(one), name
        elif name != "large":
            check_array(name, expected, one)
    assert [w for w in tool.ask("verify", core)["warnings"] if w["kind"] == "damaged-object"]


@each_python()
def test_arrays_of_objects(python):
    environment = programs.having(python, "numpy")
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, script=TARGET, env=environment) as target:
            truth = target.truth()
            core = target.core("gcore", os.path.join(directory, "core"))
        arrays = truth["arrays"]
        answers = objects_at(core, [a["address"] for a in arrays.values()])
        for name, expected in arrays.items():
            if name == "large":
                assert items_of(answers[expected["address"]]) == {truth["shared"]: truth["large"]}
            else:
                check_array(name, expected, answers[expected["address"]])
        check_ways(core, truth)
        check_counts(core)
        check_sizes(core)
        check_damage(core, arrays)
