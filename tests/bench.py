#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer costs, as a ratio to reading the core once.

    tests/bench.py [--objects N] [--runs N] [--python NAME] [ANSWER...]

A process with about N million objects is dumped by gcore; then `cat CORE` and
the answers take turns from a warm page cache. Elapsed times are medians; memory
is the peak of what the program has beside the mapped core (RssAnon). `gdb` is what
the same questions take in gdb, whose child has the core open. `emulation`
is the cost of a type's own tp_traverse, `snapshot` how much smaller and sooner
open one is, `pause` what a core costs the process.
`random`: retained sizes in a graph without any order, beside a plain search of it.
Nothing here asserts: figures are for people.
"""

from __future__ import annotations

import argparse
import json
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

import cores            # noqa: E402
import debugger         # noqa: E402
import interpreters     # noqa: E402
import tool             # noqa: E402

EVERYTHING = ("types", "verify", "retained", "cycles", "snapshot", "gdb", "emulation", "pause", "random")
PAUSES_MIB = (1024, 4096)
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

# Two lines on stdin make a turn: it prints the longest gap between two ticks since the first.
# "fork" makes one and prints how long the call took.
TICKING = """
import os, sys, threading, time

keep = [bytes(100000) for _ in range(int(sys.argv[1]) * 10)]
gap, last = 0, time.monotonic()

def tick():
    global gap, last
    while True:
        time.sleep(0.001)
        now = time.monotonic()
        gap, last = max(gap, now - last), now

threading.Thread(target=tick, daemon=True).start()
def fork():
    began = time.monotonic()
    child = os.fork()
    if not child:
        os._exit(0)
    took = time.monotonic() - began
    os.waitpid(child, 0)
    return took

print("ready", flush=True)
while line := sys.stdin.readline():
    if line == "fork\\n":
        print(fork(), flush=True)
        continue
    gap = 0
    print("set", flush=True)
    sys.stdin.readline()
    time.sleep(0.1)
    print(gap, flush=True)
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
    parser.add_argument("answer", nargs="*", help="of: %s (default: all)" % ", ".join(EVERYTHING))
    args = parser.parse_args()
    args.answer = args.answer or EVERYTHING
    unknown = set(args.answer) - set(EVERYTHING)
    if unknown:
        parser.error("no such answer: " + ", ".join(unknown))
    return args


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


# What a graph may take at its peak, both directions included.
OBJECT_BYTES, EDGE_BYTES = 32, 9

# What each answer may cost, as a multiple of reading the core.
ANSWERS = {
    "types": (["types"], 4),
    "verify": (["verify"], 16),
    "retained": (["retained"], 24),
    "cycles": (["cycles"], 20),
}


def known(command: str) -> bool:
    return subprocess.run([tool.path(), command, "--help"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def peak_of(command: list[str]) -> int:
    peak = [0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watcher = threading.Thread(target=peak_own_memory, args=(process, peak))
    watcher.start()
    process.wait()
    watcher.join()
    return peak[0]


def take_turns(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    times = {name: [] for name in commands}
    for command in commands.values():
        elapsed(command)    # warm
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(elapsed(command))
    return {name: statistics.median(of) for name, of in times.items()}


def measure(python, args: argparse.Namespace, directory: str) -> None:
    core = dump(python, int(args.objects * 1e6 / OBJECTS_A_ROUND), directory)
    commands = {"cat": ["cat", core]}
    for name, (words, _) in ANSWERS.items():
        if {name, "gdb"} & set(args.answer) and known(words[0]):
            commands[name] = [tool.path(), words[0], core, *words[1:], "--json", "--limit", "10"]
    medians = take_turns(commands, args.runs)
    cat = medians.pop("cat")
    size = os.path.getsize(core)
    verified = tool.ask("verify", core)
    objects = verified["objects"]
    allowed = OBJECT_BYTES * objects + EDGE_BYTES * verified["edges"]
    print(f"{python.name}: {objects:,} objects, core of {size / 2**20:,.0f} MiB")
    print(f"  cat       {cat:.3f} s")
    for name, median in medians.items():
        peak = peak_of(commands[name])
        print(f"  {name:9} {median:.3f} s, {median / cat:.1f} times cat (at most {ANSWERS[name][1]}),"
              f" {median / objects * 1e9:.0f} ns and {peak / objects:.1f} bytes of its own an object,"
              f" {peak / size:.2f} a byte of core", flush=True)
        if name == "verify":
            print(f"            {peak / allowed:.2f} of {OBJECT_BYTES} bytes an object and {EDGE_BYTES}"
                  f" a reference ({verified['edges']:,} of these)")
    if "snapshot" in args.answer:
        measure_snapshot(core, directory, args.runs)
    if "gdb" in args.answer:
        measure_gdb(core, {ANSWERS[name][0][0]: median for name, median in medians.items()}, args.runs)
    os.unlink(core)


# In gdb: opens the core, then prints what each question takes, as often as is asked.
ASKING = """
import gdb, statistics, time
gdb.execute("py-types --limit 1", to_string=True)
for name in %r:
    times = []
    for _ in range(%d):
        begin = time.perf_counter()
        gdb.execute(f"py-{name} --limit 10", to_string=True)
        times.append(time.perf_counter() - begin)
    print("asked", name, statistics.median(times))
"""


def measure_gdb(core: str, alone: dict[str, float], runs: int) -> None:
    for gdb in debugger.usable():
        script = os.path.join(os.path.dirname(core), "asking.py")
        with open(script, "w") as file:
            file.write(ASKING % (list(alone), runs))
        said = gdb.batch(f"source {script}", args=("-c", core), timeout=3600)
        for line in said.splitlines():
            if line.startswith("asked "):
                name, seconds = line.split()[1], float(line.split()[2])
                print(f"  {gdb.name}: py-{name} {seconds:.3f} s, {seconds - alone[name]:+.3f} s to the command"
                      " line's (at most +0.1)", flush=True)


def measure_snapshot(core: str, directory: str, runs: int) -> None:
    """Its size, and how long it takes until all is there that an answer may need."""
    snapshot, packed = (os.path.join(directory, name) for name in ("snapshot", "packed"))
    took = elapsed([tool.path(), "save", core, "-o", snapshot])
    tool.ask("save", core, "-o", packed, "--compress")
    address = tool.ask("owners", snapshot, "--type", "builtins.module",
                       "--limit", "1")["paths"][0]["address"]
    commands = {f"{words[0]} {of}": [tool.path(), words[0], of, *words[1:], "--json"]
                for words in (["types"], ["verify"], ["object", address]) for of in (core, snapshot)}
    medians = take_turns(commands, runs)
    size = os.path.getsize(core)
    print(f"  snapshot  {os.path.getsize(snapshot) / size:.2f} of the core (at most 0.6), "
          f"{os.path.getsize(packed) / size:.2f} with --compress (at most 0.2), saved in {took:.1f} s")
    for command, stages in (("types", "objects"), ("verify", "objects and references"),
                            ("object", "what refers to one")):
        of_core, of_snapshot = (medians[f"{command} {of}"] for of in (core, snapshot))
        print(f"            {stages}: after {of_snapshot:.3f} s, of the core after {of_core:.3f} s: "
              f"{of_core / of_snapshot:.0f} times sooner (at least 20)", flush=True)
    os.unlink(snapshot)
    os.unlink(packed)


def measure_emulation(directory: str) -> None:
    """Calls of tp_traverse under emulation, beyond what the answer takes without."""
    python = chosen(None)[-1]
    core = os.path.join(directory, "core.emulation")
    with cores.Target(python, directory) as target:
        target.core("gcore", core)
    plain = [tool.path(), "verify", core, "--json"]
    medians = take_turns({"plain": plain, "deep": [*plain, "--deep=0"]}, 5)
    calls = tool.ask("verify", core, "--deep=0")["deep"]["objects"]
    cost = (medians["deep"] - medians["plain"]) / calls
    print(f"{python.name}: {calls:,} calls of tp_traverse emulated, {cost * 1e6:.1f} us each")


# What each pause may be, as a part of gcore's.
PAUSES = {"capture": 0.4, "fork": 0.05}
FORK_MOST = 1.5     # times a fork() of its own


def ask_line(target: subprocess.Popen, line: str = "") -> str:
    target.stdin.write(line + "\n")
    target.stdin.flush()
    return target.stdout.readline()


def measure_pause(directory: str, mib: int, runs: int) -> None:
    """How long a process stands still for a core, by its own clock."""
    python = chosen(None)[-1]
    core = os.path.join(directory, "core.pause")
    with subprocess.Popen(python.command("-c", TICKING, str(mib)), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, env=python.environment()) as target:
        assert target.stdout.readline() == "ready\n"
        capture = [tool.path(), "capture", str(target.pid), "-o", core]
        commands = {"gcore": ["gdb", "-nx", "-batch", "-p", str(target.pid), "-ex", "gcore " + core],
                    "capture": capture, "fork": [*capture, "--fork"], "rest": ["sleep", "0.2"]}
        pauses = {name: [] for name in commands}
        forks = []
        for _ in range(runs):
            for name, command in commands.items():
                os.sync()       # the one before has written as much as the process has
                ask_line(target)
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
                pauses[name].append(float(ask_line(target)))
            forks.append(float(ask_line(target, "fork")))
        target.kill()
    medians = {name: statistics.median(of) for name, of in pauses.items()}
    own = statistics.median(forks)
    print(f"{python.name}: heap of {mib:,} MiB: stood still for {medians['gcore']:.3f} s by gcore; "
          f"at rest a tick takes up to {medians['rest'] * 1000:.1f} ms, fork() {own * 1000:.1f} ms")
    for name, most in PAUSES.items():
        print(f"  {name:9} {medians[name]:.3f} s, {medians[name] / medians['gcore']:.3f} of it "
              f"(at most {most})" + (f", {medians[name] / own:.2f} times fork() (at most {FORK_MOST})"
                                     if name == "fork" else ""), flush=True)
    os.unlink(core)


def measure_random(nodes: int) -> None:
    """A graph of edges from anywhere to anywhere, three a node, beside a plain search of it."""
    build = os.environ.get("BUILD") or os.path.join(interpreters.ROOT, "build")
    done = subprocess.run([os.path.join(build, "tests", "slow"), "--random", str(nodes),
                           str(3 * nodes)], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    print(f"random graph of {nodes:,} nodes and {3 * nodes:,} edges: "
          f"searched in {figures['search']:.1f} s, retained sizes in {figures['retained']:.1f} s, "
          f"{figures['retained'] / figures['search']:.1f} times that (at most 30), and "
          f"{figures['bytes'] / nodes:.1f} bytes a node (at most 60)")


def main() -> None:
    args = options()
    with tempfile.TemporaryDirectory(prefix="coreanalyze-bench-") as directory:
        for python in chosen(args.python) if {*ANSWERS, "gdb", "snapshot"} & set(args.answer) else ():
            measure(python, args, directory)
        if "emulation" in args.answer:
            measure_emulation(directory)
        for mib in PAUSES_MIB if "pause" in args.answer else ():
            measure_pause(directory, mib, min(args.runs, 5))
    if "random" in args.answer:
        measure_random(int(args.objects * 1e6))


if __name__ == "__main__":
    main()
