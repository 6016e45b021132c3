# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a heap: types that few programs have an instance of."""

import sys

from parts import attempt, builder


@builder
def rare_iterators():
    import collections
    import string

    class Sequence:
        def __getitem__(self, i):
            return [i][i]

    code = compile("a = 1\nb = 2\n", "lines", "exec")
    ordered = collections.OrderedDict(a=1)
    made = [iter(Sequence()), iter({"a": 1}.values()), iter(memoryview(b"ab")),
            reversed({"a": 1}), reversed({"a": 1}.values()),
            reversed({"a": 1}.items()), ordered.values(), iter(ordered.values()),
            string._string.formatter_field_name_split("a.b[0]")[1]]
    for name in ("co_lines", "co_positions"):
        if hasattr(code, name):
            made.append(getattr(code, name)())
    if sys.version_info >= (3, 11):
        made.append(iter(list[int]))
    return made


@builder
def rare_structs():
    import datetime
    import grp
    import os
    import pwd
    import signal
    import time
    return (pwd.getpwuid(0), grp.getgrgid(0), os.uname(), os.sched_param(1),
            os.terminal_size((80, 25)), os.statvfs("/"), time.gmtime(0),
            sys.get_asyncgen_hooks(), sys.thread_info, sys.int_info,
            attempt(lambda: sys._git), signal.sigtimedwait([], 0),
            datetime.date(2020, 1, 1).isocalendar(), datetime.tzinfo(),
            attempt(lambda: os.times_result(range(5))))


@builder
def rare_objects():
    import codecs
    import decimal
    import hashlib
    import pickle
    import re
    import types
    import zipimport

    def asks():
        yield sys._getframe().f_locals

    asking = asks()
    keep = [next(asking), asking]
    re.sub("(a)", r"<\1>", "abc")
    shown = decimal.localcontext()
    shown.__enter__()
    shown.__exit__(None, None, None)
    return (keep, shown, pickle.PickleBuffer(b"data"),
            codecs.charmap_build("".join(map(chr, range(256)))),
            codecs.getreader("gb18030")(open("/dev/null", "rb")),
            codecs.getwriter("utf-8")(open("/dev/null", "wb")),
            hashlib.shake_128(b"data"), hashlib.blake2b(b"data", digest_size=16),
            attempt(semaphore),
            types.DynamicClassAttribute(len), attempt(zip_importer, zipimport))


def semaphore():
    import _multiprocessing
    import os
    return _multiprocessing.SemLock(0, 1, 1, "/ca-test-%d" % os.getpid(), True)


def zip_importer(zipimport):
    import os
    import tempfile
    import zipfile
    fd, path = tempfile.mkstemp(".zip")
    os.close(fd)
    try:
        with zipfile.ZipFile(path, "w") as z:
            for i in range(20):
                z.writestr("module%d.py" % i, "a = %d" % i)
        return zipimport.zipimporter(path)
    finally:
        os.unlink(path)


NEW_SYNTAX = """
try:
    pass
except* ValueError:
    pass
""", """
def f(a, /, b, *, c): return a
match [1, 2]:
    case [x, *rest]: pass
    case {"k": v, **kw}: pass
""", """
n = 5
template = t"a {n!r:>{n}} b"
parts = list(template), template.interpolations
""", """
lazy import colorsys
lazy from graphlib import TopologicalSorter
""", """
class Buffer:
    def __init__(self): self.data = bytearray(10)
    def __buffer__(self, flags): return memoryview(self.data)
view = memoryview(Buffer())
""", """
async def gen():
    yield 1
waiting = anext(gen(), None)
""", """
type Pair[A, B = int] = tuple[A, B]
pair = Pair[int, str]
value = Pair.__value__
""", """
class Annotated:
    a: int
    b: "Missing"
    def m(self, x: Undefined) -> int: return locals
"""


@builder
def new_syntax():
    """What only some versions can compile, or only some can run."""
    spaces = []
    for source in NEW_SYNTAX:
        space = {"__name__": "new"}
        try:
            exec(source, space)
        except (SyntaxError, NameError, TypeError, AttributeError):
            continue
        spaces.append(space)
    return spaces


@builder
def executed():
    """Hot code, so that whatever the interpreter keeps for it is there."""
    def hot(n):
        total = 0
        for i in range(n):
            total += i & 3
            if total > 1000:
                total = len(str(total))
        return total

    class Point:
        def __init__(self, x):
            self.x = x

        def get(self):
            return self.x

    points = [Point(i) for i in range(200)]
    for _ in range(20):
        sum(p.get() for p in points)
    return hot, hot(20000), points


@builder
def deep_structures():
    nested = []
    for _ in range(3000):
        nested = [nested]
    chain = None
    for i in range(3000):
        chain = {"next": chain, "i": i}
    pairs = ()
    for i in range(500):
        pairs = (i, pairs)
    flat = nested, chain, pairs
    return flat
