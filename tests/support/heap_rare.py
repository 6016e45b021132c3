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


@builder
def every_exception():
    """An instance of each exception of C that can be made of nothing, a text, or two."""
    def kinds(kind):
        yield kind
        for below in type.__subclasses__(kind):
            yield from kinds(below)

    def texts(kind):
        for arguments in ((), ("text",), ("text", [ValueError("inner")])):
            try:
                return kind(*arguments)
            except Exception:
                pass

    return [texts(kind) for kind in set(kinds(BaseException))
            if kind.__module__ in ("builtins", "ssl", "_csv", "concurrent.interpreters")]


@builder
def last_of_all():
    """What nothing else here has an instance of."""
    import asyncio
    import codecs
    import contextvars
    import csv
    import ctypes
    import hashlib
    import io
    import json
    import os
    import signal
    import sqlite3
    import threading
    import types
    import typing
    import zlib

    def method():
        new = ctypes.pythonapi.PyInstanceMethod_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.py_object]
        return new(len)

    def ended():
        child = os.fork()
        if not child:
            os._exit(0)
        return os.waitid(os.P_PID, child, os.WEXITED)

    def signalled():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        info = signal.sigwaitinfo([signal.SIGUSR1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        return info

    def blob():
        connection = sqlite3.connect(":memory:")
        connection.execute("create table t (b blob)")
        connection.execute("insert into t values (x'0102')")
        return connection.blobopen("t", "b", 1)

    def waiting():
        async def nothing():
            pass
        loop = asyncio.new_event_loop()
        return loop, loop.create_task(nothing())

    def unraisable():
        seen = []
        hook, sys.unraisablehook = sys.unraisablehook, seen.append

        class Fails:
            def __del__(self):
                raise ValueError("in vain")
        Fails()
        sys.unraisablehook = hook
        return seen[0]

    def dictionary():
        from compression import zstd
        return zstd.ZstdDict(b"0" * 100, is_raw=True)

    def hashes():
        import _hmac
        return _hmac.new(b"key", b"text", "sha256")

    def sums():
        import _sha3
        return _sha3.sha3_224(), _sha3.sha3_384(), _sha3.sha3_512(), _sha3.shake_256()

    def graphemes():
        import unicodedata
        found = unicodedata.iter_graphemes("ab")
        return found, next(found)

    def template():
        return iter(eval("t'a {1} b'"))

    made = [attempt(make) for make in (
        method, ended, signalled, blob, waiting, unraisable, dictionary, hashes, sums, graphemes,
        lambda: os.statx("/", 0xfff),
        lambda: contextvars.copy_context().values(),
        lambda: codecs.getwriter("gb18030")(open("/dev/null", "wb")),
        lambda: io._io._IOBase(), lambda: io._io._RawIOBase(), lambda: io._io._BufferedIOBase(),
        lambda: io._io._TextIOBase(), lambda: zlib._ZlibDecompressor(),
        lambda: json.encoder.c_make_encoder(None, str, str, None, ":", ",", False, False, True),
        lambda: threading.ExceptHookArgs((ValueError, None, None, None)),
        lambda: [typing.ParamSpec("P").args, typing.ParamSpec("P").kwargs],
        lambda: types.GenericAlias(list, (int,)), lambda: csv.Error("text"))]
    if sys.version_info >= (3, 14):
        made.append(template())
    return made, [attempt(lambda name=name: hashlib.new(name, usedforsecurity=False)
                          if sys.version_info >= (3, 9) else hashlib.new(name))
                  for name in sorted(hashlib.algorithms_guaranteed)]


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
