# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about the selected inferior, in plain data: see the package's help."""
from __future__ import annotations

import os

import gdb

from . import target
from .engine import EngineError, Refused
from .target import Nothing

settings = None     # set by command.load()


class Error(gdb.GdbError):
    """A sentence: why there is no answer."""


def ask(command: str, *args, running: bool = False, **more):
    """The document of a question, as the command line's --json gives it."""
    try:
        if not running:
            target.check_stopped()
        elif target.is_moving(gdb.selected_inferior()):
            target.check_standing()
            target.on_change(None)  # in a breakpoint's condition: it ran, and nobody said so
        return _ask(command, [str(arg) for arg in args], more)
    except (Nothing, Refused, EngineError) as e:
        raise Error(f"coreanalyze: {e}")


def _ask(command: str, args: list[str], more: dict):
    seat = target.seat()
    engine = seat.ready(settings)
    try:
        return engine.ask(command, *args, timeout=settings.timeout(), **more)
    except EngineError:
        seat.drop("went with it")
        raise


def types(match: str | None = None) -> list[dict]:
    """A row for each type: type, count, bytes, owned, ..."""
    return ask("types", *(["--match", match] if match else []))["types"]


def objects(*addresses) -> list[dict]:
    """What is at these addresses: integers, gdb values or expressions."""
    return ask("object", *(hex(address(a)) for a in addresses))["objects"]


def retained(*addresses) -> list[dict]:
    """What would be freed with each of these objects: retained_bytes, retained_objects, name, ..."""
    return ask("retained", *(hex(address(a)) for a in addresses))["objects"]


def owners(*addresses) -> list[dict]:
    """The ways from what a person can name to these objects: owner, root, steps, ..."""
    return ask("owners", *(hex(address(a)) for a in addresses))["paths"]


def count(type_name: str) -> int:
    return next((row["count"] for row in types() if row["type"] == type_name), 0)


def save(name: str) -> None:
    """Keeps the heap as it is now under a name, for diff()."""
    ask("keep", name)
    seat = target.seat()
    kind, what = seat.identity
    seat.names[name] = what if kind == "core" else f"process {what}"
    seat.opened.add(name)


def names() -> list[str]:
    """What was saved of the selected inferior, and cores that were saved in others."""
    own = list(target.seat().names)
    return own + [n for s in target.seats.values() for n in s.names
                  if n not in own and s.names[n].startswith("/")]


def diff(before: str | None = None, after: str | None = None, *args, **more):
    """What grew from one moment to another: saved names, or paths of cores; None: now."""
    saved = list(target.seat().names)
    if before is None:
        if not saved:
            raise Error("coreanalyze: nothing is saved: `py-heap-save NAME` first")
        before = saved[-1]
    return ask("diff", *(_opened(name) if name else "." for name in (before, after)), *args, **more)


def _opened(name: str) -> str:
    """A name that the engine knows."""
    if name == "." or name in target.seat().opened:
        return name
    path = next((s.names[name] for s in target.seats.values()
                 if s.names.get(name, "").startswith("/")), os.path.abspath(os.path.expanduser(name)))
    if not os.path.exists(path):
        others = [s.number for s in target.seats.values() if name in s.names]
        if others:
            raise Error(f"coreanalyze: '{name}' was saved of inferior {others[0]}: select it first")
        raise Error(f"coreanalyze: nothing is saved as '{name}', and no core has that name: "
                    f"`py-heap-save {name}` saves")
    name = name if len(name) <= 60 else f"core {abs(hash(path)) % 10 ** 9}"
    ask("open", name, path)
    target.seat().opened.add(name)
    return name


def address(what) -> int:
    """Of an integer, a gdb.Value (an object, or a pointer to it) or an expression."""
    if isinstance(what, int):
        return what
    try:
        value = what if isinstance(what, gdb.Value) else gdb.parse_and_eval(what)
        kind = value.type.strip_typedefs()
        if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            value = value.address
            if value is None:
                raise Error(f"coreanalyze: '{what}' is not in memory")
        return int(value) & (1 << 64) - 1
    except gdb.error as e:
        raise Error(f"coreanalyze: '{what}': {e}")
