#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a sample: a worker that leaks at a chosen rate.

    python3 samples/worker.py SAMPLE [--amount N] [--steps N] [--every SECONDS]

    python3 samples/worker.py sessions
    python3 samples/worker.py streams --amount 20 --every 1

It takes --steps steps, says "ready PID", and takes another step for each line
on stdin (press Enter), which it answers with "step N". The end of stdin (^D)
ends it. With --every it takes a step by itself each so many seconds. A step
serves --amount requests; what one of them leaks is in the sample's docstring.
"""

import argparse
import gc
import importlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
YAMA = "/proc/sys/kernel/yama/ptrace_scope"
PR_SET_PTRACER = 0x59616D61


def samples():
    names = (os.path.splitext(name) for name in os.listdir(HERE))
    return sorted(name for name, kind in names if kind == ".py" and name != "worker")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", choices=samples())
    parser.add_argument("--amount", type=int, help="requests a step (each sample's AMOUNT)")
    parser.add_argument("--steps", type=int, help="steps before it is ready (its STEPS)")
    parser.add_argument("--every", type=float, metavar="SECONDS",
                        help="take a step each SECONDS, not for each line on stdin")
    return parser.parse_args()


def let_debuggers_attach():
    """Where Yama keeps gcore from all but its own children, make an exception."""
    try:
        with open(YAMA) as f:
            restricted = f.read().strip() == "1"
    except OSError:
        return
    if restricted:
        import ctypes
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))


def requests(every):
    """Something for each step that is wanted, when it is."""
    if every is None:
        yield from sys.stdin
    while every is not None:
        time.sleep(every)
        yield None


def main():
    args = arguments()
    sample = importlib.import_module(args.sample)
    amount = sample.AMOUNT if args.amount is None else args.amount
    steps = sample.STEPS if args.steps is None else args.steps
    let_debuggers_attach()
    gc.collect()    # what starting up left behind is not the sample's
    for _ in range(steps):
        sample.serve(amount)
    print("ready", os.getpid(), flush=True)
    for step, _ in enumerate(requests(args.every), 1):
        sample.serve(amount)
        print("step", step, flush=True)


if __name__ == "__main__":
    main()
