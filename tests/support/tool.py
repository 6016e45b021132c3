# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the command under test."""

from __future__ import annotations

import json
import os
import subprocess

from interpreters import ROOT

TIMEOUT = 120


def path() -> str:
    """The command: $CA_BIN, or what make has built."""
    return (os.environ.get("CA_BIN") or os.environ.get("COREANALYZE")
            or os.path.join(ROOT, "build", "coreanalyze"))


def run(*args: str, stdin: str | None = None,
        timeout: float = TIMEOUT) -> subprocess.CompletedProcess:
    """The finished command, whatever its status; output as text."""
    return subprocess.run(
        [path(), *args], input=stdin, capture_output=True, text=True,
        errors="replace", timeout=timeout,
        stdin=subprocess.DEVNULL if stdin is None else None)


def ask(*args: str, stdin: str | None = None, status: int = 0) -> dict:
    """The JSON document of a command, which must end with that status."""
    done = run(*args, "--json", stdin=stdin)
    words = " ".join(("coreanalyze", *args))
    if done.returncode != status:
        raise AssertionError(f"{words}: exit status {done.returncode},"
                             f" expected {status}\n{done.stderr[-2000:]}")
    try:
        document = json.loads(done.stdout)
    except ValueError as e:
        raise AssertionError(f"{words}: no JSON: {e}\n{done.stdout[:500]}")
    schema = f"coreanalyze.{args[0]}/1"
    if document.get("schema") != schema:
        raise AssertionError(
            f"{words}: schema is {document.get('schema')}, expected {schema}")
    return document
