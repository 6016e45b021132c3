#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes coreanalyze/object/static_types.def: what tells CPython's static types apart.

  static_types.py PYTHON...

A core need not have the binary, in which the names of static types are; the dicts
of their attributes are on the heap. Each interpreter says of all the static types
that it and its standard library have: name, hash of the docstring, and a
fingerprint (see coreanalyze/object/statics.c). What the file has of minor
versions that are not among the interpreters is kept.
"""
from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "coreanalyze" / "object" / "static_types.def"
ROW = re.compile(r'^STATIC_TYPE\((0x[0-9a-f]+), (0x[0-9a-f]+), (0x[0-9a-f]+), "([^"]+)"\)$', re.M)

ASK = r'''
import json, sys, os, pkgutil, io
MASK = (1 << 64) - 1
HEAPTYPE, KEPT = 1 << 9, (1 << 14) | (1 << 10) | 0xff000000
DYNAMIC = {"__abstractmethods__", "__slotnames__"}

def fnv(text):
    value = 0xcbf29ce484222325
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x100000001b3) & MASK
    return value

def fingerprint(t):
    value = sum(fnv(k) for k in type.__dict__["__dict__"].__get__(t) if k not in DYNAMIC)
    value += t.__basicsize__ * 0x9e3779b97f4a7c15 + t.__itemsize__ * 0xc2b2ae3d27d4eb4f
    value += (t.__flags__ & KEPT) * 0x165667b19e3779f9
    return value & MASK

def import_all():
    import importlib, warnings
    warnings.simplefilter("ignore")
    names = set(sys.builtin_module_names)
    for path in sys.path:
        if os.path.basename(path) == "lib-dynload" and os.path.isdir(path):
            names |= {f.split(".")[0] for f in os.listdir(path)}
    names |= {"asyncio", "decimal", "collections", "ctypes", "curses", "zoneinfo", "typing",
              "concurrent.futures", "contextvars", "datetime", "xml.etree.ElementTree"}
    for name in sorted(names):
        if "test" in name or name.startswith("xx") or name in ("_tkinter", "antigravity", "this"):
            continue
        try:
            importlib.import_module(name)
        except BaseException:
            pass

def walk(found):
    stack = [object]
    while stack:
        t = stack.pop()
        if id(t) in found:
            continue
        found[id(t)] = t
        try:
            stack += type.__subclasses__(t)
        except TypeError:
            pass
        stack.append(type(t))
import_all()
found = {}
walk(found)
rows = set()
for t in found.values():
    if t.__flags__ & HEAPTYPE:
        continue
    doc = type.__dict__["__dict__"].__get__(t).get("__doc__")
    module = type.__dict__["__module__"].__get__(t)
    name = t.__qualname__ if module == "builtins" else module + "." + t.__qualname__
    rows.add((fingerprint(t), fnv(doc) & 0xffffffff if isinstance(doc, str) and doc.isascii() else 0, name))
print(json.dumps([sys.version_info[1], sorted(rows)]))
'''


def read_rows() -> dict[tuple[int, int, str], int]:
    if not OUTPUT.exists():
        return {}
    return {(int(f, 16), int(d, 16), n): int(m, 16) for m, f, d, n in ROW.findall(OUTPUT.read_text())}


def main() -> None:
    rows = read_rows()
    answers = [json.loads(subprocess.check_output([python, "-I", "-c", ASK], text=True,
                                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                          .splitlines()[-1]) for python in sys.argv[1:]]
    gone = sum({1 << minor for minor, _ in answers})
    rows = {key: mask & ~gone for key, mask in rows.items() if mask & ~gone}
    for minor, types in answers:
        for fingerprint, doc, name in types:
            key = (fingerprint, doc, name)
            rows[key] = rows.get(key, 0) | 1 << minor
    lines = ["/* SPDX-License-Identifier: GPL-3.0-or-later */",
             "/*",
             " * Made by tools/static_types.py: do not edit.",
             " * STATIC_TYPE(minor versions as bits, fingerprint, hash of __doc__ or 0, tp_name)",
             " */"]
    for (fingerprint, doc, name), mask in sorted(rows.items(), key=lambda r: (r[0][2], r[1], r[0])):
        lines.append(f'STATIC_TYPE({mask:#x}, {fingerprint:#x}, {doc:#x}, "{name}")')
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
