# SPDX-License-Identifier: GPL-3.0-or-later
"""Real gdb with our commands: in batch, and as a person has it at a terminal."""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import interpreters
import tool
from cores import Unavailable
from interpreters import ROOT

LOADER = os.path.join(ROOT, "gdb", "coreanalyze-gdb.py")
FIRST = 13      # the oldest one that our commands are for


def environment() -> dict[str, str]:
    return {**os.environ, "COREANALYZE": os.path.abspath(tool.path()), "TERM": "xterm"}


@dataclasses.dataclass(frozen=True)
class Gdb:
    name: str               # "gdb-13", "gdb-sid-18.1"
    path: str
    major: int

    def command(self, *args: str) -> list[str]:
        return [self.path, "-nx", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off",
                "-iex", "set confirm off", *args]

    def batch(self, *lines: str, args: tuple[str, ...] = (), loader: str = LOADER,
              timeout: float = tool.TIMEOUT) -> str:
        """What gdb says to these commands, one after the other, whatever fails."""
        words = ["-iex", f"source {loader}", *(word for line in lines for word in ("-ex", line))]
        done = subprocess.run(self.command("-batch", *words, *args), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=timeout, env=environment())
        check(done.stdout)
        return done.stdout

    def terminal(self, *args: str, columns: int = 200) -> Terminal:
        return Terminal(self.command("-q", "-iex", f"source {LOADER}", "-iex", "set height 0", *args),
                        columns)


@functools.lru_cache(maxsize=None)
def found() -> tuple[Gdb, ...]:
    """This machine's gdb ($CA_GDB: another one), and those that tools/pythons.sh has unpacked."""
    paths = [shutil.which(os.environ.get("CA_GDB", "gdb"))] + sorted(glob.glob(os.path.join(
        interpreters.unpacked_directory(), "gdb-*", "gdb")))
    out = []
    for path in filter(None, paths):
        version = subprocess.run([path, "-nx", "-batch", "-ex", "python print(gdb.VERSION)"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
        major = re.match(r"\d+", version)
        folder = os.path.basename(os.path.dirname(path))
        if major:
            out.append(Gdb(folder if folder.startswith("gdb-") else f"gdb-{major[0]}", path,
                           int(major[0])))
    return tuple(out)


def usable() -> list[Gdb]:
    return [gdb for gdb in found() if gdb.major >= FIRST]


def missing() -> list[str]:
    """What there is none of here: "gdb 16 or newer"."""
    majors = [gdb.major for gdb in found()]
    kinds = {f"gdb {FIRST} or newer": lambda n: n >= FIRST, f"gdb before {FIRST}": lambda n: n < FIRST,
             "gdb 16 or newer": lambda n: n >= 16}
    return [name for name, fits in kinds.items() if not any(map(fits, majors))]


def cpython_commands(minor: tuple[int, int]) -> str | None:
    """That version's own commands for gdb: py-bt and others."""
    files = glob.glob(os.path.join(interpreters.unpacked_directory(), "gdb-*", "root", "usr", "share",
                                   "doc", "python%d.%d" % minor, "examples", "gdb", "libpython.py"))
    return max(files, default=None)


def check(said: str) -> None:
    if re.search("ptrace: Operation not permitted|Could not trace", said):
        raise Unavailable("gdb may not trace a process")
    assert "(most recent call last)" not in said and "Python Exception" not in said, said


class Terminal:
    """gdb at a pseudo-terminal."""

    PROMPT = b"(gdb) "

    def __init__(self, words: list[str], columns: int):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment(), COLUMNS=str(columns), LINES="20", INPUTRC="/dev/null")
            os.execvp(words[0], words)
        self.said = b""
        self.read_until(self.PROMPT)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read_until(self, what: bytes) -> str:
        end = time.monotonic() + tool.TIMEOUT
        while what not in self.said:
            ready, _, _ = select.select([self.fd], [], [], 1)
            if ready:
                self.said += os.read(self.fd, 1 << 16)
            assert time.monotonic() < end, self.said
        text, _, self.said = self.said.partition(what)
        return text.decode(errors="replace")

    def is_alive(self) -> bool:
        """After Ctrl-C: what is typed is done. (readline may lose a key to an interrupt.)"""
        for _ in range(20):
            self.send("\necho all\\ well\\n\n")
            end = time.monotonic() + 6
            while time.monotonic() < end:
                if select.select([self.fd], [], [], 0.2)[0]:
                    self.said += os.read(self.fd, 1 << 16)
                if b"all well\r\n" in self.said:
                    self.said = self.said.partition(b"all well\r\n")[2]
                    self.read_until(self.PROMPT)
                    return True
        return False

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def type(self, line: str) -> str:
        """A command; what gdb says until its next prompt."""
        self.send(line + "\n")
        said = self.read_until(self.PROMPT)
        check(said)
        said = re.sub("\x1b\\[\\?2004[hl]\r?", "", said)
        return said.replace("\r\n", "\n").partition("\n")[2]
