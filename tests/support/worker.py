# SPDX-License-Identifier: GPL-3.0-or-later
"""A process at work, to be analysed while it lives.

    python worker.py MODE [N]

It prints "ready", then answers each line on stdin by that line on stdout.
MODE is what goes on beside:

  idle      nothing
  threads   N threads that wait
  churn     threads that are started and end, all the time
  load      N threads that make and drop objects, all the time
  crowd     N threads: 4 as in load, 10 as in churn, the others in short system calls;
            and 1000 Nodes
  heap      N MiB of small objects
  grow      nothing; each line on stdin is so many MiB more of them
  forked    as heap, with a child that shares it
  spawn     starts programs, one after the other
  forks     starts programs by forks, a moment after each
  signals   counts the real-time signals that reach it; a line gets the count
"""

import os
import signal
import subprocess
import sys
import threading
import time

mode = sys.argv[1]
number = int(sys.argv[2]) if len(sys.argv) > 2 else 0
keep = []
started = 0


def churn():
    global started
    while True:
        threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        started += len(threads)


def load():
    while True:
        kept = {i: [str(i), (i,), {"key": i}] for i in range(500)}
        kept[0].append(kept)


def call():
    while True:
        time.sleep(0.01)


class Node:
    pass


def crowd():
    keep.extend(Node() for _ in range(1000))
    # Who starts them waits for the interpreter's lock: those last that have it most.
    for function in [call] * (number - 14) + [churn] * 10 + [load] * 4:
        start(function)


def spawn():
    while True:
        subprocess.run(["true"])


def forks():
    while True:
        if os.fork() == 0:
            time.sleep(0.005)
            os.execvp("true", ["true"])
        os.wait()


def fork():
    """A child that ends with us."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)


def start(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


def grow(mib):
    keep.extend(bytes(1000) for _ in range(mib * 1000))


def main():
    answer = lambda line: line
    if mode == "threads":
        for _ in range(number):
            start(time.sleep, 1e6)
    elif mode == "churn":
        start(churn)
    elif mode == "load":
        for _ in range(number):
            start(load)
    elif mode == "crowd":
        crowd()
    elif mode == "spawn":
        start(spawn)
    elif mode == "forks":
        start(forks)
    elif mode in ("heap", "forked"):
        grow(number)
        if mode == "forked":
            fork()
    elif mode == "grow":
        answer = lambda line: grow(int(line)) or line
    elif mode == "signals":
        # A byte for each run of the handler, however late Python's own comes.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGRTMIN, lambda *_: None)
        answer = lambda line: b"%d\n" % len(os.read(reader, 1 << 16))
    os.write(1, b"ready\n")
    for line in iter(sys.stdin.buffer.readline, b""):
        os.write(1, answer(line))


main()
