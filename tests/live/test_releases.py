# SPDX-License-Identifier: GPL-3.0-or-later
"""A release without a table of its own: the same answer by another's, or an error.

tests/relayout asks the library with tables that lack a release, or in which a field
has moved. None of them names the core's release: all has to be proved in memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

import cores
import interpreters
from interpreters import ROOT
from runner import each_python, one_of_each_minor

SHIFTS = (4, 8, 16, 24)
STRUCTURES = ("runtime", "interp", "thread",
              "gc", "gc_generation", "gc_generation_stats", "gc_stats", "gc_old_stats")
OF_GRAPH = "explained", "mismatches", "roots"
# An answer: the types with their figures, what the reference counts say and the names of
# roots, the interpreters with all that the collector says, the threads.
RUNTIME = os.path.join(ROOT, "coreanalyze", "runtime")

# Threads and interpreters, so that a list cut short shows; things on free lists.
SCRIPT = """
import atexit, gc, sys, threading
atexit.register(print, "an end")
def wait(event):
    event.wait()
event = threading.Event()
kept = [threading.Thread(target=wait, args=(event,), daemon=True) for _ in range(3)]
for thread in kept:
    thread.start()
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
kept += [interpreters.create() for _ in range(2)]
class Node: pass
kept += [Node() for _ in range(100)]
floats = [float(i) + .5 for i in range(50)]
del floats
with open(sys.argv[1] + ".1", "w") as f:
    f.write("{}")
sys.stdin.read()
"""


def tables() -> dict[int, list[str]]:
    """Names of the tables of each minor version."""
    found: dict[int, list[str]] = {}
    with open(os.path.join(RUNTIME, "layouts", "tables.def")) as f:
        for name, minor in re.findall(r"^VARIANT\((\w+), (\d+),", f.read(), re.M):
            found.setdefault(int(minor), []).append(name)
    return found


def fields() -> list[str]:
    """Those that are shifted; by its size one of the collector's structures follows another."""
    with open(os.path.join(RUNTIME, "layout.def")) as f:
        found = re.findall(r"^(?:STRUCT|FIELD)\((\w+), (?:(\w+), )?", f.read(), re.M)
    return [f"{s} {field or 'size'}" for s, field in found
            if s in STRUCTURES and (field or s.startswith("gc"))]


def program() -> str:
    return os.path.join(os.environ.get("BUILD") or os.path.join(ROOT, "build"), "tests", "relayout")


def answers(core: str, cases: list[str]) -> list[str]:
    done = subprocess.run([program(), core], input="".join(c + "\n" for c in cases),
                          capture_output=True, text=True, timeout=600)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(cases), (
        done.returncode, len(lines), done.stderr[-500:])
    return lines


def said(line: str) -> str:
    """Without what was searched."""
    return line.split(" |")[0]


def small_core(python: interpreters.Interpreter, directory: str) -> str:
    script = os.path.join(directory, "target.py")
    with open(script, "w") as f:
        f.write(SCRIPT)
    with cores.Target(python, directory, script=script) as target:
        return target.core("gcore", os.path.join(directory, "core"))


def as_they_are(core: str) -> tuple[str, str]:
    """By the second nothing is moved, but nothing is taken on trust."""
    trusted, wanted = (said(line) for line in answers(core, ["as-is", "shift gc enabled 0"]))
    return trusted, wanted


@each_python(among=one_of_each_minor)
def test_fields(python):
    with tempfile.TemporaryDirectory() as directory:
        core = small_core(python, directory)
        check_shifts(core, as_they_are(core)[1], is_first_or_last(python))


@each_python()
def test_tables(python):
    known = tables()
    own = known[python.version[1]]
    with tempfile.TemporaryDirectory() as directory:
        core = small_core(python, directory)
        trusted, wanted = as_they_are(core)
        # Roots that memory does not prove have no name then, and fill what is missing.
        assert without(wanted, *OF_GRAPH) == without(trusted, *OF_GRAPH)
        assert figure(wanted, "explained") >= figure(trusted, "explained") - 2, (wanted, trusted)
        table = used(core)
        # The nearest others, one after the other, as long as there are any.
        check_without(core, wanted, trusted, [t for t in own if t != table], table)
        check_other_minors(core, [m for m in known if m != python.version[1]])
        check_unknown_minor(core, own, python)


def used(core: str) -> str:
    import tool
    return tool.ask("info", core)["layout"]["table"]


def check_without(core: str, wanted: str, trusted: str, others: list[str], table: str) -> None:
    cases = ["without " + " ".join([table, *(o for o in others if o != kept)]) for kept in others]
    for case, line in zip(cases, answers(core, cases)):
        # 3.11.2 has changed what the int 0 counts; a warning says such may be.
        # Another vendor's may cover the same release.
        same = said(line) in (wanted, trusted) or (
            "cp311" in case and without(said(line), "sizes") == without(wanted, "sizes"))
        assert same, (case, line, wanted)


def without(line: str, *figures: str) -> str:
    return re.sub(r" (%s) \w+" % "|".join(figures), "", line)


def figure(line: str, name: str) -> int:
    return int(re.search(rf" {name} (\d+)", line)[1])


def is_first_or_last(python) -> bool:
    """The oldest release there is, or the newest."""
    known = interpreters.found()
    return python.version in (known[0].version, known[-1].version)


def check_shifts(core: str, wanted: str, graph: bool) -> None:
    """The graph takes most of the time: without it, references are compared for 8 bytes only."""
    cases = [f"shift {field} {way * by}" + ("" if graph or by == 8 else " types")
             for field in fields() for by in SHIFTS for way in (1, -1)]
    lines = answers(core, cases)
    # A release has not all fields.
    there = [(case, line) for case, line in zip(cases, lines) if line != "no such case"]
    assert len(there) > len(cases) / 2
    for case, line in there:
        got, right = said(line), wanted
        if case.endswith("types"):
            got, right = without(got, *OF_GRAPH), without(right, *OF_GRAPH)
        assert line.startswith("error: ") or got == right, (case, line, wanted)
    # What is not searched is seldom.
    errors = sum(line.startswith("error: ") for _, line in there)
    assert errors < len(there) / 8, errors
    assert sum("=" in line for _, line in there) > len(there) / 20


def check_other_minors(core: str, minors: list[int]) -> None:
    cases = [f"only {minor}" for minor in minors]
    for case, line in zip(cases, answers(core, cases)):
        assert line.startswith("error: "), (case, line)


def check_unknown_minor(core: str, own: list[str], python) -> None:
    line, = answers(core, ["without " + " ".join(own)])
    # From 3.13 memory says the version; before, the name of the file does.
    version = "%d.%d.%d" % python.version if python.version >= (3, 13) else "python%d.%d" % python.minor
    assert line.startswith("error: ") and version in line, line
