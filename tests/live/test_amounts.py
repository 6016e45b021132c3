# SPDX-License-Identifier: GPL-3.0-or-later
"""By how much a damaged core's answer differs from the whole one's: what its warnings say is enough."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import struct
import tempfile

import cores
import tool
from runner import Skip, each_python, oldest_and_newest, one_of_each_minor

# Lists whose heads are in pools, and whose items are malloc's; strings in pools, every
# second of which is freed again; where the interpreter has its dicts, and a list of the collector.
SCRIPT = """
import ctypes, gc, json, os, sys, threading
gc.disable()
class Node:
    def __init__(self, value): self.value = value
nodes = [Node(i) for i in range(6000)]
lists = [[0] * 400 for _ in range(2000)]
texts = ["a string of some length, number %d" % i for i in range(4000)]
places = [id(t) for t in texts[::2]]
del texts[::2]
large = [list(range(300000))]
ctypes.pythonapi.PyInterpreterState_Head.restype = ctypes.c_void_p
head = ctypes.pythonapi.PyInterpreterState_Head()
words = (ctypes.c_uint64 * 1024).from_address(head)
def field(o):
    return next((head + 8 * i for i, word in enumerate(words) if word == id(o)), None)
def word(at):
    return ctypes.c_uint64.from_address(at).value
tracked = set(map(id, gc.get_objects()))
link = id(nodes[0]) - 16
while link + 16 in tracked:
    link = word(link + 8) & ~3
truth = {"nodes": list(map(id, nodes)), "lists": list(map(id, lists)), "places": places,
         "items": [word(id(o) + 24) for o in lists], "modules": field(sys.modules),
         "garbage": field(gc.garbage), "collector": link, "dict": id(__builtins__.__dict__)}
with open(sys.argv[1] + ".new", "w") as f:
    json.dump(truth, f)
os.rename(sys.argv[1] + ".new", sys.argv[1] + ".1")
sys.stdin.read()
"""

SEGMENT, HEADER = struct.Struct("<IIQQQQQQ"), 48


class Damaged:
    """A core that is written into, and put right again."""

    def __init__(self, python, directory: str, env: dict[str, str] | None = None):
        script = os.path.join(directory, "target.py")
        with open(script, "w") as f:
            f.write(SCRIPT)
        with cores.Target(python, directory, script=script, env=env) as target:
            with open(target.truth_path()) as f:
                self.truth = json.load(f)
            self.path = target.core("gcore", os.path.join(directory, "core"))
        with open(self.path, "rb") as f:
            head = f.read(64)
            f.seek(struct.unpack_from("<Q", head, 32)[0])
            table = f.read(SEGMENT.size * struct.unpack_from("<H", head, 56)[0])
        self.loads = [(start, size, offset) for kind, _, offset, start, _, size, *_
                      in SEGMENT.iter_unpack(table) if kind == cores.PT_LOAD]
        self.pool_bytes = 4096 if python.minor < (3, 10) else 16384
        self.whole = tool.ask("types", self.path, "--limit", "0")
        assert not self.whole["warnings"], self.whole["warnings"]

    def pools(self, name: str) -> list[int]:
        """Those with the most of such objects first."""
        counts = collections.Counter(place & -self.pool_bytes for place in self.truth[name])
        return [pool for pool, _ in counts.most_common()]

    def place(self, address: int) -> int:
        return next(offset + address - start for start, size, offset in self.loads
                    if start <= address < start + size)

    @contextlib.contextmanager
    def written(self, *writes: tuple[int, bytes]):
        with open(self.path, "r+b", buffering=0) as f:
            before = [(self.place(at), os.pread(f.fileno(), len(data), self.place(at)))
                      for at, data in writes]
            for at, data in writes:
                os.pwrite(f.fileno(), data, self.place(at))
            yield
            for place, data in before:
                os.pwrite(f.fileno(), data, place)

    def read(self, at: int, form: str) -> int:
        with open(self.path, "rb") as f:
            return struct.unpack(form, os.pread(f.fileno(), struct.calcsize(form), self.place(at)))[0]

    def ask(self, *writes: tuple[int, bytes]) -> tuple[int, dict]:
        """How many bytes are missing (below 0: too many), and the warnings by kind."""
        with self.written(*writes):
            part = tool.ask("types", self.path, "--limit", "0")
        warnings = {w["kind"]: w for w in part["warnings"]}
        missing = total(self.whole) - total(part)
        assert abs(missing) <= sum(w["bytes"] for w in part["warnings"]), (missing, warnings)
        return missing, warnings


def amounts(path: str) -> list[tuple]:
    return [(w["kind"], w["text"], w["count"], w["bytes"]) for w in tool.ask("types", path)["warnings"]]


def total(document: dict) -> int:
    return document["totals"]["bytes"] + document["totals"]["owned"]


def check_pools(core: Damaged) -> None:
    size = core.pool_bytes
    # The items of a list are elsewhere: more is missing than its pool has.
    for kind, damage in (("blank-pool", bytes(HEADER)), ("pool", b"\1" + b"\xff" * (HEADER - 1))):
        pools = core.pools("lists")[:3]
        missing, warnings = core.ask(*((pool, damage) for pool in pools))
        assert warnings[kind]["count"] == len(pools), warnings
        assert warnings[kind]["bytes"] == len(pools) * size, warnings
        assert missing > 2 * len(pools) * size, missing
    with core.written(*((pool, bytes(HEADER)) for pool in core.pools("lists")[:3])):
        tool.run("save", core.path, "-o", core.path + ".saved")
        told = amounts(core.path)
    assert amounts(core.path + ".saved") == told
    # Among so many are the first and the last of an arena.
    pools = core.pools("nodes")
    missing, warnings = core.ask(*((pool, bytes(HEADER)) for pool in pools))
    assert warnings["blank-pool"]["bytes"] == len(pools) * size, (len(pools), warnings)
    assert missing > len(pools) * size / 4, (len(pools), missing)


def check_free_blocks(core: Damaged) -> None:
    pools = core.pools("places")[:4]
    freeblock = 8
    missing, warnings = core.ask(*((pool + freeblock, bytes(8)) for pool in pools))
    assert warnings["pool-count"]["count"] == len(pools), warnings
    assert missing <= 0, missing


def check_chunks(core: Damaged) -> None:
    missing, warnings = core.ask((core.truth["items"][200] - 8, b"\x07" * 8))
    assert warnings["malloc-heap"]["bytes"], warnings
    assert missing >= 0, missing


def check_structures(core: Damaged) -> None:
    if not tool.ask("info", core.path)["layout"]["proved"]:
        return      # then it is an error that names the field
    other = struct.pack("<Q", core.truth["dict"])
    writes = {"sys.modules": (core.truth["modules"], other),
              "gc.garbage and gc.callbacks": (core.truth["garbage"], other)}
    if core.truth["garbage"] is None:       # 3.8 has it in the runtime
        del writes["gc.garbage and gc.callbacks"]
    for name, write in writes.items():
        missing, warnings = core.ask(write)
        assert name in warnings.get("layout-contradicted", {}).get("text", ""), (name, warnings)
        assert not missing and not any(w["bytes"] for w in warnings.values()), (missing, warnings)
    # Both are named.
    with core.written(*writes.values()):
        document = tool.ask("types", core.path)
    texts = " ".join(w["text"] for w in document["warnings"])
    assert all(name in texts for name in writes), texts
    missing, warnings = core.ask((core.truth["collector"], bytes(8)))
    assert "collector-lists" in warnings, warnings
    assert "unowned-memory" in warnings, warnings
    check_list(core)


def check_list(core: Damaged) -> None:
    whole = tool.ask("gc", core.path)
    with core.written((core.truth["collector"], bytes(8))):
        part = tool.ask("gc", core.path)
    text, = [w["text"] for w in part["warnings"] if w["kind"] == "collector-list"]
    listed, left = (sum(g["objects"] for g in d["generations"]) for d in (whole, part))
    assert f": {listed - left} objects" in text and listed - left > 1000, (text, listed, left)


# Their allocators and collectors differ by minor version, not by patch.
@each_python(among=one_of_each_minor)
def test_what_is_missing(python):
    with tempfile.TemporaryDirectory() as directory:
        core = Damaged(python, directory)
        for check in (check_pools, check_free_blocks, check_chunks, check_structures):
            check(core)
        missing, warnings = core.ask()
        assert not missing and not warnings, (missing, warnings)


# mimalloc's types.h, 2.1 and 2.2: mi_segment_t.slices, sizeof(mi_page_t), where and as what it has its block_size.
FORMS = ((264, 80, 28, "<I"), (288, 96, 40, "<Q"))
SLICE, CAPACITY = 64 << 10, 10


def head_of_page(core: Damaged, address: int) -> int:
    """Where mi_page_t of the page with that object is: small ones have one slice."""
    segment = address & -(32 << 20)
    for slices, page, size, form in FORMS:
        at = segment + slices + (address - segment) // SLICE * page
        if core.read(at, "<I") == 1 and core.read(at + size, form) in range(16, 1025, 16):
            return at
    raise AssertionError(f"no page of {address:#x}")


@each_python(among=one_of_each_minor)
def test_heads_of_mimalloc_pages(python):
    if python.minor < (3, 13):
        raise Skip("CPython 3.13 was the first to have mimalloc")
    with tempfile.TemporaryDirectory() as directory:
        core = Damaged(python, directory, {"PYTHONMALLOC": "mimalloc"})
        pages = sorted({head_of_page(core, place) for place in core.truth["places"][::500]})[:2]
        missing, warnings = core.ask(*((at + CAPACITY, b"\xff\xff") for at in pages))
        assert warnings["mimalloc-page"]["bytes"] == len(pages) * SLICE, (pages, warnings)
        # Where its slices are too many, nothing tells where the next page begins.
        missing, warnings = core.ask((pages[0], b"\xff" * 4))
        assert warnings["mimalloc-page"]["bytes"] % SLICE == 0, warnings
        assert not core.ask()[1]


# A finalizer runs before anything of the garbage is cleared, when all of it is off the lists.
COLLECTING = """
import gc, json, os, sys
gc.disable()
class Last:
    def __del__(self):
        with open(sys.argv[1] + ".new", "w") as f:
            f.write(truth)
        os.rename(sys.argv[1] + ".new", sys.argv[1] + ".1")
        sys.stdin.read()
def garbage():
    for i in range(3000):
        ring = [i] * (i % 40)
        ring.append(ring)
        yield sys.getsizeof(ring)
truth = json.dumps(sum(garbage()))
last = [Last()]
last.append(last)
del last
gc.collect()
"""


@each_python(among=oldest_and_newest)
def test_what_a_collection_looks_at(python):
    with tempfile.TemporaryDirectory() as directory:
        script = os.path.join(directory, "target.py")
        with open(script, "w") as f:
            f.write(COLLECTING)
        with cores.Target(python, directory, script=script) as target:
            with open(target.truth_path()) as f:
                garbage = int(f.read())
            core = target.core("gcore", os.path.join(directory, "core"))
        document = tool.ask("types", core)
        warning, = document["warnings"]
        assert warning["kind"] == "collecting", warning
        # And a few of the interpreter's own.
        assert garbage <= warning["bytes"] < garbage + 100_000, (garbage, warning)
        assert total(document) > warning["bytes"]
