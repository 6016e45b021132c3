# SPDX-License-Identifier: GPL-3.0-or-later
"""The child that analyses: `coreanalyze serve TARGET`. Knows nothing of gdb.

Whatever happens to the child, a question ends: with its answer, or with an
exception. Nothing here waits without an end.
"""
from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time

SLICE = 0.2         # seconds; how often a wait looks around
CANCEL_WITHIN = 3   # seconds that a question may take to stop


class EngineError(Exception):
    """The child could not be started, has died, or hangs: it is gone."""


class Refused(Exception):
    """A question that has no answer: why. The child goes on."""

    def __init__(self, error: dict):
        parts = [error.get(key) for key in ("what", "why", "advice")]
        super().__init__(": ".join(part for part in parts if part))
        self.status = error.get("status", 4)


class Engine:
    def __init__(self, program: str, target: str, options: list[str], files: tuple[int, ...] = ()):
        self.log = tempfile.TemporaryFile()
        self.last = 0
        self.data = bytearray()
        try:
            self.process = subprocess.Popen(
                [program, "serve", target, *options], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self.log, pass_fds=files, start_new_session=True,
                bufsize=0)
        except OSError as e:
            raise EngineError(f"cannot start {program}: {e.strerror}")
        os.set_blocking(self.process.stdout.fileno(), False)
        os.set_blocking(self.process.stdin.fileno(), False)

    def ask(self, command: str, *args: str, timeout: float, **more):
        """The document. Ctrl-C stops the question and goes to the caller."""
        self.last += 1
        number = self.last
        line = json.dumps({"id": number, "command": command, "args": args, **more}) + "\n"
        try:
            self._send(line.encode(), time.monotonic() + timeout)
            answer = self._hear(number, time.monotonic() + timeout)
        except KeyboardInterrupt:
            self._cancel(number)
            raise
        if answer is None:
            self.close()
            raise EngineError(f"the analysis gave no answer within {timeout:.0f} s, and was ended")
        if not answer.get("ok"):
            raise Refused(answer.get("error") or {})
        return answer["document"]

    def _cancel(self, number: int) -> None:
        try:
            self._send(b'{"cancel": %d}\n' % number, time.monotonic() + CANCEL_WITHIN)
            if self._hear(number, time.monotonic() + CANCEL_WITHIN) is None:
                self.close()
        except (EngineError, KeyboardInterrupt):
            self.close()

    def _send(self, data: bytes, end: float) -> None:
        fd = self.process.stdin.fileno()
        while data:
            select.select([], [fd], [], SLICE)
            try:
                data = data[os.write(fd, data):]
            except BlockingIOError:
                pass
            except OSError:
                self._died()
            if data and time.monotonic() > end:
                self.close()
                raise EngineError("the analysis takes no questions, and was ended")

    def _hear(self, number: int, end: float):
        """The answer to that question; None when it does not come in time."""
        fd = self.process.stdout.fileno()
        while time.monotonic() < end:
            newline = self.data.find(b"\n")
            if newline >= 0:
                line = bytes(self.data[:newline])
                del self.data[:newline + 1]
                answer = self._parse(line)
                if answer.get("id") == number:
                    return answer
                continue    # to one that was given up
            ready, _, _ = select.select([fd], [], [], SLICE)
            if ready:
                self._read(fd)
        return None

    def _read(self, fd: int) -> None:
        try:
            chunk = os.read(fd, 1 << 20)
        except BlockingIOError:
            return
        if not chunk:
            self._died()
        self.data += chunk

    def _parse(self, line: bytes) -> dict:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.close()
            raise EngineError("the analysis answers nonsense, and was ended")
        return answer

    def _died(self):
        """Says why, by what it printed last."""
        self.log.seek(0)
        said = self.log.read()[-2000:].decode(errors="replace").strip().splitlines()
        self.close()
        said = said[-1] if said else ""
        if said.startswith("coreanalyze: "):
            raise EngineError(said[len("coreanalyze: "):])
        raise EngineError("the analysis has ended unexpectedly" + (f": {said}" if said else ""))

    @property
    def alive(self) -> bool:
        return self.process is not None

    def close(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout, self.log):
            stream.close()
        try:
            process.wait(CANCEL_WITHIN)
        except subprocess.TimeoutExpired:
            pass
