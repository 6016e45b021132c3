# SPDX-License-Identifier: GPL-3.0-or-later
"""What gdb debugs, as a target of the analysis; one Seat for each inferior."""
from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
import time

import gdb

from .engine import Engine, EngineError, Refused

COMPLETION_WITHIN = 5   # seconds

seats: dict[int, "Seat"] = {}


class Nothing(Exception):
    """There is nothing to analyse: a sentence for the user."""


class Seat:
    """An inferior and the child that analyses it."""

    def __init__(self, number: int):
        self.number = number
        self.engine: Engine | None = None
        self.identity: tuple = ()       # which target the engine has
        self.maps: int | None = None    # of the program that a process ran when the engine was started
        self.names: dict[str, str] = {} # what was saved: name -> what of; a core by its path
        self.opened: set[str] = set()   # names that the engine knows
        self.stale = False              # the target ran since
        self.told = False               # for how long it has stood
        self.note = ""                  # to be shown with the next answer
        self.types: list[str] = []      # names, for completion

    # ---- the child

    def ready(self, settings) -> Engine:
        """An engine that has the target as it is now."""
        identity = identify()
        if self.engine and (not self.engine.alive or identity != self.identity):
            self.drop("is gone" if not self.engine.alive else "was of another target")
        if self.engine and self.stale and self._is_replaced():
            self.drop("was of a program that the process runs no longer")
        if self.engine is None:
            self._start(settings, identity)
        elif self.stale:
            self.types = []
            self._refresh(settings)
        self.stale = False
        return self.engine

    def _start(self, settings, identity: tuple) -> None:
        kind, what = identity
        if kind == "core":
            self.engine = Engine(settings.program(), what, settings.options())
        elif kind == "process":
            self.engine = start_in_place(settings, what) or self._start_by_core(settings)
            with contextlib.suppress(OSError):
                self.maps = os.open(f"/proc/{what}/maps", os.O_RDONLY | os.O_CLOEXEC)
        else:
            self.engine = self._start_by_core(settings)
        self.identity = identity

    def _is_replaced(self) -> bool:
        """By exec: what was opened before belongs to no memory any more."""
        return self.maps is not None and not os.pread(self.maps, 1, 0)

    def _start_by_core(self, settings) -> Engine:
        path = write_core()
        engine = None
        try:
            engine = Engine(settings.program(), path, settings.options())
            engine.ask("targets", timeout=settings.timeout())
        except BaseException:
            if engine:
                engine.close()
            raise
        finally:
            os.unlink(path)
        engine.by_core = True
        return engine

    def _refresh(self, settings) -> None:
        if not getattr(self.engine, "by_core", False):
            if self.identity[0] == "process":
                self.engine.ask("refresh", timeout=settings.timeout())
            return
        path = write_core()
        try:
            self.engine.ask("refresh", path, timeout=settings.timeout())
            try:
                self.engine.ask("info", timeout=settings.timeout())     # opens it
            except Refused:
                pass
        finally:
            os.unlink(path)

    def drop(self, why: str = "") -> None:
        """Ends the engine. Cores that were saved by name can be opened again."""
        if self.engine:
            self.engine.close()
        if self.maps is not None:
            os.close(self.maps)
        self.engine = self.maps = None
        self.types = []
        lost = [name for name, what in self.names.items() if not what.startswith("/")]
        if lost and why:
            self.note = "what was saved as %s is lost: it %s\n" % (", ".join(lost), why)
        for name in lost:
            del self.names[name]
        self.opened.clear()

    def known_types(self) -> list[str]:
        """Names for completion: nothing is opened or read anew for them."""
        if self.engine and self.engine.alive and not self.stale and not self.types:
            try:
                rows = self.engine.ask("types", timeout=COMPLETION_WITHIN)["types"]
                self.types = [row["type"] for row in rows]
            except (EngineError, Refused, KeyboardInterrupt):
                pass
        return self.types

    def tell(self) -> str:
        """Once after each stop: for how long the target has stood still."""
        note, self.note = self.note, ""
        if self.told or self.identity[:1] == ("core",):
            return note
        self.told = True
        inferior = gdb.selected_inferior()
        began = stops.get((inferior.num, inferior.pid))
        return "%sprocess %d has stood still for %.1f s%s\n" % (
            note, inferior.pid, time.monotonic() - (began or loaded), "" if began else " or longer")


def seat() -> Seat:
    number = gdb.selected_inferior().num
    return seats.setdefault(number, Seat(number))


# ---- what is debugged

def core_file(inferior) -> str | None:
    core = getattr(inferior, "corefile", None)
    if core is not None:
        return core.filename
    text = gdb.execute("info files", to_string=True)
    found = re.search(r"Local core dump file:\s+`(.*)', file type", text)
    return found.group(1) if found else None


def identify() -> tuple:
    """("core", path), ("process", pid) or ("remote", pid)."""
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    if connection is not None and connection.type == "core":
        path = core_file(inferior)
        if path:
            return "core", os.path.abspath(path)
    if not inferior.pid or connection is None:
        raise Nothing("there is no process and no core: `run`, `attach PID` or `core-file FILE` first")
    if connection.type == "native":
        return "process", inferior.pid
    return "remote", inferior.pid


def check_stopped() -> None:
    if is_moving(gdb.selected_inferior()):
        raise Nothing("the process is running: stop it first (Ctrl-C, or `interrupt`)")


def check_standing() -> None:
    """In a breakpoint's condition gdb takes a thread for running that stands still."""
    inferior = gdb.selected_inferior()
    if inferior.connection.type != "native":
        return
    states = []
    for path in glob.glob(f"/proc/{inferior.pid}/task/*/stat"):
        with contextlib.suppress(OSError), open(path, errors="replace") as f:
            states.append(f.read().rpartition(")")[2].split()[0])
    if states and not set(states) & set("tT"):
        check_stopped()


def start_in_place(settings, pid: int) -> Engine | None:
    """Through gdb's own descriptors; None where gdb cannot open them either."""
    files: list[int] = []
    try:
        try:
            for name in ("mem", "maps"):
                files.append(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None
        mem, maps = files
        return Engine(settings.program(), f"pid:{pid}",
                      ["--mem-fd", str(mem), "--maps-fd", str(maps), *settings.options()], (mem, maps))
    finally:
        for file in files:
            os.close(file)


def write_core() -> str:
    """A core that gdb writes: of a remote target, whose memory gdb alone can read."""
    descriptor, path = tempfile.mkstemp(prefix="coreanalyze-")
    os.close(descriptor)
    try:
        gdb.execute(f"generate-core-file {path}", to_string=True)
    except BaseException as e:
        os.unlink(path)
        if isinstance(e, gdb.error):
            raise Nothing(f"gdb cannot write a core of this target: {e}")
        raise
    return path


# ---- what happens to it

loaded = time.monotonic()
stops: dict[tuple[int, int], float | None] = {}     # (inferior, pid): when; None: before we came
moving: set[tuple[int, int]] = set()


def is_moving(inferior) -> bool:
    return any(thread.is_running() for thread in inferior.threads())


def on_continue(_event) -> None:
    for inferior in gdb.inferiors():
        if is_moving(inferior):
            moving.add((inferior.num, inferior.pid))
            one = seats.get(inferior.num)
            if one:
                one.stale = True
                one.told = False


def on_stop(_event) -> None:
    for inferior in gdb.inferiors():
        this = inferior.num, inferior.pid
        if (this in moving or this not in stops) and not is_moving(inferior):
            stops[this] = time.monotonic()
            moving.discard(this)


def on_change(_event) -> None:
    for one in seats.values():
        one.stale = True


def on_exit(event) -> None:
    one = seats.get(getattr(event.inferior, "num", -1))
    if one:
        one.drop("was of a process that has ended")


def listen() -> None:
    stops.update({(inferior.num, inferior.pid): None for inferior in gdb.inferiors() if inferior.pid})
    gdb.events.cont.connect(on_continue)
    gdb.events.stop.connect(on_stop)
    gdb.events.exited.connect(on_exit)
    gdb.events.memory_changed.connect(on_change)
    gdb.events.inferior_call.connect(on_change)


def close_all() -> None:
    for one in seats.values():
        one.drop()
