# SPDX-License-Identifier: GPL-3.0-or-later
"""What coreanalyze reads from a core against what the process itself said."""

import compare
import tool
from runner import each_core

everything = each_core(stripped=True)


def check(differences: compare.Differences) -> None:
    assert not differences, str(differences)


@everything
def test_truth_is_sound(case):
    doubts = case.truth.doubts()
    assert not doubts, "\n".join(doubts)


@everything
def test_info(case):
    check(compare.compare_info(case.truth, tool.ask("info", case.core)))


@everything
def test_types(case):
    document = tool.ask("types", case.core, "--limit", "0")
    check(compare.compare_types(case.truth, document))


@everything
def test_objects(case):
    document = tool.ask("object", case.core, "-", "--brief",
                        stdin=compare.addresses_of(case.truth))
    check(compare.compare_objects(case.truth, document["objects"]))


@everything
def test_no_object_inside_of_objects(case):
    addresses = "".join(a + "\n" for a in compare.strangers(case.truth))
    document = tool.ask("object", case.core, "-", "--brief", stdin=addresses)
    check(compare.compare_strangers(document["objects"]))


# What tp_traverse does that is no reference: of how many objects.
EXPLAINED = {
    "builtins.module": 1,   # 3.12: _asyncio visits what waits on its free list
    "compression.zstd.ZstdCompressor": 1,       # 3.14.8, 3.15.0: their type is passed by
    "compression.zstd.ZstdDecompressor": 1,
    "compression.zstd.ZstdDict": 1,
    "unicodedata.GraphemeBreakIterator": 1,
    "unicodedata.Segment": 1,
}

# Types of C that nothing here has an instance of: they are untested.
UNTESTED = {
    "_ctypes.StructParam_Type", "_ssl.SSLSession", "_ssl.Session", "_typing._ConstEvaluator",
    "builtins.InstructionSequence", "builtins.async_generator_wrapped_value",
    "builtins.builtin_method", "builtins.hamt_collision_node", "builtins.uop_executor",
    "interpreters.InterpreterError", "interpreters.InterpreterNotFoundError",
    "sqlite3.PrepareProtocol", "typing.Generic", "typing.io", "typing.re",
}


@everything
def test_references(case):
    """Every object's, against what its type's own tp_traverse visits, and its count."""
    document = tool.ask("verify", case.core, "--deep=0", "--limit", "0")
    different = [row for row in document["deep"]["types"]
                 if row["objects"] - row["equal"] > EXPLAINED.get(row["type"], 0)]
    assert not different, different
    # Some bases of static types are not counted, up to 3.9.
    deficit = {row["type"] for row in document["refcounts"]["deficit_by_type"]}
    assert deficit <= ({"builtins.type"} if case.python.minor < (3, 10) else set()), deficit
    assert document["refcounts"]["ratio"] >= 0.9995, document["refcounts"]
    compared = {row["type"] for row in document["deep"]["types"]}
    untested = {kind for kind, below in case.truth.document["c_types"].items()
                if not compared & set(below)}
    assert untested <= UNTESTED, untested - UNTESTED


# gc.freeze() in the middle: frozen, tracked and untracked objects side by side.
@each_core("instances", "dicts", "frozen", "sequences", "sets", kinds=("gcore",))
def test_types_of_a_frozen_heap(case):
    assert case.truth.document["gc"]["freeze_count"] > 1000
    document = tool.ask("types", case.core, "--limit", "0")
    check(compare.compare_types(case.truth, document))


@each_core("interpreters", "instances", kinds=("gcore",))
def test_all_interpreters(case):
    for differences in compare.compare(case.core, case.truth).values():
        check(differences)


@each_core("nodes=1000", kinds=("gcore",))
def test_small_heap(case):
    for differences in compare.compare(case.core, case.truth).values():
        check(differences)


@each_core("nodes=20000", "dicts=20000", "tuples=20000", "strings=20000",
           "lists=20000", kinds=("kernel",))
def test_mass(case):
    for differences in compare.compare(case.core, case.truth).values():
        check(differences)


# Blocks are padded (Objects/obmalloc.c: _PyMem_DebugRawAlloc).
@each_core("instances", "dicts", "sequences", "numbers", "sets", kinds=("gcore",),
           env={"PYTHONMALLOC": "debug"})
def test_debug_hooks_of_the_allocator(case):
    for differences in compare.compare(case.core, case.truth).values():
        check(differences)


@everything
def test_allocated_blocks(case):
    """Blocks are those that pools count; with malloc's, those that sys counts."""
    trust = tool.ask("types", case.core)["trust"]
    assert trust["blocks"] == trust["pool_blocks"], trust
    assert trust["blocks"] == (trust["objects"] + trust["owned"] + trust["freelist"]
                               + trust["unexplained"]), trust
    if trust["allocated_blocks"] is not None:
        assert trust["allocated_blocks"] == case.truth.document["allocated_blocks"], trust
    assert trust["unexplained"] <= trust["blocks"] / 1000, trust
