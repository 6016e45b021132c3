# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a heap: what the standard library has, above all in C."""

import sys

from parts import attempt, builder, on_request

@builder
def collections_in_c():
    import array
    import collections
    import itertools

    deques = [collections.deque(range(n)) for n in
              (0, 1, 31, 32, 63, 64, 65, 128, 1000)]
    deques += [collections.deque(range(100), maxlen=10),
               collections.deque(maxlen=5)]
    rotated = collections.deque(range(500))
    rotated.rotate(250)
    popped = collections.deque(range(1000))
    for _ in range(900):
        popped.popleft()

    class Deque(collections.deque):
        pass

    sub = Deque([1])
    sub.a = 1
    arrays = [array.array(c) for c in "bBhHiIlLqQfd"]
    arrays += [array.array("d", range(n)) for n in (1, 10, 1000)]
    arrays += [array.array("u", "text")]
    grown = array.array("i")
    for i in range(1000):
        grown.append(i)
    shrunk = array.array("i", range(1000))
    del shrunk[10:]
    iterators = [
        iter([1, 2]), iter((1, 2)), iter("ab"), iter("\u65e5"), iter(b"ab"),
        iter(bytearray(b"ab")), iter({1}), iter(range(3)), iter(range(10 ** 20)),
        reversed([1]), reversed((1, 2)), reversed(range(3)), iter(int, 1),
        enumerate("a"), enumerate("a", 1 << 70), zip([1], [2]), map(len, ["a"]),
        filter(None, [1]), iter(deques[3]), reversed(deques[3]),
        iter(arrays[-1]), itertools.count(), itertools.count(0.5, 2),
        itertools.cycle([1, 2]), itertools.repeat(1), itertools.repeat(1, 5),
        itertools.accumulate([1]), itertools.chain([1], [2]),
        itertools.chain.from_iterable([[1]]), itertools.compress("ab", [1, 0]),
        itertools.dropwhile(len, [""]), itertools.takewhile(len, ["a"]),
        itertools.filterfalse(len, ["a"]), itertools.islice([1, 2], 1),
        itertools.starmap(len, [("a",)]), itertools.zip_longest([1], [2, 3]),
        itertools.product("ab", repeat=2), itertools.permutations("abc"),
        itertools.combinations("abc", 2),
        itertools.combinations_with_replacement("abc", 2),
        itertools.groupby("aabb"), *itertools.tee([1, 2, 3])]
    if hasattr(itertools, "pairwise"):
        iterators.append(itertools.pairwise([1, 2, 3]))
    if hasattr(itertools, "batched"):
        iterators.append(itertools.batched("abcdef", 2))
    for it in iterators[15:]:
        try:
            next(it)
        except (StopIteration, TypeError):
            pass
    grouped = itertools.groupby("aabb")
    inner = next(grouped)
    return (deques, rotated, popped, sub, arrays, grown, shrunk, iterators,
            grouped, inner)


@builder
def text_and_io():
    import codecs
    import csv
    import io
    import re
    import string
    import struct
    import tempfile

    files = [io.BytesIO(), io.BytesIO(b"x" * 1000), io.StringIO(),
             io.StringIO("text" * 100), io.StringIO("\u65e5" * 100)]
    written = io.BytesIO()
    for i in range(100):
        written.write(b"0123456789")
    text = io.StringIO()
    for i in range(100):
        text.write("0123456789")
    exported = io.BytesIO(b"exported" * 100)
    buffer = exported.getbuffer()
    raw = open("/dev/null", "rb", buffering=0)
    opened = [raw, open("/dev/null", "rb"), open("/dev/null", "wb"),
              open("/dev/null"), open("/dev/null", "w"),
              tempfile.TemporaryFile(), io.BufferedRWPair(
                  open("/dev/null", "rb", 0), open("/dev/null", "wb", 0)),
              open("/etc/passwd"), open("/etc/passwd", "rb")]
    opened[-2].readline()
    opened[-1].readline()
    patterns = [re.compile(r"(\w+)-%d" % i) for i in range(10)]
    patterns += [re.compile(b"bytes"), re.compile("[a-z]{1,3}(?P<name>x|y)?")]
    matches = [p.match("ab-%d" % i) for i, p in enumerate(patterns[:10])]
    return (files, written, text, exported, buffer, opened, patterns, matches,
            patterns[0].scanner("x"), patterns[0].finditer("ab-0 cd-0"),
            [struct.Struct(f) for f in ("<i", "10s", "@qqdd5x", "")],
            struct.iter_unpack("<i", bytes(8)),
            csv.reader(["a,b"]), csv.writer(text), csv.Dialect,
            codecs.lookup("utf-8"), codecs.getincrementaldecoder("utf-8")(),
            codecs.getincrementalencoder("shift_jis")(),
            codecs.getincrementaldecoder("gb18030")(),
            string.Template("$a"), io.IncrementalNewlineDecoder(None, True),
            str.maketrans({i: "x" for i in range(128)}),
            "{a!r:>5}".__format__, string.Formatter().parse("{a}{b}"))


@builder
def values():
    import datetime
    import decimal
    import fractions
    import ipaddress
    import pathlib
    import random
    import uuid

    decimals = [decimal.Decimal(s) for s in
                ("0", "1", "-1.5", "NaN", "Infinity", "1e1000", "9" * 18,
                 "9" * 19, "9" * 38, "9" * 76, "9" * 77, "9" * 5000,
                 "0." + "1" * 300)]
    grown = decimal.Decimal(2) ** 100
    decimal.getcontext().prec = 2000
    grown_big = decimal.Decimal(2) ** 3000
    decimal.getcontext().prec = 28

    class D(decimal.Decimal):
        pass

    sub = D("1.5")
    sub.a = 1
    zone = datetime.timezone(datetime.timedelta(hours=2), "named")
    made = [datetime.date(2020, 1, 1), datetime.time(1, 2, 3),
            datetime.time(1, 2, tzinfo=zone),
            datetime.datetime(2020, 1, 1, 3), datetime.timedelta(days=3),
            datetime.datetime(2020, 1, 1, tzinfo=zone), zone,
            datetime.timezone.utc]

    class When(datetime.datetime):
        pass

    when = When(2020, 1, 1)
    when.a = 1
    zones = None
    if sys.version_info >= (3, 9):
        zones = attempt(zone_info)
    return (decimals, grown, grown_big, sub, decimal.getcontext(),
            decimal.Context(prec=5), made, when, zones,
            [fractions.Fraction(i, 7) for i in range(10)], uuid.UUID(int=5),
            random.Random(5), pathlib.Path("/a/b"), pathlib.PurePath("c"),
            ipaddress.ip_address("10.0.0.1"))


def zone_info():
    import zoneinfo
    try:
        return zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        return None


@builder
def ctypes_objects():
    import ctypes

    class Point(ctypes.Structure):
        _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]

    class Big(ctypes.Structure):
        _fields_ = [("data", ctypes.c_char * 100), ("p", ctypes.POINTER(Point)),
                    ("bits", ctypes.c_int, 3)]

    class Either(ctypes.Union):
        _fields_ = [("i", ctypes.c_int), ("b", ctypes.c_char * 8)]

    point = Point(1, 2)
    big = Big(b"abc", ctypes.pointer(point), 1)
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x)
    array = (ctypes.c_int * 10)(*range(10))
    objects = (ctypes.py_object * 3)([], {}, "s")
    return (point, big, Either(), [Point(i, i) for i in range(20)], callback,
            array, objects, (Point * 5)(), ctypes.pointer(point),
            ctypes.byref(point), ctypes.c_int(5), ctypes.c_char_p(b"text"),
            ctypes.c_wchar_p("wide"), ctypes.create_string_buffer(500),
            ctypes.py_object([1]), ctypes.cast(array, ctypes.c_void_p),
            ctypes.CDLL(None), ctypes.CDLL(None).getpid, ctypes.c_longdouble(1))


@builder
def databases():
    return attempt(_databases)


def _databases():
    import sqlite3
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("create table t (a integer, b text, c blob)")
    connection.executemany("insert into t values (?, ?, ?)",
                           [(i, str(i), b"%d" % i) for i in range(200)])
    connection.create_function("f", 1, lambda x: x)
    rows = connection.execute("select * from t").fetchall()
    cursor = connection.execute("select a from t")
    next(cursor)
    return connection, rows, cursor


@builder
def contexts():
    import contextlib
    import contextvars
    variables = [contextvars.ContextVar("v%d" % i, default=i)
                 for i in range(200)]
    tokens = [v.set(str(i)) for i, v in enumerate(variables)]
    small = contextvars.Context()
    small.run(variables[0].set, 1)
    copies = [contextvars.copy_context() for _ in range(5)]
    tokens[0].var
    return (variables, tokens, small, copies, iter(copies[0]),
            copies[0].items(), contextlib.ExitStack(), contextlib.suppress(OSError))


@builder
def asyncio_objects():
    import asyncio

    loop = asyncio.new_event_loop()

    async def leaf(n):
        await asyncio.sleep(1000)

    async def top(n):
        await leaf(n)

    tasks = [loop.create_task(top(i)) for i in range(15)]
    future = loop.create_future()
    future.add_done_callback(lambda f: None)
    future.add_done_callback(len)
    done = loop.create_future()
    done.set_result(5)
    failed = loop.create_future()
    failed.set_exception(ValueError("failed"))
    cancelled = loop.create_future()
    cancelled.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))

    async def makes():
        return (asyncio.Lock(), asyncio.Event(), asyncio.Queue(),
                asyncio.Semaphore(2), asyncio.Condition())

    made = loop.run_until_complete(makes())
    tasks[0].cancel()
    return loop, tasks, future, done, failed, cancelled, made


@builder
def markup():
    import xml.etree.ElementTree as tree
    import xml.parsers.expat as expat
    root = tree.Element("root", {"a": "1"})
    for i in range(200):
        child = tree.SubElement(root, "child%d" % (i % 3))
        if i % 2:
            child.set("k", str(i))
        if i % 5 == 0:
            child.text, child.tail = "text %d" % i, "tail"
        if i % 10 == 0:
            for j in range(10):
                tree.SubElement(child, "grandchild")
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda *a: None
    parser.Parse("<a><b>", False)
    return (root, tree.ElementTree(root), root.iter(), parser,
            tree.XMLParser(), tree.TreeBuilder(), tree.fromstring(
                "<a x='1'>t<b/>u</a>"))


@builder
def serializers():
    import io
    import json
    import marshal
    import pickle
    pickler = pickle.Pickler(io.BytesIO())
    shared = [1, 2, 3]
    pickler.dump([shared, shared, {"a": (1, 2)}, "text" * 50])
    unpickler = pickle.Unpickler(io.BytesIO(pickle.dumps([shared] * 3)))
    unpickler.load()
    return (pickler, unpickler, pickler.memo, unpickler.memo,
            json.JSONEncoder(), json.JSONDecoder(), json.loads('{"a": [1, 2.5]}'),
            marshal.loads(marshal.dumps((1, "two", b"three", 4.0))),
            pickle.loads(pickle.dumps({"k": shared})))


@builder
def compressors():
    made = []
    for name in ("zlib", "bz2", "lzma", "zstd"):
        made.append(attempt(_compressor, name))
    return made


def _compressor(name):
    import importlib
    module = importlib.import_module(
        "compression.zstd" if name == "zstd" else name)
    if name == "zlib":
        c, d = module.compressobj(), module.decompressobj()
    elif name == "zstd":
        c, d = module.ZstdCompressor(), module.ZstdDecompressor()
    else:
        c = getattr(module, name.upper() + "Compressor")()
        d = getattr(module, name.upper() + "Decompressor")()
    data = module.compress(b"data" * 100)
    c.compress(b"data" * 100)
    d.decompress(data[:20])
    return c, d


@builder
def hashes():
    import hashlib
    import hmac
    made = [hashlib.new(n) for n in ("md5", "sha1", "sha256", "sha512",
                                     "sha3_256", "blake2b", "blake2s")]
    for h in made:
        h.update(b"data")
    made.append(hmac.new(b"key", b"data", "sha256"))
    for name in ("_md5", "_sha1", "_sha256", "_sha2", "_sha512", "_sha3",
                 "_blake2"):
        made.append(attempt(_builtin_hash, name))
    return made


def _builtin_hash(name):
    import importlib
    module = importlib.import_module(name)
    made = []
    for n in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512",
              "sha3_256", "shake_128", "blake2b", "blake2s"):
        if hasattr(module, n):
            made.append(getattr(module, n)(b"data"))
    return made


@builder
def system_objects():
    import mmap
    import os
    import select
    import selectors
    import socket
    a, b = socket.socketpair()
    epoll = attempt(select.epoll)
    poll = select.poll()
    poll.register(a.fileno())
    selector = selectors.DefaultSelector()
    selector.register(b, selectors.EVENT_READ)
    return (a, b, epoll, poll, selector, mmap.mmap(-1, 8192),
            attempt(ssl_objects), os.scandir("/"), next(os.scandir("/")),
            os.environ, attempt(misc_modules))


def ssl_objects():
    import ssl
    context = ssl.create_default_context()
    bio = [ssl.MemoryBIO(), ssl.MemoryBIO()]
    bio[0].write(b"data")
    return context, bio, context.wrap_bio(bio[0], bio[1], server_hostname="a")


def misc_modules():
    import ast
    import gettext
    import graphlib
    import logging
    import logging.handlers
    import symtable
    import textwrap
    import tokenize
    import traceback
    import unicodedata
    logger = logging.getLogger("everything.a.b")
    logger.addHandler(logging.handlers.MemoryHandler(10))
    module = ast.parse("def f(a, b=1):\n  return [x for x in a if x > b]\n")
    return (logger, module, symtable.symtable("a = 1", "f", "exec"),
            unicodedata.ucd_3_2_0, textwrap.TextWrapper(),
            gettext.NullTranslations(), graphlib.TopologicalSorter({1: [2]}),
            traceback.StackSummary.extract(traceback.walk_stack(None)),
            tokenize.generate_tokens)


@builder
def threads():
    import _thread
    import concurrent.futures
    import queue
    import threading
    stop = threading.Event()
    local = threading.local()
    local.main = 1
    ready = threading.Barrier(4)

    def work(n):
        mine = {"thread": n, "list": list(range(n + 5))}
        local.value = mine
        ready.wait()
        stop.wait()

    started = [threading.Thread(target=work, args=(i,), daemon=True,
                                name="worker %d" % i) for i in range(3)]
    for t in started:
        t.start()
    ready.wait()
    simple = queue.SimpleQueue()
    for i in range(100):
        simple.put(i)
    simple.get()
    full = queue.Queue(5)
    full.put(1)
    held = threading.RLock()
    held.acquire()
    return (stop, local, started, simple, full, held, _thread.allocate_lock(),
            threading.Condition(), threading.Semaphore(3),
            threading.Timer(1000, len), concurrent.futures.Future(),
            queue.PriorityQueue(), queue.LifoQueue(), sys._getframe(),
            sys._current_frames())


INSIDE = """
import sys
sys.path.insert(0, {path!r})
import gc
import truth

class Inner:
    def __init__(self, i):
        self.i = i

class InnerSlots:
    __slots__ = ("a", "b")

keep = [[Inner(i) for i in range(777)], [InnerSlots() for i in range(333)],
        [{{"inner": i}} for i in range(500)], ["inner %d" % i for i in range(500)],
        [(i, float(i)) for i in range(500)], {{i for i in range(50)}}]
gc.collect()
gc.disable()
"""


@on_request
def interpreters():
    import os
    import truth
    try:
        import _interpreters as module
    except ImportError:
        import _xxsubinterpreters as module

    def run(i, source):
        problem = module.run_string(i, source)
        if problem is not None:
            raise RuntimeError(str(problem))

    for _ in range(2):
        i = module.create()
        run(i, INSIDE.format(path=os.path.dirname(os.path.abspath(__file__))))
        truth.other_interpreters.append((i, run))
