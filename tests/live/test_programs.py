# SPDX-License-Identifier: GPL-3.0-or-later
"""Real programs: every reference against what the interpreter's own code visits."""

import contextlib
import os
import subprocess
import tempfile
import time

import cores
import interpreters
import programs
import tool
from runner import Skip, each_python

PATIENCE = 120      # seconds for a program to get to work, on a busy machine


def rows_of(document):
    return {row["type"]: row for row in document["deep"]["types"]}


def check_edges(document, least=0.999):
    deep = document["deep"]
    run = deep["objects"] - deep["not_emulated"]
    different = [row for row in deep["types"] if row["equal"] + row["not_emulated"] < row["objects"]]
    assert deep["equal"] >= least * run, different
    assert run >= least * deep["objects"], [row for row in deep["types"] if row["not_emulated"]]


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def at_work(command, seconds, **options):
    """A program that has computed for so long."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True, **options)
    try:
        end = time.monotonic() + PATIENCE
        while processor_seconds(process.pid) < seconds:
            assert process.poll() is None, f"{command} ended: {process.returncode}"
            assert time.monotonic() < end, f"{command} does not get to work"
            time.sleep(0.01)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


@each_python()
def test_the_standard_librarys_own_tests_in_mid_run(python):
    modules = ("test.test_typing", "test.test_dataclasses", "test.test_asyncio.test_tasks")
    there = subprocess.run(python.command("-c", "import " + ", ".join(modules)),
                           capture_output=True, env=python.environment())
    if there.returncode:
        raise Skip("it has no test package")
    with tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        with at_work(python.command("-m", "unittest", *modules), 2.0, cwd=directory,
                     env=python.environment()) as process:
            tool.ask("capture", str(process.pid), "-o", core)
        check_edges(tool.ask("verify", core, "--deep=200"))


def system_python():
    for python in interpreters.chosen():
        if python.name.startswith("system-"):
            return python
    raise Skip("no Python of the system")


def test_real_programs():
    """Django after some requests, numpy, lxml, a manual built by Sphinx, other extensions."""
    python = system_python()
    environment = programs.environment(python)
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, "numpy", "lxml", "extensions", "django", "sphinx",
                          env=environment) as target:
            target.truth_path()
            core = target.core("gcore", os.path.join(directory, "core"))
        document = tool.ask("verify", core, "--deep=200", "--limit", "0")
    check_edges(document)
    rows = rows_of(document)
    learnt = [row for name, row in rows.items()
              if name.split(".")[0] in ("lxml", "numpy", "multidict", "greenlet", "_cffi_backend")]
    assert len(learnt) > 20
    for row in learnt:
        assert row["equal"] == row["objects"], row


def test_a_leaking_middleware():
    """Two cores of a Django site: what grew, who holds it, and that it is the suspect."""
    python = system_python()
    script = os.path.join(cores.HERE, "django_site.py")
    requests, kept = "django.core.handlers.wsgi.WSGIRequest", "__main__.RECENT"
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, script=script,
                          env=programs.environment(python)) as target:
            before = target.core("gcore", os.path.join(directory, "before"))
            target.go_on()
            after = target.core("gcore", os.path.join(directory, "after"))
        diff = tool.ask("diff", before, after, "--limit", "0")
        grown = {row["type"]: row for row in diff["types"]}[requests]
        assert (grown["count_before"], grown["count_delta"], grown["new"]) == (400, 400, 400), grown
        owner, *others = diff["owners"]
        assert owner["owner"] == kept, owner
        assert (owner["length_before"], owner["length_after"]) == (400, 800), owner
        assert owner["count_delta"] >= 400 * 10 and owner["bytes_delta"] > 400 * 1000, owner
        # The other one has a name too: wraps() gives the middleware's attributes to the function.
        slow, = [row for row in others if row["owner"].endswith(".slow")]
        assert slow["length_after"] == 800, slow
        suspects = tool.ask("suspects", after)["suspects"]
        assert [s["owner"] for s in suspects][:1] == [kept], suspects
        assert suspects[0]["accumulates"]["count"] == 800, suspects
        assert suspects[0]["accumulates"]["type"] == requests, suspects
        path = tool.ask("owners", after, "--type", requests)["paths"][0]
        assert path["count"] == 800 and path["owner"] == kept, path
