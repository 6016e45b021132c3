# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are to be none the worse for what is done to them, and limits on them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import tempfile
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

    def __init__(self, *args: str, python: interpreters.Interpreter | None = None,
                 before: list[str] | None = None, **options):
        python = python or interpreters.chosen()[-1]
        self.process = subprocess.Popen(
            [*(before or ()), *python.command(WORKER, *args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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


class Program(Living):
    """A program that says "ready" and then answers lines; its first thread is its own."""

    def __init__(self, *command: str, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        bufsize=0, **options)
        said = self.line()
        if said != "ready":
            self.process.kill()
            self.process.wait()
            raise Skip(f"{command[0]}: {said}")

    def line(self) -> str:
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_WITHIN)
        assert readable, f"no answer within {ANSWER_WITHIN} s"
        return self.process.stdout.readline().decode().strip()

    def ask(self, question: str = "x") -> str:
        self.process.stdin.write(question.encode() + b"\n")
        return self.line()


ECHO = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""


def script(text: str, **options) -> Program:
    python = interpreters.chosen()[-1]
    return Program(*python.command("-c", text), env=python.environment(), **options)


def of_user(user: int) -> tuple[interpreters.Interpreter, dict]:
    """An interpreter that another user may run, and the options to start it as that."""
    if os.geteuid():
        raise Skip("only root can become somebody else")
    options = dict(user=user, group=user, extra_groups=[], cwd="/")
    for python in reversed(interpreters.chosen()):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(python.command("-c", ""), **options, env=python.environment(),
                           stderr=subprocess.DEVNULL, check=True)
            return python, options
    raise Skip("another user may run none of the interpreters")


def fields(pid: int, task: str = "") -> dict[str, str]:
    with open(f"/proc/{pid}/{'task/' + task + '/' if task else ''}status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def children(pid: int) -> list[int]:
    """Of all its threads, zombies too."""
    out = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as f:
            out += map(int, f.read().split())
    return out


def is_untouched(pid: int, masks: set[str] = {"0" * 16}) -> bool:
    """No thread of it is traced, stopped, or has signals blocked."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            of = fields(pid, task)
            if of["TracerPid"] != "0" or of["State"][0] in "tT" or of["SigBlk"] not in masks:
                return False
    return True


def wait_until(condition) -> None:
    end = time.monotonic() + ANSWER_WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Group:
    """A cgroup, with a limit or without. Called in a child that starts, it takes that in."""

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
        """Of memory: without what the kernel would give back first."""
        with open(os.path.join(self.folder, self.usage_file)) as f:
            used = int(f.read())
        with open(os.path.join(self.folder, "memory.stat")) as f:
            stat = dict(line.split() for line in f)
        return used - int(stat.get("total_inactive_file", stat["inactive_file"]))


@contextlib.contextmanager
def cgroup(limit: int, *places: tuple[str, str, str]):
    """In the first hierarchy that has such limits: its folder, the files of limit and usage."""
    for top, *files in places:
        try:
            group = Group(tempfile.mkdtemp(prefix=f"coreanalyze-test-{os.getpid()}-", dir=top), *files)
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
    raise Skip(f"no cgroup with {places[-1][1]} can be made here")


def memory_limit(limit: int):
    return cgroup(limit, ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
                  ("/sys/fs/cgroup", "memory.max", "memory.current"))


def process_limit(limit: int):
    return cgroup(limit, ("/sys/fs/cgroup/pids", "pids.max", "pids.current"),
                  ("/sys/fs/cgroup", "pids.max", "pids.current"))


@contextlib.contextmanager
def setting(path: str, text: str):
    """A setting of the whole machine, for a moment, and for us alone."""
    try:
        lock = open(path)
    except OSError as e:
        raise Skip(f"{path}: {e.strerror}")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Set back by somebody who outlives us, whatever becomes of us.
        keeper = subprocess.Popen(["sh", "-c", 'read _; printf "%s" "$1" >"$2"', "sh",
                                   lock.read().rstrip("\n"), path], stdin=subprocess.PIPE,
                                  start_new_session=True)
        try:
            try:
                with open(path, "w") as f:
                    f.write(text)
            except OSError as e:
                raise Skip(f"{path} may not be set here: {e.strerror}")
            yield
        finally:
            keeper.stdin.close()
            keeper.wait()
