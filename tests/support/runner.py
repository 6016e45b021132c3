# SPDX-License-Identifier: GPL-3.0-or-later
"""A small test runner: finds tests, runs them in processes, counts.

A test is a function test_* of a module tests/*/test_*.py. It passes by
returning, fails by an exception, is skipped by raising Skip (or
cores.Unavailable). What it runs on is said by a decorator:

    def test_a():                       once
    @each_python()                      on each interpreter
    def test_b(python):
    @each_gdb()                         in each gdb that our commands are for
    def test_d(gdb):
    @each_core("frozen", kinds=...)     on a core of each kind of a target on
    def test_c(case):                   each interpreter, made of these profiles

With stripped=True also on the stripped variants of interpreters; with among=f only
on those that f makes of their list.

Tests of one module on the same core share it: they are one job. A job runs in
a process of its own, in a temporary directory of its own, with a time limit.
"""

from __future__ import annotations

import collections
import dataclasses
import glob
import importlib.util
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Callable

import compare
import debugger
import interpreters
from cores import Target, TargetFailed, Unavailable

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHOWN_LINES = 60


class Skip(Exception):
    """Raised by a test that cannot run here: the reason."""


def times(usual: int, soak: int) -> int:
    """How often a test does what it does: `soak` under `make soak`."""
    return soak if os.environ.get("CA_SOAK") else usual


def each_python(stripped: bool = False, among: Callable[[list], list] = list) -> Callable:
    def mark(test: Callable) -> Callable:
        test.needs = "python"
        test.stripped = stripped
        test.among = among
        return test
    return mark


def oldest_and_newest(pythons: list) -> list:
    return [pythons[0], pythons[-1]] if len(pythons) > 1 else pythons


def one_of_each_minor(pythons: list) -> list:
    return list({p.minor: p for p in pythons}.values())


def each_gdb() -> Callable:
    def mark(test: Callable) -> Callable:
        test.needs = "gdb"
        return test
    return mark


def each_core(*profiles: str, kinds: tuple[str, ...] = ("gcore", "kernel"),
              env: dict[str, str] | None = None, stripped: bool = False,
              among: Callable[[list], list] = list) -> Callable:
    def mark(test: Callable) -> Callable:
        test.needs = "core"
        test.stripped = stripped
        test.among = among
        test.setup = (profiles, kinds, tuple((env or {}).items()), stripped, among)
        return test
    return mark


class Case:
    """A core, and what its process said of itself. Made at first use."""

    def __init__(self, directory: str, python: interpreters.Interpreter,
                 kind: str, profiles: tuple[str, ...] = (),
                 env: tuple[tuple[str, str], ...] = ()):
        self.directory = directory
        self.python = python
        self.kind = kind
        self.profiles = profiles
        self.env = env
        self._made: tuple[str, compare.Truth] | Exception | None = None

    def _make(self) -> tuple[str, compare.Truth]:
        if self._made is None:
            try:
                with Target(self.python, self.directory, *self.profiles,
                            env=dict(self.env)) as target:
                    core = target.core(self.kind, os.path.join(self.directory, "core"))
                    self._made = core, compare.Truth(target.truth_path())
            except Exception as e:
                self._made = e
        if isinstance(self._made, Exception):
            raise self._made
        return self._made

    @property
    def core(self) -> str:
        return self._make()[0]

    @property
    def truth(self) -> compare.Truth:
        return self._make()[1]


@dataclasses.dataclass
class Job:
    module: str             # "live/test_heap.py"
    variant: str            # "pyenv-3.8.18 gcore", "" for a test that runs once
    tests: list[Callable]
    argument: Callable[[str], list]     # directory -> arguments of each test

    def name(self, test: str) -> str:
        return f"{self.module}: {test}" + (f" [{self.variant}]" if self.variant else "")


# ---- what there is to run

def load(path: str):
    name = os.path.relpath(path, TESTS).replace(os.sep, ".")[:-3]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jobs_of(path: str, wanted: Callable[[str], bool]) -> list[Job]:
    """The jobs of one module, with only the tests whose names are wanted."""
    module = load(path)
    relative = os.path.relpath(path, TESTS)
    groups = collections.defaultdict(list)
    for name, test in vars(module).items():
        if name.startswith("test_") and callable(test):
            needs = getattr(test, "needs", "")
            # Without a core to share, each test is a job.
            groups[test.setup if needs == "core" else (needs, name)].append(test)
    out = []
    for key, tests in groups.items():
        for variant, argument in variants(tests[0], key):
            job = Job(relative, variant, tests, argument)
            job.tests = [t for t in tests if wanted(job.name(t.__name__))]
            if job.tests:
                out.append(job)
    return out


def variants(test: Callable, key: tuple):
    needs = getattr(test, "needs", "")
    if not needs:
        yield "", lambda directory: []
        return
    if needs == "gdb":
        yield from ((gdb.name, lambda directory, g=gdb: [g]) for gdb in debugger.usable())
        return
    for python in test.among([p for p in interpreters.chosen() if test.stripped or not p.stripped]):
        if needs == "python":
            yield python.name, lambda directory, p=python: [p]
            continue
        profiles, kinds, env, *_ = key
        for kind in kinds:
            words = [python.name, kind, *profiles, *("=".join(e) for e in env)]
            yield " ".join(words), lambda directory, p=python, k=kind: [
                Case(directory, p, k, profiles, env)]


def discover(filters: list[str]) -> list[Job]:
    """Every job with a test whose name has one of the filters in it."""
    def wanted(name: str) -> bool:
        return not filters or any(f in name for f in filters)

    paths = sorted(glob.glob(os.path.join(TESTS, "*", "test_*.py")))
    return [job for path in paths for job in jobs_of(path, wanted)]


# ---- the process of a job

def run_job(job: Job, out: int, directory: str) -> None:
    """Runs in the child: a line of JSON for each test."""
    arguments = job.argument(directory)
    for test in job.tests:
        started = time.monotonic()
        status, text = "passed", ""
        try:
            test(*arguments)
        except (Skip, Unavailable) as e:
            status, text = "skipped", str(e)
        except (AssertionError, TargetFailed) as e:
            status, text = "failed", str(e) or traceback.format_exc()
        except Exception:
            status, text = "failed", traceback.format_exc()
        line = json.dumps([test.__name__, status, text, time.monotonic() - started])
        os.write(out, line.encode() + b"\n")


class Worker:
    """A job under way."""

    def __init__(self, job: Job, limit: float):
        self.job = job
        self.deadline = time.monotonic() + limit
        self.limit = limit
        self.waiting = [t.__name__ for t in job.tests]
        self.data = b""
        self.directory = tempfile.mkdtemp(prefix="ca-test-")
        self.log = os.path.join(self.directory, "output")
        self.pipe, out = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(out)
        os.close(out)

    def _child(self, out: int) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(self.pipe)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            inner = os.path.join(self.directory, "work")
            os.mkdir(inner)
            run_job(self.job, out, inner)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def results(self):
        """What has come since: (test, status, text, seconds). None at the end."""
        data = os.read(self.pipe, 1 << 16)
        if not data:
            return None
        self.data += data
        *lines, self.data = self.data.split(b"\n")
        out = [json.loads(line) for line in lines]
        for name, *_ in out:
            self.waiting.remove(name)
        return out

    def end(self, timed_out: bool) -> list:
        """Cleans up; what was not reported has failed."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pipe)
        with open(self.log, errors="replace") as f:
            output = f.read()[-3000:]
        shutil.rmtree(self.directory, ignore_errors=True)
        why = f"took longer than {self.limit:.0f} s" if timed_out else (
            f"its process ended early (wait status {status})")
        return [[name, "failed", f"{why}\n{output}", 0.0] for name in self.waiting]


# ---- all of them

class Report:
    def __init__(self, verbose: bool):
        self.verbose = verbose
        self.counts = collections.Counter()
        self.failed: list[str] = []
        self.seconds = collections.Counter()     # by test, on whatever it ran

    def result(self, name: str, status: str, text: str, seconds: float) -> None:
        self.counts[status] += 1
        self.seconds[name.partition(" [")[0]] += seconds
        if status == "skipped":
            print(f"skipped: {name}: {text}")
        elif status == "failed":
            self.failed.append(name)
            print(f"FAILED: {name}")
            lines = text.rstrip().splitlines()
            for line in lines[:SHOWN_LINES]:
                print("    " + line)
            if len(lines) > SHOWN_LINES:
                print(f"    ... {len(lines) - SHOWN_LINES} more lines")
        elif self.verbose:
            print(f"passed: {name} ({seconds:.1f} s)")
        sys.stdout.flush()

    def slowest(self, most: int = 12) -> str:
        return "\n    ".join(f"{seconds:5.0f} s  {name}" for name, seconds in self.seconds.most_common(most))

    def closing_line(self) -> str:
        return ", ".join(f"{self.counts[s]} {s}" for s in ("passed", "failed", "skipped"))


def run(jobs: list[Job], report: Report, parallel: int, job_limit: float,
        total_limit: float) -> None:
    """Runs the jobs, so many at a time; those beyond the total limit fail."""
    end = time.monotonic() + total_limit
    waiting = collections.deque(jobs)
    running: dict[int, Worker] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < parallel and time.monotonic() < end:
                    worker = Worker(waiting.popleft(), job_limit)
                    running[worker.pipe] = worker
                    selector.register(worker.pipe, selectors.EVENT_READ)
                if not running:
                    break
                for key, _ in selector.select(1):
                    step(report, running, selector, key.fd)
                for fd, worker in list(running.items()):
                    if time.monotonic() > min(worker.deadline, end + job_limit):
                        finish(report, running, selector, fd, True)
        finally:
            for fd in list(running):
                finish(report, running, selector, fd, True)
    for job in waiting:
        for test in job.tests:
            report.result(job.name(test.__name__), "failed",
                          f"not run: all together took longer than {total_limit:.0f} s", 0)


def step(report: Report, running: dict, selector, fd: int) -> None:
    results = running[fd].results()
    if results is None:
        finish(report, running, selector, fd, False)
        return
    for name, *result in results:
        report.result(running[fd].job.name(name), *result)


def finish(report: Report, running: dict, selector, fd: int, timed_out: bool) -> None:
    worker = running.pop(fd)
    selector.unregister(fd)
    for name, *result in worker.end(timed_out):
        report.result(worker.job.name(name), *result)
