# SPDX-License-Identifier: GPL-3.0-or-later
"""Convenience functions, for scripts and breakpoint conditions."""
from __future__ import annotations

import gdb

from . import api


def _object(value) -> dict:
    found, = api.ask("object", hex(api.address(value)), running=True)["objects"]
    if "error" in found:
        raise api.Error(f"coreanalyze: {found['address']}: {found['error']}")
    return found


class PyType(gdb.Function):
    """$py_type (ADDRESS): the name of the type of the Python object there.

Example: break _PyEval_Vector if $_streq ($py_type (func), "builtins.function")"""

    def __init__(self) -> None:
        super().__init__("py_type")

    def invoke(self, value):
        return _object(value)["type"]


class PySize(gdb.Function):
    """$py_size (ADDRESS): what the Python object there takes, in bytes: sys.getsizeof, and its own buffers.

Example: print $py_size (self)"""

    def __init__(self) -> None:
        super().__init__("py_size")

    def invoke(self, value):
        found = _object(value)
        return found["bytes"] + found["owned"]


class PyCount(gdb.Function):
    """$py_count (TYPE): how many objects of a type there are.

Example: print $py_count ("app.Session")"""

    def __init__(self) -> None:
        super().__init__("py_count")

    def invoke(self, name):
        rows = api.ask("types", running=True)["types"]
        wanted = name.string()
        return next((row["count"] for row in rows if row["type"] == wanted), 0)


class PyRetained(gdb.Function):
    """$py_retained (ADDRESS): what would be freed with the Python object there, in bytes.

Example: print $py_retained (frame->f_locals)"""

    def __init__(self) -> None:
        super().__init__("py_retained")

    def invoke(self, value):
        found, = api.ask("retained", hex(api.address(value)), running=True)["objects"]
        return found["retained_bytes"]


class PyOwner(gdb.Function):
    """$py_owner (ADDRESS): who keeps the Python object there, by name; "" when nobody does.

Example: break list_dealloc if $_streq ($py_owner (op), "app.CACHE")"""

    def __init__(self) -> None:
        super().__init__("py_owner")

    def invoke(self, value):
        paths = api.ask("owners", hex(api.address(value)), running=True)["paths"]
        return paths[0]["owner"] if paths else ""


def define() -> None:
    PyType(), PySize(), PyCount(), PyRetained(), PyOwner()
