#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in README.md and in the docstrings of samples/: they are run.

    tests/support/examples.py       run all of them, write down what they print

An example is an indented line "$ coreanalyze ...". What is indented below it,
up to the next "$ ", is its output. The cores that it may name are of one
worker: before.1234, after.1234 (one step later) and core.1234, which is the
latter. An address stands for some object of the sample's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import re
import subprocess
import sys
import tempfile

import cores
import interpreters
import tool

ROOT = interpreters.ROOT
SAMPLES = os.path.join(ROOT, "samples")
INDENT = "    "
PROMPT = "$ "
PID = "1234"
README_SAMPLE = "sessions"
MADE_ON = "system-3.11"     # what wrote down the outputs


class Worker:
    """A sample that runs, driven by lines on its stdin."""

    def __init__(self, python: interpreters.Interpreter, directory: str, sample: str,
                 *options: str):
        self.directory = directory
        self.process = subprocess.Popen(
            python.command(os.path.join(SAMPLES, "worker.py"), sample, *options),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python.environment())
        self._expect("ready")

    def _expect(self, word: str) -> None:
        line = self.process.stdout.readline().decode(errors="replace")
        if line.split()[:1] != [word]:
            self.__exit__()
            raise cores.TargetFailed(f"the worker said {line!r}, not '{word}'")

    def grow(self) -> None:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self._expect("step")

    def gcore(self, name: str) -> str:
        """A core of that name, made as the examples make it."""
        path = os.path.join(self.directory, name)
        try:
            done = subprocess.run(["gcore", "-o", path, str(self.process.pid)], text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=cores.TIMEOUT)
        except FileNotFoundError:
            raise cores.Unavailable("gcore is not installed")
        if not os.path.exists(f"{path}.{self.process.pid}"):
            if "Operation not permitted" in done.stdout:
                raise cores.Unavailable("gdb may not attach to a process")
            raise cores.TargetFailed(f"gcore made no core: {done.stdout}")
        os.rename(f"{path}.{self.process.pid}", f"{path}.{PID}")
        return f"{path}.{PID}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def cores_of(python: interpreters.Interpreter, sample: str, *options: str):
    """A directory with the cores before and after a step, as examples name them."""
    with tempfile.TemporaryDirectory() as directory:
        with Worker(python, directory, sample, *options) as worker:
            worker.gcore("before")
            worker.grow()
            os.symlink(worker.gcore("after"), os.path.join(directory, f"core.{PID}"))
        yield directory


@dataclasses.dataclass
class Example:
    command: str
    output: list[str]
    lines: range            # where the output is in the text


def find(text: str) -> list[Example]:
    out, lines = [], text.split("\n")
    for at, line in enumerate(lines):
        if line.startswith(INDENT + PROMPT + "coreanalyze "):
            end = at + 1
            while end < len(lines) and not lines[end].startswith(INDENT + PROMPT) and (
                    not lines[end] or lines[end].startswith(INDENT)):
                end += 1
            while not lines[end - 1]:
                end -= 1
            out.append(Example(line[len(INDENT + PROMPT):],
                               [each[len(INDENT):] for each in lines[at + 1:end]],
                               range(at + 1, end)))
    return out


def files() -> dict[str, str]:
    """Each file that has examples, and the sample that they are about."""
    out = {os.path.join(ROOT, "README.md"): README_SAMPLE}
    for path in sorted(glob.glob(os.path.join(SAMPLES, "*.py"))):
        name = os.path.basename(path)[:-3]
        if name != "worker":
            out[path] = name
    return out


def read(path: str) -> str:
    with open(path, encoding="utf-8") as f:
        return f.read()


def address_of(core: str, type_name: str) -> str:
    """An object of that type, by asking for all places in the heap's mappings."""
    for mapping in reversed(tool.ask("info", core)["mappings"]):
        start, end = (int(mapping[key], 16) for key in ("start", "end"))
        if "w" not in mapping["flags"] or mapping["path"] or end - start > 1 << 24:
            continue
        places = "".join("0x%x\n" % a for a in range(start, end, 16))
        for row in tool.ask("object", core, "-", "--brief", stdin=places)["objects"]:
            if row.get("type") == type_name:
                return row["address"]
    raise AssertionError(f"{core}: no {type_name} found")


def run(example: Example, directory: str, address: str) -> subprocess.CompletedProcess:
    """Runs it as typed in that directory, with a real address put in."""
    command = re.sub(r"\b0x[0-9a-f]{6,}\b", address, example.command)
    path = os.path.dirname(os.path.abspath(tool.path()))
    return subprocess.run(
        ["sh", "-c", command], cwd=directory, text=True, capture_output=True,
        timeout=tool.TIMEOUT, env={**os.environ, "PATH": path + ":" + os.environ["PATH"]})


def as_anywhere(printed: str) -> str:
    """Without what this process, and this checkout, is called; tables that had it stay tables."""
    printed = re.sub(r"\bprocess \d+", f"process {PID}", printed)
    tables = re.split(r"(\n\n)", printed)
    return "".join(map(without_our_names, tables))


def without_our_names(table: str) -> str:
    ours = ROOT + os.sep
    thread = re.search(re.escape(ours) + r".*, thread (\d+)", table)
    if not thread:
        return table
    longer = len(ours) + len(thread[1]) - len(PID)
    return "\n".join(line.replace(ours, "").replace(f", thread {thread[1]}", f", thread {PID}") if ours in line
                     else re.sub(" {%d}(?= )" % longer, "", line, count=1) for line in table.split("\n"))


def rewritten(text: str, directory: str, address: str) -> str:
    lines = text.split("\n")
    for example in reversed(find(text)):
        if not example.output:
            continue
        done = run(example, directory, address)
        if done.stderr:
            raise SystemExit(f"{example.command}: {done.stderr}")
        at = example.lines
        printed = as_anywhere(done.stdout)
        lines[at.start:at.stop] = [(INDENT + line).rstrip()
                                   for line in printed.rstrip("\n").split("\n")]
        lines[at.start - 1] = re.sub(r"\b0x[0-9a-f]{6,}\b", address, lines[at.start - 1])
    return "\n".join(lines)


def main() -> None:
    python = interpreters.by_name(MADE_ON)
    for path, sample in files().items():
        text = read(path)
        with cores_of(python, sample) as directory:
            address = ""
            if path.endswith("README.md"):
                address = address_of(os.path.join(directory, f"core.{PID}"), "sessions.Session")
            text = rewritten(text, directory, address)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        print(os.path.relpath(path, ROOT))


if __name__ == "__main__":
    sys.exit(main())
