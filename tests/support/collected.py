# SPDX-License-Identifier: GPL-3.0-or-later
"""The target of the tests of `gc` and `cycles`: cycles, alive and not.

    collected.py OUTPUT PROFILE...

Its forked child writes what its own collector says of the same heap: the
figures of the gc module, the objects of each generation, and then what a full
collection under DEBUG_SAVEALL finds. As truth.py, whose fork it uses, it calls
straight into gc and keeps to what 3.8 has. At its next step the process says
whether ways of which OUTPUT.ways tells lead back to where they begin.
"""

import ctypes
import gc
import json
import os
import re
import sys
import traceback

import truth

_isenabled = gc.isenabled
_disable = gc.disable
_get_count = gc.get_count
_get_objects = gc.get_objects

PROFILES = {}


def profile(function):
    PROFILES[function.__name__] = function
    return function


# ---- the recorder

def wait_for_dump(path):
    """As truth.wait_for_dump(), with this file's recorder."""
    prepare()
    return _fork_and_record(path) == truth.GO_ON


def prepare():
    """What makes garbage of its own."""
    if truth._fork is None:
        truth._allow_tracing()
        truth._fork = truth._callable(truth.MACHINE_CODE)


def _fork_and_record(path):
    return truth._fork() or _record(
        path, _isenabled(), _disable(), _get_count(),
        _get_objects(2), _get_objects(1), _get_objects(0))


def _record(path, enabled, _none, count, *generations):
    status = 1
    try:
        document = {
            "enabled": enabled, "count": count, "threshold": gc.get_threshold(),
            "stats": gc.get_stats(), "debug": gc.get_debug(),
            "frozen": gc.get_freeze_count(),
            "callbacks": [getattr(c, "__qualname__", None) for c in gc.callbacks],
            "garbage": [truth.type_name(type(o)) for o in gc.garbage],
        }
        made = {id(count), *map(id, generations)}
        document["generations"] = [
            [hex(id(o)) for o in g if id(o) not in made] for g in reversed(generations)]
        document["bytes"] = [
            sum(sys.getsizeof(o) for o in g if id(o) not in made) for g in reversed(generations)]
        document["found"] = _collect(path + ".log", generations)
        truth._write(path, document)
        status = 0
    except BaseException:
        with open(path + ".error", "w") as f:
            f.write(traceback.format_exc())
    finally:
        os._exit(status)


def _collect(path, generations):
    """[address, type] of what a full collection finds, and what of it is left."""
    global returning
    returning = False       # what returns would not be left
    types = {id(o): truth.type_name(type(o)) for g in generations for o in g}
    pending = {id(o) for g in generations for o in g if _finalizer_waits(o)}
    for each in generations:
        each.clear()        # they refer to everything
    kept = len(gc.garbage)
    sys.stderr = open(path, "w")
    # DEBUG_COLLECTABLE prints before any finalizer runs: one that closes a
    # generator frees things that gc.garbage then does not have.
    gc.set_debug(gc.DEBUG_SAVEALL | gc.DEBUG_COLLECTABLE | gc.DEBUG_UNCOLLECTABLE)
    number = gc.collect()
    gc.set_debug(0)
    sys.stderr.close()
    with open(path) as f:
        lines = [line.split() for line in f if line.startswith("gc: ")]
    os.unlink(path)
    found = {"collectable": [], "uncollectable": []}
    for line in lines:      # gc: collectable <list 0x7f1200000000>
        address = int(line[-1].rstrip(">"), 16)
        found[line[1]].append([hex(address), types.get(address)])
    at = [int(row[0], 16) for rows in found.values() for row in rows]
    return {**found, "number": number, "saved": len(gc.garbage) - kept,
            "pending": len(pending.intersection(at)), "called_back": len(called_back)}


TP_TRAVERSE, TP_DEL, TP_FINALIZE = 184, 376, 392        # in a type of 3.8 to 3.15


def _finalizer_waits(one):
    """A finalizer of Python's or C's will run before it goes: it has not yet."""
    word = ctypes.c_void_p.from_address
    return bool((word(id(type(one)) + TP_FINALIZE).value or word(id(type(one)) + TP_DEL).value)
                and not (word(id(one) - 8).value or 0) & 1)


# ---- ways around cycles

def follow_ways(path):
    """For each [address, "Node.peer.peer"] whether Python comes back by it."""
    with open(path) as f:
        ways = json.load(f)
    answers = []
    for address, way in ways:
        one = ctypes.cast(address, ctypes.py_object).value
        try:
            answers.append(eval("one" + re.sub(r"^[^.[(]*", "", way), {"one": one}) is one)
        except Exception as e:
            answers.append(repr(e))
    with open(path + ".tmp", "w") as f:
        json.dump(answers, f)
    os.rename(path + ".tmp", path + ".answers")


# ---- what is built

keep = []


@profile
def plain():
    pass


class Node:
    pass


@profile
def figures():
    """Something for each figure of gc."""
    gc.callbacks.append(on_collection)
    keep.extend(Node() for i in range(100))
    gc.collect()
    for i in range(20):
        node = Node()
        node.self = node
    gc.set_threshold(900, 7, 3)
    gc.collect(0)
    keep.extend(Node() for i in range(10))
    gc.collect(1)
    gc.set_debug(gc.DEBUG_SAVEALL)
    for i in range(5):
        node = Node()
        node.self = node
    del node
    gc.collect()
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)
    keep.extend(Node() for i in range(30))


@profile
def starved():
    """Full collections are due, but too few objects have survived for one."""
    gc.collect()
    gc.set_threshold(10, 1, 1)
    gc.enable()
    keep.extend([] for i in range(300))
    gc.set_debug(gc.DEBUG_SAVEALL)


def on_collection(phase, info):
    pass


# ---- cycles of every kind: each function makes one and returns a member

def self_reference():
    one = []
    one.append(one)
    return one


def peers():
    a, b = Node(), Node()
    a.peer, b.peer = b, a
    return a


class Parent:
    pass


def family():
    parent = Parent()
    parent.children = [Node() for i in range(3)]
    for child in parent.children:
        child.parent = parent
    return parent


class Slotted:
    __slots__ = ("other",)


def slotted():
    a, b = Slotted(), Slotted()
    a.other, b.other = b, a
    return a


class Finalized:
    def __del__(self):
        finalized.append(type(self).__name__)


class Heir(Finalized):
    """Inherits __del__."""


class Returns:
    """Comes back while `returning`, which it is not in the child."""
    def __del__(self):
        if returning:
            returned.append(self)


finalized = []
returned = []
returning = True


def with_del():
    one = Finalized()
    one.holder = {"one": one}
    return one


def with_inherited_del():
    one = Heir()
    one.me = [one]
    return one


def once_returned():
    """Its finalizer has run already."""
    return returned.pop()


def will_return():
    one = Returns()
    one.me = one
    return one


def generator():
    holder = []

    def run():
        mine = holder
        yield mine
        yield

    running = run()
    next(running)
    holder.append(running)
    return running


def fresh_generator():
    holder = []

    def run(argument):
        yield argument

    holder.append(run(holder))
    return holder


class Awaitable:
    def __await__(self):
        yield self


def coroutine():
    awaitable = Awaitable()

    async def run():
        await awaitable

    running = run()
    running.send(None)
    awaitable.holder = running
    return running


def asynchronous_generator():
    holder = []

    async def run():
        yield holder

    running = run()
    holder.append(running)
    return running


def closure():
    def recursive(n):
        return recursive(n - 1) if n else 0
    return recursive


def bound_method():
    one = Node()
    one.callback = one.hello
    return one


Node.hello = lambda self: self


def odd_keys():
    one = Node()
    one.table = {"it's \"x\"\n": {7: {b"bytes": {None: {2.5: {"plain": one}}}}}}
    return one


def through_a_set():
    one = Node()
    one.friends = {one}
    return one


def exception():
    try:
        raise ValueError("kept")
    except ValueError as e:
        kept = e
    return kept     # its traceback has this frame, which has it


def class_object():
    class Local:
        def method(self):
            return __class__
    return Local


def instance_of_lost_class():
    class Lost:
        pass
    Lost.instance = Lost()
    return Lost.instance


def lost_module():
    """Nothing has the module but its functions."""
    import types
    module = types.ModuleType("lost")
    exec("class C:\n    def f(self): return g\ndef g(): return C", module.__dict__)
    return module


def failed_import():
    """What is left of a module whose code raised: its globals, by way of its functions."""
    global half_made
    with open("broken.py", "w") as f:
        f.write("import __main__\nclass C:\n    def f(self): return g\ndef g(): return C\n"
                "__main__.half_made = g\nraise ImportError")
    sys.path.insert(0, "")
    try:
        import broken
    except ImportError:
        pass
    del sys.path[0]
    os.unlink("broken.py")
    kept, half_made = half_made, None
    return kept


half_made = None


def containers():
    import collections
    one = collections.OrderedDict()
    one["me"] = (one, {1: [one]}, collections.deque([one]), collections.defaultdict(list, a=one))
    return one


def partials():
    import functools
    one = Node()
    one.call = functools.partial(print, one, key=one)
    return one


def iterators():
    one = []
    one.append(iter(one))
    one.append(enumerate(one))
    one.append(map(print, one))
    one.append(zip(one, one))
    return one


def properties():
    class Local:
        @property
        def value(self):
            return Local
        slow = staticmethod(lambda: Local)
    return Local


def weak_registry():
    import weakref
    one = Node()
    one.me = one
    registry[id(one)] = one
    references.append(weakref.ref(one))
    references.append(weakref.ref(one, called_back.append))
    return one


registry = None
references = []
called_back = []

KINDS = [self_reference, peers, family, slotted, with_del, with_inherited_del, once_returned,
         will_return, generator, fresh_generator, coroutine, asynchronous_generator, closure,
         bound_method, odd_keys, through_a_set, exception, class_object, instance_of_lost_class, lost_module,
         failed_import, containers,
         partials, iterators, properties, weak_registry]
ALIVE, DEAD = 2, 3


def let_some_return():
    for i in range(ALIVE + DEAD):
        one = Returns()
        one.me = one
    del one
    gc.collect()


@profile
def kinds():
    """Of each kind some that are alive, and some that wait for the collector."""
    import weakref
    global registry
    registry = weakref.WeakValueDictionary()
    let_some_return()
    for make in KINDS:
        keep.extend(make() for i in range(ALIVE))
        for i in range(DEAD):
            make()


@profile
def globals_with_del():
    """Many instances with __del__, but no cycle of their own."""
    for i in range(5000):
        globals()["kept_%d" % i] = Finalized()


@profile
def ring():
    first = last = []
    for i in range(500_000 - 1):
        last.append([])
        last = last[0]
    last.append(first)


class Legacy:
    pass


@profile
def legacy():
    """What only a C extension can do: a type with tp_del."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda address: None)
    keep.append(function)
    ctypes.c_void_p.from_address(id(Legacy) + TP_DEL).value = ctypes.cast(
        function, ctypes.c_void_p).value
    for i in range(3):
        one = Legacy()
        one.mine = [one, [i]]
        one.mine.append(Node())
        Node().me = one
        free = []
        free.append([free, one])


@profile
def extension():
    """Types of C with finalizers, and subclasses of these."""
    import legacy as c

    class OldHeir(c.Old):
        pass

    class FinalHeir(c.Final):
        pass

    for make in (c.Old, c.Final, OldHeir, FinalHeir):
        for i in range(DEAD):
            one = make()
            one.link = [one, [i]]
    one.link = [one]
    keep.append(one)


@profile
def leaked():
    """Objects that C code has forgotten to give back: in no cycle, so no garbage."""
    for i in range(LEAKED):
        one = Node()
        one.rest = [i, [i]]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


LEAKED = 7


class Watched:
    def close(self):
        pass


def at_the_end(*args):
    pass


@profile
def registered():
    """What weakref.finalize() is asked: to no harm; so that the object never goes; in vain."""
    import weakref
    for i in range(4):
        one = Watched()
        keep.append(one)
        weakref.finalize(one, at_the_end, bytearray(50000))
    for i in range(3):
        one = Watched()
        one.load = bytearray(30000)
        weakref.finalize(one, one.close)
    for i in range(2):
        one = Watched()
        weakref.finalize(one, at_the_end, one)
    weakref.finalize(Watched(), at_the_end)     # that one is over


@profile
def big():
    one = [None] * 100000
    one.append(one)
    keep.append(one)


@profile
def quiet():
    """Nothing to advise about."""
    gc.set_threshold(100000, 10, 10)
    gc.collect()
    gc.enable()


@profile
def threshold_zero():
    quiet()
    gc.set_threshold(0)


@profile
def another():
    """A second interpreter, with a collector of its own from 3.9 on."""
    try:
        import _interpreters as module
    except ImportError:
        import _xxsubinterpreters as module
    which = module.create()
    keep.append(which)      # up to 3.12 it goes with the last who knows its number
    module.run_string(which, "import gc\ngc.disable()\ngc.set_threshold(321, 5, 4)\n"
                             "gc.set_debug(gc.DEBUG_SAVEALL)\n"
                             "for i in range(4):\n    one = []\n    one.append(one)\n"
                             "del one\ngc.collect()\n")


@profile
def peers_again():
    for i in range(DEAD):
        peers()


@profile
def frozen():
    keep.extend([i] for i in range(20000))
    prepare()
    gc.collect()
    gc.freeze()
    keep.extend(Node() for i in range(10))


# ---- a core in the middle of a collection

class Stops:
    """Its tp_traverse is ours: at the given call it forks, and the parent waits."""


def stop_collection(path, call):
    """Starts a collection, which the parent never leaves; the child says what it found."""
    truth._allow_tracing()
    # dec dword [rip + counter]; jz go; xor eax, eax; ret; go: ...
    head = bytes([0xff, 0x0d]), bytes([0x74, 0x03, 0x31, 0xc0, 0xc3])
    code = head[1] + truth.MACHINE_CODE
    function = truth._callable(head[0] + len(code).to_bytes(4, "little") + code
                               + call.to_bytes(4, "little"))
    keep.append(function)
    address = ctypes.cast(function, ctypes.c_void_p).value
    keep.append(Stops())
    kinds()
    ctypes.c_void_p.from_address(id(Stops) + TP_TRAVERSE).value = address
    generations = [_get_objects(i) for i in range(3)]
    found = _collect(path + ".log", generations)
    truth._write(path, {"found": found})
    os._exit(0)


def main():
    gc.collect()
    gc.disable()
    if sys.argv[2:3] == ["collecting"]:
        stop_collection(sys.argv[1] + ".1", int(sys.argv[3]))
    for name in sys.argv[2:]:
        PROFILES[name]()
    step = 1
    while wait_for_dump("%s.%d" % (sys.argv[1], step)):
        if os.path.exists(sys.argv[1] + ".ways"):
            follow_ways(sys.argv[1] + ".ways")
        step += 1


if __name__ == "__main__":
    main()
