# SPDX-License-Identifier: GPL-3.0-or-later
"""Allocators other than obmalloc, and what malloc has beside it."""

import contextlib
import json
import os
import subprocess

import compare
import cores
import interpreters
import tool
from runner import Skip, each_core, each_python

HELD = os.path.join(cores.HERE, "held.py")
SOME = ("instances", "numbers", "sets")


def check(case, allocator):
    document = tool.ask("types", case.core, "--limit", "0")
    differences = compare.compare_types(case.truth, document)
    assert not differences, str(differences)
    trust = document["trust"]
    assert trust["allocator"] == allocator and not document["warnings"], document["warnings"]
    # What is left is the C library's own.
    assert trust["unexplained"] <= 1000, trust
    assert trust["objects"] > trust["blocks"] / 2, trust


@each_core(*SOME, kinds=("gcore",), env={"PYTHONMALLOC": "malloc"})
def test_malloc(case):
    check(case, "malloc")


# gdb would write out all of the GiB that mimalloc sets aside.
@each_core(*SOME, kinds=("kernel",), env={"PYTHONMALLOC": "mimalloc"})
def test_mimalloc(case):
    if case.python.minor < (3, 13):
        raise Skip("CPython 3.13 was the first to have mimalloc")
    check(case, "mimalloc")


@each_core(*SOME, kinds=("kernel",), env={"PYTHONDEVMODE": "1"})
def test_development_mode(case):
    """On the oldest, the newest, and one between."""
    chosen = [i.name for i in interpreters.chosen() if not i.stripped]
    if case.python.name in (chosen[0], chosen[len(chosen) // 2], chosen[-1]):
        check(case, "obmalloc")


@contextlib.contextmanager
def held(python, **env):
    """(target, what it says) of a process of held.py."""
    process = subprocess.Popen(python.command(HELD), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env={**python.environment(), **env})
    with process:
        try:
            yield f"pid:{process.pid}", json.loads(process.stdout.readline())
        finally:
            process.kill()


def check_held(target, said):
    assert compare.held(target, said) == []


@each_python()
def test_what_only_c_refers_to(python):
    """In brk's heap, in threads' arenas that have several, in mappings."""
    with held(python) as (target, said):
        check_held(target, said)


@each_python()
def test_what_only_c_refers_to_with_other_allocators(python):
    allocators = ["malloc", "malloc_debug", "pymalloc_debug"]
    if python.minor >= (3, 13):
        allocators += ["mimalloc", "mimalloc_debug"]
    for allocator in allocators:
        with held(python, PYTHONMALLOC=allocator) as (target, said):
            check_held(target, said)
