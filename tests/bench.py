#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer costs, as a ratio to reading the core once.

    tests/bench.py [--objects N] [--runs N] [--python NAME]

A process with about N million objects is dumped by gcore; then `cat CORE` and
`coreanalyze types CORE` take turns from a warm page cache. Elapsed times are
medians; memory is the peak of what the program has beside the mapped core
(RssAnon). Nothing here asserts: figures are for people.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "support"))
sys.dont_write_bytecode = True

import interpreters     # noqa: E402
import tool             # noqa: E402

OBJECTS_A_ROUND = 10
TARGET = """
import sys

class Session:
    def __init__(self, ident):
        self.ident = ident
        self.name = "session-%d" % ident
        self.history = [ident, float(ident)]

rounds = int(sys.argv[1])
sessions = {"key-%d" % i: Session(i + 1000) for i in range(rounds)}
rows = [(i, str(i), {"row": i}) for i in range(rounds)]
print("ready", flush=True)
sys.stdin.read()
"""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=float, default=10, metavar="N",
                        help="millions of objects (%(default)s)")
    parser.add_argument("--runs", type=int, default=7, metavar="N")
    parser.add_argument("--python", action="append", metavar="NAME",
                        help="part of an interpreter's name; may be repeated "
                             "(default: the oldest and the newest)")
    return parser.parse_args()


def chosen(names: list[str] | None) -> list:
    found = [p for p in interpreters.found() if "stripped" not in p.name]
    if names:
        return [p for p in found if any(name in p.name for name in names)]
    return [found[0], found[-1]] if len(found) > 1 else list(found)


def dump(python, rounds: int, directory: str) -> str:
    core = os.path.join(directory, "core." + python.name)
    target = subprocess.Popen(
        [*python.command("-c", TARGET, str(rounds))], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
        env={**python.environment()})
    try:
        if target.stdout.readline() != "ready\n":
            raise SystemExit(f"{python.name}: the target did not start")
        subprocess.run(["gdb", "-nx", "-batch", "-p", str(target.pid), "-ex", "gcore " + core],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        target.kill()
        target.wait()
    return core


def peak_own_memory(process: subprocess.Popen, peak: list[int]) -> None:
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                for line in status:
                    if line.startswith("RssAnon:"):
                        peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        except OSError:
            return
        time.sleep(0.002)


def elapsed(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def measure(python, args: argparse.Namespace, directory: str) -> None:
    core = dump(python, int(args.objects * 1e6 / OBJECTS_A_ROUND), directory)
    commands = {"cat": ["cat", core], "types": [tool.path(), "types", core, "--json"]}
    times = {name: [] for name in commands}
    for name, command in commands.items():
        elapsed(command)    # warm
    for _ in range(args.runs):
        for name, command in commands.items():
            times[name].append(elapsed(command))

    peak = [0]
    process = subprocess.Popen(commands["types"], stdout=subprocess.DEVNULL)
    watcher = threading.Thread(target=peak_own_memory, args=(process, peak))
    watcher.start()
    process.wait()
    watcher.join()

    size = os.path.getsize(core)
    totals = tool.ask("types", core)["totals"]
    cat, types = (statistics.median(times[name]) for name in ("cat", "types"))
    print(f"{python.name}: {totals['objects']:,} objects, core of {size / 2**20:,.0f} MiB")
    print(f"  cat CORE    {cat:.3f} s (min {min(times['cat']):.3f})")
    print(f"  types CORE  {types:.3f} s (min {min(times['types']):.3f}), "
          f"{types / cat:.1f} times cat, "
          f"{types / totals['objects'] * 1e9:.0f} ns an object")
    print(f"  own memory  {peak[0] / 2**20:,.0f} MiB, {peak[0] / size:.2f} bytes a byte of core")
    os.unlink(core)


def main() -> None:
    args = options()
    with tempfile.TemporaryDirectory(prefix="coreanalyze-bench-") as directory:
        for python in chosen(args.python):
            measure(python, args, directory)


if __name__ == "__main__":
    main()
