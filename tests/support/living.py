# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of worker.py, that are to be none the worse for what is done to them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time

import cores
import interpreters
import serving
from runner import Skip

WORKER = os.path.join(cores.HERE, "worker.py")
PREFORK = os.path.join(cores.HERE, "prefork.py")
ANSWER_WITHIN = 60      # seconds; the machine may be busy


class Living:
    """A process that is talked to by pipes, and ends with the block."""

    process: subprocess.Popen

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def pid(self) -> int:
        return self.process.pid


class Worker(Living):
    """A process of worker.py."""

    def __init__(self, *args: str, python: interpreters.Interpreter | None = None, **options):
        python = python or interpreters.chosen()[-1]
        self.process = subprocess.Popen(
            python.command(WORKER, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=python.environment(), bufsize=0, **options)
        assert self.line() == b"ready\n"

    @property
    def target(self) -> str:
        return f"pid:{self.pid}"

    def line(self) -> bytes:
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_WITHIN)
        assert readable, f"no answer within {ANSWER_WITHIN} s: {self.states()}"
        return self.process.stdout.readline()

    def ask(self, question: bytes = b"hello\n") -> bytes:
        self.process.stdin.write(question)
        return self.line()

    def states(self) -> dict[int, tuple[str, int]]:
        """State and tracer of each of its threads."""
        out = {}
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError):
                with open(f"/proc/{self.pid}/task/{task}/status") as f:
                    fields = dict(line.rstrip("\n").split(":\t", 1)
                                  for line in f if ":\t" in line)
                out[int(task)] = fields["State"][0], int(fields["TracerPid"])
        return out

    def check_untouched(self) -> None:
        """It runs, nobody traces it, and it answers."""
        for task, (state, tracer) in self.states().items():
            assert state not in "tT" and not tracer, (task, state, tracer)
        assert self.ask() == b"hello\n"

    def files(self) -> list[str]:
        return sorted(os.listdir(f"/proc/{self.pid}/fd"))


class Server:
    """A process of prefork.py."""

    def __init__(self, pid_file: str, workers: int):
        python = interpreters.chosen()[-1]
        self.process = subprocess.Popen(python.command(PREFORK, pid_file, str(workers)),
                                        stdout=subprocess.PIPE, env=python.environment())
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def workers(self) -> set[int]:
        return set(serving.children(self.pid))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


def wait_until(condition) -> None:
    end = time.monotonic() + ANSWER_WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Group:
    """A cgroup, with a memory limit or without. Called in a child that starts, it takes that in."""

    def __init__(self, folder: str, limit_file: str = "", usage_file: str = ""):
        self.folder = folder
        self.limit_file = limit_file
        self.usage_file = usage_file

    def __call__(self) -> None:
        self.take(os.getpid())

    def take(self, pid: int) -> None:
        with open(os.path.join(self.folder, "cgroup.procs"), "w") as f:
            f.write(str(pid))

    def pids(self) -> list[str]:
        with open(os.path.join(self.folder, "cgroup.procs")) as f:
            return f.read().split()

    def set_limit(self, limit: int) -> None:
        with open(os.path.join(self.folder, self.limit_file), "w") as f:
            f.write(str(limit))

    def usage(self) -> int:
        """Without what the kernel would give back first."""
        with open(os.path.join(self.folder, self.usage_file)) as f:
            used = int(f.read())
        with open(os.path.join(self.folder, "memory.stat")) as f:
            stat = dict(line.split() for line in f)
        return used - int(stat.get("total_inactive_file", stat["inactive_file"]))


@contextlib.contextmanager
def memory_limit(limit: int):
    for top, *files in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
                        ("/sys/fs/cgroup", "memory.max", "memory.current")):
        group = Group(os.path.join(top, f"coreanalyze-test-{os.getpid()}"), *files)
        try:
            os.mkdir(group.folder)
        except OSError:
            continue
        try:
            try:
                group.set_limit(limit)
            except OSError:
                continue
            yield group
            return
        finally:
            # Who has ended leaves it a moment later.
            wait_until(lambda: not group.pids())
            os.rmdir(group.folder)
    raise Skip("no memory cgroup can be made here")
