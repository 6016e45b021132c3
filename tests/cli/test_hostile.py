# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound processes with unusual heaps: counts are exact, and nothing takes long."""

import os
import resource
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import made             # noqa: E402
import tool             # noqa: E402
from runner import Skip, each_python     # noqa: E402

SECONDS = 20    # of processor time; each takes less than one


def spent():
    """Processor time of all children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ask(python, name, source, wait=made.WAIT, allowed=(), **keywords):
    """(the answer of types, its rows by name) about a process that ran source."""
    core = made.python_core(name, made.written(".", name + ".py", source + wait),
                            python=python, **keywords)
    started = spent()
    made.check_answer(made.run("info", core, "--json"))
    document = made.check_answer(made.run("types", core, "--json", "--limit", "0"))
    took = spent() - started
    assert took < SECONDS, f"{took:.1f} s"
    kinds = {w["kind"] for w in document["warnings"]}
    assert kinds <= set(allowed), document["warnings"]
    trust = document["trust"]
    assert trust["blocks"] == sum(
        trust[k] for k in ("objects", "owned", "freelist", "unexplained")), trust
    shutil.rmtree(name, ignore_errors=True)
    return document, {row["type"]: row for row in document["types"]}


# ---- long chains

@made.in_empty_directory
def test_a_linked_list_of_a_million_nodes():
    python = made.an_interpreter()
    for name, slots in (("slots", '__slots__ = ("next",)'), ("dicts", "pass")):
        _, rows = ask(python, name, f"""
class Node:
    {slots}
head = None
for _ in range(1000000):
    node = Node()
    node.next = head
    head = node
""")
        assert rows["__main__.Node"]["count"] == 1000000
        assert rows["__main__.Node"]["gc_tracked"] == 1000000


@each_python()
@made.in_empty_directory
def test_deeply_nested(python):
    _, rows = ask(python, "nested", """
a, b, c = [], (), {}
for _ in range(100000):
    a, b, c = [a], (b,), {0: c}
""")
    for kind in ("list", "tuple", "dict"):
        assert 100000 <= rows[f"builtins.{kind}"]["count"] < 110000, rows[f"builtins.{kind}"]


# ---- large ones

@made.in_empty_directory
def test_a_dict_of_five_million():
    _, rows = ask(made.an_interpreter(), "large", """
import sys
kept = {i: None for i in range(5000000)}
other = set(range(1000000))
class Size:
    pass
size = [Size() for _ in range(sys.getsizeof(kept) >> 20)]
""")
    dicts = rows["builtins.dict"]["bytes"]
    assert 0 <= (dicts >> 20) - rows["__main__.Size"]["count"] <= 3, rows["builtins.dict"]
    assert rows["builtins.int"]["count"] >= 5999000


@made.in_empty_directory
def test_sizes_over_32_bits():
    """Never touched: the memory is not needed, only promised."""
    free = shutil.disk_usage(".").free
    if free < 12 << 30:
        raise Skip("not enough disk for a sparse core, should its holes be written")
    python = made.an_interpreter()
    try:
        with made.cores.Target(python, os.path.abspath("large"), options=("-S", "-E"),
                               script=made.written(".", "large.py", """
kept = bytes(5 << 30)
class Marker:
    pass
marker = Marker()
""" + made.WAIT)) as target:
            target.truth_path()
            core = target.core("kernel", os.path.abspath("core"))
    except (made.cores.TargetFailed, made.cores.Unavailable) as e:
        raise Skip(f"no such large process: {e}")
    if os.stat(core).st_blocks * 512 > 1 << 30:
        raise Skip("the kernel wrote the core's holes")
    rows = {r["type"]: r for r in tool.ask("types", core, "--limit", "0")["types"]}
    assert 5 << 30 < rows["builtins.bytes"]["bytes"] < (5 << 30) + (16 << 20), (
        rows["builtins.bytes"])
    before = tool.ask("diff", core, core)["totals"]["before"]["bytes"]
    assert before > 5 << 30


@made.in_empty_directory
def test_twenty_thousand_classes():
    _, rows = ask(made.an_interpreter(), "classes", """
classes = [type("C%d" % i, (), {"n": i}) for i in range(20000)]
kept = [c() for c in classes]
same = [type("Same", (), {})() for i in range(5000)]
""")
    assert sum(name.startswith("__main__.C") for name in rows) == 20000
    assert rows["__main__.Same"]["count"] == rows["__main__.Same"]["type_objects"] == 5000


# ---- many threads

@each_python()
@made.in_empty_directory
def test_two_hundred_threads(python):
    core = made.python_core("threads", made.written(".", "threads.py", """
import _thread, time
held = _thread.allocate_lock()
held.acquire()
ready = []
class Local:
    pass
def wait(depth):
    local = Local()
    if depth:
        wait(depth - 1)
    else:
        ready.append(1)
        held.acquire()
_thread.stack_size(256 * 1024)
for i in range(200):
    _thread.start_new_thread(wait, (i % 20,))
while len(ready) < 200:
    time.sleep(0.01)
""" + made.WAIT), python=python)
    document = made.check_answer(made.run("info", core, "--json"))
    assert len(document["threads"]) == 201, len(document["threads"])
    lwps = [t["native_id"] for t in document["threads"]]
    assert None not in lwps and len(set(lwps)) == 201
    rows = {r["type"]: r for r in tool.ask("types", core)["types"]}
    assert rows["__main__.Local"]["count"] == 200 * 10.5, rows["__main__.Local"]


# ---- types that are not what they say

FAKES = """
import sys
def some(count, kind):
    out = [kind() for _ in range(count)]
    for o in out:
        try:
            o.attribute = 1
        except AttributeError:
            pass
    return out
kept = [
    some(11, type("collections.deque", (), {})),
    some(12, type("collections.OrderedDict", (), {"__slots__": ["a%d" % i for i in range(30)]})),
    some(13, type("bool", (), {"__module__": "builtins"})),
    some(14, type("float", (), {"__module__": "made.up", "__slots__": ()})),
    some(15, type("code", (), {"__module__": "made.up"})),
    some(16, type("module", (), {"__module__": "made.up", "__slots__": ()})),
    some(17, type("frame", (), {"__module__": "made.up"})),
    some(18, type("array.array", (), {"__slots__": ["a%d" % i for i in range(9)]})),
    some(19, type("generator", (), {"__module__": "made.up", "__slots__": "x"})),
    some(20, type("dict", (dict,), {"__module__": "made.up"})),
    some(21, type("type", (type,), {"__module__": "made.up"}) and (
        lambda: type("type", (type,), {"__module__": "made.up"})("x", (), {}))),
    some(22, type("function", (), {"__module__": "builtins", "__slots__": ()})),
    some(23, type("NoneType", (), {"__module__": "builtins"})),
]
"""


@each_python()
@made.in_empty_directory
def test_names_do_not_make_kinds(python):
    core = made.python_core("fakes", made.written(".", "fakes.py", FAKES + made.WAIT),
                            python=python)
    rows = {r["type"]: r for r in tool.ask("types", core, "--limit", "0")["types"]}
    for name, count in {
            "__main__.collections.deque": 11, "__main__.collections.OrderedDict": 12,
            "builtins.bool": 15, "made.up.float": 14, "made.up.code": 15, "made.up.module": 16,
            "made.up.frame": 17, "__main__.array.array": 18, "made.up.generator": 19,
            "made.up.dict": 20, "builtins.NoneType": 24}.items():
        assert rows[name]["count"] == count, f"{name}: expected {count}: {rows[name]}"
    assert rows["builtins.function"]["count"] >= 22
    addresses = [a for name in ("builtins.bool", "builtins.NoneType", "builtins.function",
                                "made.up.code", "made.up.float", "made.up.module")
                 for a in made.addresses(core, name)]
    done = made.run("object", core, "-", "--json", input="\n".join(addresses).encode())
    values = {}
    for o in made.check_answer(done)["objects"]:
        values.setdefault(o["type"], set()).add(o["value"])
    assert values["builtins.bool"] <= {"True", "False", None}, values["builtins.bool"]
    assert values["made.up.float"] == {None} and values["made.up.code"] == {None}, values


@each_python()
@made.in_empty_directory
def test_huge_reference_counts(python):
    ask(python, "counts", """
import ctypes
class Often:
    pass
kept = [Often() for _ in range(7)]
for shift, o in enumerate(kept):
    ctypes.c_ssize_t.from_address(id(o)).value += 1 << 28 + shift if shift < 3 else 1000
""", allowed=("unexplained-blocks",))


# ---- the collector

@each_python()
@made.in_empty_directory
def test_frozen(python):
    _, rows = ask(python, "frozen", """
import gc
class Kept:
    pass
old = [Kept() for _ in range(1000)]
gc.freeze()
new = [Kept() for _ in range(500)]
""")
    assert rows["__main__.Kept"]["count"] == rows["__main__.Kept"]["gc_tracked"] == 1500


COLLECTING = """
import gc, sys
class Garbage:
    pass
class Finalized:
    def __del__(self):
        pass
class Stop:
    def __del__(self):
        with open(sys.argv[1] + ".1", "w"):
            pass
        sys.stdin.readline()
def make(kind, count):
    for _ in range(count):
        o = kind()
        o.itself = o
gc.disable()
kept = [[] for _ in range(10000)]
make(Garbage, 1000)
make(Finalized, 1000)
make(Stop, 1)
make(Finalized, 1000)
gc.collect()
"""


@each_python()
@made.in_empty_directory
def test_in_the_middle_of_a_collection(python):
    """Its links are in other use then: nothing may get lost by that."""
    _, rows = ask(python, "collecting", COLLECTING, wait="", allowed=("collecting",))
    for name, count in (("Garbage", 1000), ("Finalized", 2000), ("Stop", 1)):
        assert rows[f"__main__.{name}"]["count"] == count, (name, rows[f"__main__.{name}"])
    assert rows["builtins.list"]["count"] > 10000
    _, rows = ask(python, "callback", """
import gc, sys
class Kept:
    pass
kept = [Kept() for _ in range(1000)]
def callback(phase, info):
    if phase == "start":
        with open(sys.argv[1] + ".1", "w"):
            pass
        sys.stdin.readline()
gc.callbacks.append(callback)
gc.collect()
""", wait="", allowed=("collecting",))
    assert rows["__main__.Kept"]["count"] == rows["__main__.Kept"]["gc_tracked"] == 1000


# ---- other allocators

@each_python()
@made.in_empty_directory
def test_allocators(python):
    source = """
class Kept:
    pass
kept = [Kept() for _ in range(1000)]
lists = [[i] for i in range(1000)]
"""
    allocators = ["malloc", "malloc_debug", "pymalloc_debug"]
    if python.minor >= (3, 13):
        allocators.append("mimalloc")
    for options in (("-S",), ("-S", "-X", "dev")):
        _, usual = ask(python, "usual", source, options=options,
                       env={"PYTHONMALLOC": "pymalloc"})
        for allocator in allocators:
            _, rows = ask(python, allocator, source, options=options,
                          env={"PYTHONMALLOC": allocator}, allowed=())
            assert rows["__main__.Kept"] == usual["__main__.Kept"], (allocator, options)
            for name in ("builtins.list", "builtins.type", "builtins.str"):
                there, wanted = rows[name]["count"], usual[name]["count"]
                assert abs(there - wanted) < wanted / 20 + 20, (allocator, options, name, there,
                                                                wanted)


# ---- at its beginning and at its end

@each_python()
@made.in_empty_directory
def test_before_and_after_python_runs(python):
    core = made.python_core("ending", made.written(".", "ending.py", """
import os, sys
class Last:
    def __init__(self):
        self.os, self.out = os, sys.argv[1] + ".1"
    def __del__(self):
        self.os.close(self.os.open(self.out, self.os.O_CREAT | self.os.O_WRONLY))
        self.os.read(0, 1)
last = Last()
last.itself = [last]
"""), python=python)
    done = made.run("types", core, "--json")
    if done.returncode == 3:
        made.check_refused(done, core)
    else:
        assert "__main__.Last" in {r["type"] for r in made.check_answer(done)["types"]}
