# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a heap: the builtin containers and scalars."""

import sys

from parts import builder

# Shared, so that big containers do not each bring their own.
COUNT = list(range(70000))

@builder
def strings():
    class Sub(str):
        pass

    made = []
    for i in range(300):
        made += ["ascii %d" % i, "l\xe4tin %d" % i, "\u65e5\u672c %d" % i,
                 "\U0001f600 wide %d" % i, Sub("sub %d" % i),
                 Sub("s\xfcb %d" % i), Sub("\u65e5 %d" % i)]
    made += ["x" * n for n in (0, 1, 2, 7, 8, 400, 471, 472, 473, 5000)]
    made += ["\xe9" * n for n in (1, 2, 100, 5000)]
    made += ["\u20ac" * n for n in (1, 2, 100, 5000)]
    made += ["\U0001f600" * n for n in (1, 2, 100, 5000)]
    made += [chr(i) for i in range(300)]
    with_utf8 = ["c\xe4ched %d" % i for i in range(100)]
    with_utf8 += ["\u65e5 cached %d" % i for i in range(100)]
    with_utf8 += [Sub("\u65e5 subcached %d" % i) for i in range(20)]
    with_utf8 += [Sub("sub ascii cached %d" % i) for i in range(20)]
    for s in with_utf8:
        cache_utf8(s)
    interned = [sys.intern("interned_%d" % i) for i in range(100)]
    interned += [sys.intern("intern\xe9 %d" % i) for i in range(50)]
    hashed = ["hashed %d" % i for i in range(50)]
    for s in hashed:
        hash(s)
    sub = Sub("with attributes")
    sub.a = 1
    surrogate = "\udc80 lone"
    return made, with_utf8, interned, hashed, sub, surrogate, legacy_strings()


def cache_utf8(s):
    """Makes s keep its UTF-8 form, as C code that asks for it does."""
    import ctypes
    as_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    as_utf8.restype = ctypes.c_void_p
    as_utf8.argtypes = [ctypes.py_object, ctypes.c_void_p]
    as_utf8(s, None)


def legacy_strings():
    """Strings that also have, or only have, wchar_t data (3.8 to 3.11)."""
    if sys.version_info >= (3, 12):
        return None
    import ctypes
    as_unicode = ctypes.pythonapi.PyUnicode_AsUnicode
    as_unicode.restype = ctypes.c_void_p
    as_unicode.argtypes = [ctypes.py_object]
    from_unicode = ctypes.pythonapi.PyUnicode_FromUnicode
    from_unicode.restype = ctypes.py_object
    from_unicode.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
    with_wide = ["wide %d" % i for i in range(10)]
    with_wide += ["wid\xe9 %d" % i for i in range(10)]
    with_wide += ["wide \U0001f600 %d" % i for i in range(10)]
    for s in with_wide:
        as_unicode(s)
    not_ready = []
    for i in range(5):
        s = from_unicode(None, 5 + i)
        ctypes.memmove(as_unicode(s), ("%-9d" % i).encode("utf-32-le"),
                       4 * (5 + i))
        not_ready.append(s)
    return with_wide, not_ready


@builder
def numbers():
    class Int(int):
        pass

    class Float(float):
        pass

    made = list(range(-20, 1100))
    for bits in (14, 15, 16, 29, 30, 31, 32, 59, 60, 61, 62, 63, 64, 89, 90,
                 91, 120, 300, 1000, 40000):
        for d in (-1, 0, 1):
            made += [(1 << bits) + d, -(1 << bits) + d]
    big = (1 << 300) + 5
    made += [big - (1 << 300), big - big, big >> 280, (big >> 200) - (1 << 100),
             big & 0xffff, big % 1000003, big - (big - 70000), -big // (1 << 299)]
    made += [10 ** 6 + i for i in range(1000)]
    made += [int("9" * n) for n in range(1, 60)]
    subs = [Int(i) for i in (0, 1, 5, -5, 300, 1 << 31, 1 << 62, -(1 << 100))]
    subs[0].a = "attribute"
    floats = [i + 0.5 for i in range(1000)] + [
        0.0, -0.0, 1e308, 5e-324, float("inf"), float("nan"), Float(2.5)]
    return (made, subs, floats, [complex(i, -i) for i in range(50)],
            True, False, None, Ellipsis, NotImplemented)


@builder
def byte_strings():
    class Bytes(bytes):
        pass

    class ByteArray(bytearray):
        pass

    made = [b"%d" % i * 5 for i in range(500)]
    made += [bytes(n) for n in (0, 1, 2, 479, 480, 481, 512, 5000, 200000)]
    made += [bytes([i]) for i in range(256)]
    sub = Bytes(b"sub")
    sub.a = 1
    arrays = [bytearray(), bytearray(b"abc"), bytearray(1000),
              bytearray(1 << 20), ByteArray(b"sub")]
    grown = bytearray(b"x")
    for i in range(500):
        grown.append(i & 255)
    shrunk = bytearray(5000)
    del shrunk[100:]
    front = bytearray(range(200))
    del front[:50]
    emptied = bytearray(300)
    emptied.clear()
    views = [memoryview(grown), memoryview(b"abcdef")[1:4],
             memoryview(bytes(24)).cast("B", [2, 3, 4])]
    return made, sub, arrays, grown, shrunk, front, emptied, views


@builder
def sequences():
    import collections
    import os
    import time

    class Tuple(tuple):
        pass

    class List(list):
        pass

    class SlottedList(list):
        __slots__ = ("a",)

    Point = collections.namedtuple("Point", "x y z")
    tuples = [tuple(range(n)) for n in range(30)]
    tuples += [(i, str(i)) for i in range(1000)]
    tuples += [(i, []) for i in range(100)]
    tuples += [tuple(range(5000)), ((),), (None,) * 20]
    subs = [Tuple(), Tuple((1, 2)), Tuple(range(50))]
    subs[1].a = "attribute"
    named = [Point(i, str(i), None) for i in range(50)]
    structseqs = [time.localtime(), os.stat("/"), sys.version_info, sys.flags,
                  sys.float_info, os.times(), sys.hash_info]
    lists = [list(range(n)) for n in range(40)]
    lists += [[] for _ in range(20)]
    lists += [[None] * n for n in (1, 3, 4, 5, 60, 64, 65, 1000, 70000)]
    grown = []
    for i in range(1000):
        grown.append(i)
    shrunk = list(range(1000))
    del shrunk[300:]
    emptied = list(range(100))
    emptied.clear()
    popped = list(range(20))
    while popped:
        popped.pop()
    extended = [1]
    extended.extend(range(10))
    sub = List([1, 2, 3])
    sub.a = 1
    slotted = SlottedList([1])
    slotted.a = 2
    cyclic = []
    cyclic.append(cyclic)
    slices = [slice(i, i + 1, None) for i in range(30)]
    ranges = [range(i) for i in range(10)] + [range(10 ** 20)]
    return (tuples, subs, named, structseqs, lists, grown, shrunk, emptied,
            popped, extended, [x * 2 for x in range(77)], sub, slotted, cyclic,
            slices, ranges)


@builder
def dicts():
    import collections
    import types

    class Dict(dict):
        pass

    made = [{} for _ in range(20)]
    made += [{"k%d" % i: i for i in range(n)} for n in range(1, 40)]
    made += [{i: str(i) for i in range(n)} for n in range(1, 40)]
    made += [{(i, n): None for i in range(n)} for n in range(1, 20)]
    made += [{i: i} for i in range(500)]
    made += [dict.fromkeys(COUNT[:n]) for n in (85, 86, 170, 171, 300, 5000,
                                                22000, 44000, 70000)]
    texts = [str(i) for i in COUNT[:44000]]
    made += [dict.fromkeys(texts[:n]) for n in (85, 86, 171, 5000, 44000)]
    mixed = {"a": 1, 2: 3, None: ()}
    holes = {i: i for i in range(100)}
    for i in range(0, 100, 2):
        del holes[i]
    emptied = {i: i for i in range(100)}
    for i in range(100):
        del emptied[i]
    cleared = {"x": 1}
    cleared.clear()
    copied = dict(holes)
    copied_whole = made[60].copy()
    from_keys = dict.fromkeys(range(100))
    from_strings = dict.fromkeys(["a", "b"])
    updated = {}
    updated.update({"u%d" % i: i for i in range(50)})
    unicode_then_general = {"a%d" % i: i for i in range(20)}
    unicode_then_general[1] = 2
    sub = Dict(a=1)
    sub.attribute = 2
    ordered = [collections.OrderedDict((i, i) for i in range(n))
               for n in (0, 1, 5, 8, 9, 100, 1000)]
    ordered[4].pop(3)
    ordered[5].move_to_end(5)
    ordered[6].attribute = 1
    for i in range(900):
        del ordered[6][i]
    default = [collections.defaultdict(list, {i: []}) for i in range(10)]
    counter = collections.Counter("abracadabra" * 3)
    chain = collections.ChainMap({"a": 1}, {"b": 2})
    user = [collections.UserDict(a=1), collections.UserList([1]),
            collections.UserString("u")]
    proxy = types.MappingProxyType({"p": 1})
    views = [made[30].keys(), made[30].values(), made[30].items(),
             iter(made[30]), iter(made[30].items()), reversed(made[30]),
             iter(ordered[3]), ordered[3].keys(), ordered[3].items()]
    frozen = []
    try:
        frozen = [frozendict(), frozendict(a=1),        # noqa: F821 (3.15)
                  frozendict({i: i for i in range(50)})]  # noqa: F821
    except NameError:
        pass
    return (made, mixed, holes, emptied, cleared, copied, copied_whole,
            from_keys, from_strings, updated, unicode_then_general, sub,
            ordered, default, counter, chain, user, proxy, views, frozen)


@builder
def sets():
    class Set(set):
        pass

    class FrozenSet(frozenset):
        pass

    made = [set(range(n)) for n in range(60)]
    made += [set(map(str, range(n))) for n in (1, 5, 100, 5000)]
    made += [frozenset(range(n)) for n in range(20)]
    made += [frozenset((i, "a")) for i in range(100)]
    made += [frozenset(COUNT), frozenset()]
    removed = set(range(1000))
    for i in range(900):
        removed.discard(i)
    cleared = set(range(1000))
    cleared.clear()
    sub = Set([1, 2])
    sub.a = 1
    fsub = FrozenSet([1, 2])
    fsub.a = 1
    return made, removed, cleared, sub, fsub, iter(made[5])
