# SPDX-License-Identifier: GPL-3.0-or-later
"""Target processes and their cores. Nothing started here outlives its Target."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time

from interpreters import Interpreter

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "everything.py")
TIMEOUT = 120
PT_LOAD, PF_W = 1, 2
PAGE = 4096


class Unavailable(Exception):
    """This machine cannot do it: a reason to skip."""


class TargetFailed(Exception):
    """The target or a debugger did not do its part."""


class Target:
    """A Python process that builds a heap, says what is in it, and waits.

    directory gets its files: truth.N (what it says at step N), then cores.
    """

    def __init__(self, python: Interpreter, directory: str, *profiles: str,
                 script: str = TARGET, options: tuple[str, ...] = (),
                 env: dict[str, str] | None = None):
        os.makedirs(directory, exist_ok=True)
        self.python = python
        self.directory = directory
        self.step = 1
        self.output = os.path.join(directory, "truth")
        for old in glob.glob(self.output + ".*"):
            os.unlink(old)
        # Empty, so that what the kernel leaves there is a core.
        self.cwd = tempfile.mkdtemp(prefix="cwd-", dir=directory)
        with open(os.path.join(directory, "target.log"), "wb") as log:
            self.process = subprocess.Popen(
                python.command(*options, script, self.output, *profiles),
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.cwd,
                env={**python.environment(), **(env or {})},
                start_new_session=True)
        resource.prlimit(self.process.pid, resource.RLIMIT_CORE,
                         (resource.RLIM_INFINITY,) * 2)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def truth(self) -> dict:
        """What the target says at its present step."""
        with open(self.truth_path()) as f:
            return json.load(f)

    def truth_path(self) -> str:
        """The file of the present step, once the target has written it."""
        path = f"{self.output}.{self.step}"
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(path):
            ended = self.process.poll() is not None
            if os.path.exists(path + ".error"):
                raise TargetFailed(f"the recorder failed: {read(path + '.error')}")
            if ended or time.monotonic() > end:
                raise TargetFailed("the target %s: %s" % (
                    "ended" if ended else "takes too long",
                    read(os.path.join(self.directory, "target.log"))))
            time.sleep(0.02)
        return path

    def go_on(self) -> None:
        """Lets the target take its next step."""
        self.truth_path()
        self.step += 1
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def core(self, kind: str, path: str) -> str:
        """A core of the target as it waits: kind is gcore or kernel."""
        self.truth_path()
        return {"gcore": self._gcore, "kernel": self._kernel_core}[kind](path)

    def _gcore(self, path: str) -> str:
        """By gdb; the target lives on."""
        if not shutil.which("gdb"):
            raise Unavailable("gdb is not installed")
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-iex", "set auto-solib-add off",
             "-iex", "set auto-load off", "-p", str(self.pid),
             "-ex", f"gcore {path}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT)
        if not os.path.exists(path):
            text = done.stdout.decode(errors="replace")
            if "ptrace" in text and "not permitted" in text:
                raise Unavailable("gdb may not attach to a process")
            raise TargetFailed(f"gdb made no core: {text}")
        if re.search(rb"Memory read failed for corefile section, .* at 0x(?!ff)", done.stdout):
            fill(path, self.pid)
        # gdb writes what was never touched as zeros.
        subprocess.run(["fallocate", "--dig-holes", path],
                       stderr=subprocess.DEVNULL)
        return path

    def _kernel_core(self, path: str) -> str:
        """By the kernel, at an abort; this ends the target."""
        # A test may have set another one meanwhile.
        with open("/proc/sys/kernel/core_pattern") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            return self._kernel_core_by(lock.read().strip(), path)

    def _kernel_core_by(self, pattern: str, path: str) -> str:
        if pattern.startswith("|") or "/" in pattern:
            raise Unavailable(f"core_pattern is {pattern}")
        self.process.send_signal(signal.SIGABRT)
        self.process.wait(TIMEOUT)
        made = os.listdir(self.cwd)
        if len(made) != 1:
            raise Unavailable(f"the kernel left {made or 'no core'}"
                              f" (core_pattern is {pattern})")
        os.rename(os.path.join(self.cwd, made[0]), path)
        return path

    def close(self) -> None:
        """Ends the target and the recorder it may still have."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdin.close()
        shutil.rmtree(self.cwd, ignore_errors=True)


def differences(core: str, pid: int):
    """Pages of a living process that its core has not as they are: (place in the
    core, address, bytes; None where nobody can read it)."""
    with open(core, "rb") as f, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        header = f.read(64)
        phoff, = struct.unpack_from("<Q", header, 32)
        phnum, = struct.unpack_from("<H", header, 56)
        f.seek(phoff)
        for kind, flags, offset, start, _, size, *_ in struct.iter_unpack(
                "<IIQQQQQQ", f.read(56 * phnum)):
            if kind != PT_LOAD or not flags & PF_W:
                continue
            f.seek(offset)
            for at in range(0, size, PAGE):
                then, now = f.read(PAGE), None
                with contextlib.suppress(OSError):
                    memory.seek(start + at)
                    now = memory.read(PAGE)
                if then != now:
                    yield offset + at, start + at, now


def fill(core: str, pid: int) -> None:
    """Puts into a core of gdb's what it left out: up to gdb 17 that is all of a mapping
    behind a page that cannot be read, as those under threads' stacks are (glibc 2.42)."""
    with open(core, "r+b", buffering=0) as f:
        for place, _, now in differences(core, pid):
            if now:
                os.pwrite(f.fileno(), now, place)


def read(path: str) -> str:
    with open(path, errors="replace") as f:
        return f.read()
