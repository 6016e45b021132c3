# SPDX-License-Identifier: GPL-3.0-or-later
"""A pre-forking server.

    python prefork.py PIDFILE N

Forks N workers, writes its number to PIDFILE, prints "ready"; a worker that ends
has a successor at once. A worker that gets SIGUSR1 takes 40 MiB more. Each worker
starts a program that is none of ours.
"""

import os
import signal
import subprocess
import sys

kept = []


def work():
    with subprocess.Popen(["sleep", "1000"]):
        while True:
            signal.sigwait({signal.SIGUSR1})
            kept.extend(bytes(1000) for _ in range(40000))


def fork():
    if os.fork() == 0:
        work()


def main():
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for _ in range(int(sys.argv[2])):
        fork()
    with open(sys.argv[1] + ".new", "w") as f:
        f.write("%d\n" % os.getpid())
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    os.write(1, b"ready\n")
    while True:
        os.wait()
        fork()


main()
