# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside gdb: writes the shapes of structures as JSON (see layouts.py dump).

Variables set before it is sourced:
  OUT    where to write {name: {"size": bytes, "f": {path: [offset, bit, bits, size]}}}
  NAMES  the types to look for, or None: every type of the file with `layout_marker`
"""
import json

import gdb

MAX_DEPTH = 7  # nested structures; CPython's own nest less deep


def members(type_, base, prefix, depth, into):
    for field in type_.strip_typedefs().fields():
        if not hasattr(field, "bitpos") or (field.name or "").startswith("__"):
            continue  # two underscores: inside the C library's pthread types
        offset = base + field.bitpos // 8
        path = prefix
        if field.name:
            path = prefix + "." + field.name if prefix else field.name
            bits = field.bitsize or 0
            into[path] = [offset, field.bitpos % 8 if bits else 0, bits, field.type.sizeof]
        if is_aggregate(field.type) and depth < MAX_DEPTH:
            members(field.type, offset, path, depth + 1, into)


def is_aggregate(type_):
    return type_.strip_typedefs().code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)


def all_types():
    """Typedefs and tags of the translation unit, as C spells them."""
    tags = {gdb.TYPE_CODE_STRUCT: "struct ", gdb.TYPE_CODE_UNION: "union "}
    marker = gdb.lookup_global_symbol("layout_marker")
    for symbol in marker.symtab.static_block():
        if symbol.addr_class != gdb.SYMBOL_LOC_TYPEDEF:
            continue
        typedef = symbol.type.code == gdb.TYPE_CODE_TYPEDEF
        yield (symbol.name if typedef else tags.get(symbol.type.code, "") + symbol.name), symbol.type


def named_types(names):
    for name in names:
        try:
            yield name, gdb.lookup_type(name)
        except gdb.error:
            continue  # this release has no such type


def main(out, names):
    result = {}
    for name, type_ in all_types() if names is None else named_types(names):
        if not is_aggregate(type_) or not type_.strip_typedefs().sizeof:
            continue
        shape = {}
        members(type_, 0, "", 0, shape)
        result[name] = {"size": type_.strip_typedefs().sizeof, "f": shape}
    with open(out, "w", encoding="ascii") as file:
        json.dump(result, file, sort_keys=True)


main(OUT, NAMES)  # noqa: F821: set by the caller
