# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays of objects of all sorts; says what they refer to, by numpy's own interface, and waits.

OUT.1 (OUT: the first argument): {"arrays": {name: {address, base, dtype, items: [address], bytes}},
"ways": {name and way: address}, "shared": address, "large": number of references to it}.
"""

import gc
import json
import os
import sys

import numpy as np

LARGE = 700000      # pointers: numpy asks for huge pages, which makes two mappings of the memory


class Item:
    pass


class Plain(np.ndarray):
    pass


class Slotted(np.ndarray):
    __slots__ = ("slot",)


def filled(array):
    """Each place for an object has one of its own."""
    for place in objects_of(array):
        for index in np.ndindex(place.shape):
            place[index] = Item()
    return array


def objects_of(array):
    """The arrays of dtype object that it consists of, as views."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            yield from objects_of(array[name])
    elif array.dtype.hasobject:
        yield array


FIELDS = [("secret-field", "O"), ("number", "i1"),
          ("inner", [("o", "O"), ("pair", "O", (2, 3)), ("line", "O", (3,))]),
          ("records", [("f", "f4"), ("o", "O")], (2,))]

kept_items = [Item() for _ in range(4)]
shared = Item()
owners = {
    "objects": filled(np.zeros(100, object)),
    "grid": filled(np.zeros((4, 5), object)),
    "cube": np.asfortranarray(filled(np.zeros((2, 3, 4), object))),
    "zero": filled(np.zeros((), object)),
    "empty": np.zeros(0, object),
    "one": filled(np.zeros((1, 1), object)),
    "repeated": np.array(kept_items * 5, object),
    "large": np.full(LARGE, shared, object),
    "rows": filled(np.zeros(10, FIELDS)),
    "table": filled(np.zeros((2, 3), FIELDS)),
    "packed": filled(np.zeros(5, np.dtype([("c", "i1"), ("o", "O")]))),
    "aligned": filled(np.zeros(5, np.dtype([("c", "i1"), ("o", "O")], align=True))),
    "titled": filled(np.zeros(3, [(("title", "name"), "O")])),
    "subarray": filled(np.zeros(3, [("a", [("b", "O"), ("c", "i4")], (2, 2))])),
    "plain": filled(np.zeros(3, object).view(Plain).copy()),
    "slotted": filled(np.zeros(3, object).view(Slotted).copy()),
    "numbers": np.arange(1000.0),
    "numbers2": np.ones((3, 4), "i2"),
    "strings": np.array(["some", "text"]),
    "structured": np.zeros(3, "i4,f8"),
}
owners["plain"].tag = kept_items[0]
owners["slotted"].slot = kept_items[1]
views = {
    "part": owners["objects"][10:20],
    "backwards": owners["objects"][::-1],
    "turned": owners["grid"].T,
    "every": owners["grid"][::2, 1:4:2],
    "broadcast": np.broadcast_to(owners["zero"], (1000, 1000, 1000)),
    "field": owners["rows"]["inner"]["pair"],
    "of_plain": owners["objects"].view(Plain),
    "diagonal": owners["grid"].diagonal(),
}
scalars = [owners["rows"][3], owners["rows"][4].copy()]
arrays = {**owners, **views}

WAYS = ["objects[3]", "grid.flat[7]", "cube.flat[5]", "zero[()]", "one.flat[0]",
        "rows[2]['inner']['o']", "rows[1]['inner']['pair'].flat[5]", "rows[1]['inner']['line'][2]",
        "rows[9]['records'][1]['o']", "table.flat[5]['inner']['o']", "packed[4]['o']",
        "titled[2]['name']", "subarray[0]['a'].flat[3]['b']", "plain[1]", "rows[0]['secret-field']"]


def address(o):
    return hex(id(o))


def said():
    told = {}
    for name, array in arrays.items():
        items = ([address(o) for place in objects_of(array) for o in place.flat]
                 if array.flags.owndata and name != "large" else [])
        told[name] = {"address": address(array), "items": items, "bytes": sys.getsizeof(array),
                      "base": address(array.base) if array.base is not None else None,
                      "dtype": address(array.dtype)}
    ways = {way: address(eval(way, dict(arrays))) for way in WAYS}
    return {"arrays": told, "ways": ways, "shared": address(shared), "large": LARGE}


def main():
    gc.collect()
    with open(sys.argv[1] + ".new", "w") as f:
        json.dump(said(), f)
    os.rename(sys.argv[1] + ".new", sys.argv[1] + ".1")
    sys.stdin.readline()


main()
