# SPDX-License-Identifier: GPL-3.0-or-later
"""A running `coreanalyze serve`, and questions to it."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import time

import tool


class Server:
    def __init__(self, *args: str, **options):
        self.process = subprocess.Popen([tool.path(), "serve", *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.last = 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()

    def say(self, line: bytes) -> None:
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict:
        ready, _, _ = select.select([self.process.stdout], [], [], tool.TIMEOUT)
        assert ready, "no answer"
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), (line, self.process.stderr.read())
        return json.loads(line)

    def send(self, command: str, *args: str, **more) -> int:
        self.last += 1
        self.say(json.dumps({"id": self.last, "command": command, "args": args, **more}).encode())
        return self.last

    def answer(self, command: str, *args: str, **more) -> dict:
        id_ = self.send(command, *args, **more)
        said = self.hear()
        assert said["id"] == id_, said
        return said

    def ask(self, command: str, *args: str, **more):
        """The document of what must be answered."""
        said = self.answer(command, *args, **more)
        assert said["ok"], said
        return said["document"]

    def refused(self, command: str, *args: str, status: int = 2, **more) -> dict:
        said = self.answer(command, *args, **more)
        assert not said["ok"] and said["error"]["status"] == status, said
        return said["error"]

    def keeper(self) -> int:
        """The process that has the target open, while no question is asked."""
        end = time.monotonic() + tool.TIMEOUT
        while time.monotonic() < end:
            living = children(self.process.pid)
            if len(living) == 1 and not children(living[0]):
                return living[0]
            time.sleep(0.01)
        raise AssertionError("serve has no keeper, or more than one")

    def end(self) -> int:
        """No more questions come: its exit status."""
        self.process.stdin.close()
        return self.process.wait(tool.TIMEOUT)


def children(pid: int) -> list[int]:
    """The processes that it has started and that live."""
    out = []
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            words = f.read().split()
        for word in words:
            with contextlib.suppress(OSError), open(f"/proc/{word}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] not in "ZX":
                    out.append(int(word))
    return out
