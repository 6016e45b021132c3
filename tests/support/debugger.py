# SPDX-License-Identifier: GPL-3.0-or-later
"""Real gdb with our commands: in batch, and as a person has it at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import tool
from interpreters import ROOT
from runner import Skip

LOADER = os.path.join(ROOT, "gdb", "coreanalyze-gdb.py")
SETTINGS = ["-nx", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off",
            "-iex", "set confirm off", "-iex", f"set coreanalyze-command {tool.path()}"]


def environment() -> dict[str, str]:
    return {**os.environ, "COREANALYZE": os.path.abspath(tool.path()), "TERM": "xterm"}


def command(*args: str) -> list[str]:
    gdb = os.environ.get("CA_GDB", "gdb")
    if not shutil.which(gdb):
        raise Skip("gdb is not installed")
    return [gdb, "-nx", "-iex", "set auto-load no", "-iex", "set confirm off", *args]


def batch(*lines: str, args: tuple[str, ...] = (), loader: str = LOADER) -> str:
    """What gdb says to these commands, one after the other, whatever fails."""
    words = [word for line in (f"source {loader}", *lines) for word in ("-ex", line)]
    done = subprocess.run(command("-batch", *words, *args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=tool.TIMEOUT, env=environment())
    check(done.stdout)
    return done.stdout


def check(said: str) -> None:
    if re.search("ptrace: Operation not permitted|Could not trace", said):
        raise Skip("gdb may not trace a process")
    assert "Traceback" not in said and "Python Exception" not in said, said


class Terminal:
    """gdb at a pseudo-terminal."""

    PROMPT = b"(gdb) "

    def __init__(self, *args: str, columns: int = 200):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            words = command("-q", "-ex", "set height 0", "-ex", f"source {LOADER}", *args)
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

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def type(self, line: str) -> str:
        """A command; what gdb says until its next prompt."""
        self.send(line + "\n")
        said = self.read_until(self.PROMPT)
        check(said)
        said = re.sub("\x1b\\[\\?2004[hl]\r?", "", said)
        return said.replace("\r\n", "\n").partition("\n")[2]
