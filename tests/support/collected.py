# SPDX-License-Identifier: GPL-3.0-or-later
"""The target of the tests of `gc` and `cycles`: cycles, alive and not.

    collected.py OUTPUT PROFILE...

Its forked child writes what its own collector says of the same heap: the
figures of the gc module, the objects of each generation, and then what a full
collection under DEBUG_SAVEALL finds. As truth.py, whose fork it uses, it calls
straight into gc and keeps to what 3.8 has.
"""

import gc
import json
import os
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
    if truth._fork is None:
        truth._allow_tracing()
        truth._fork = truth._callable(truth.MACHINE_CODE)
    return _fork_and_record(path) == truth.GO_ON


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
        document["unreachable"] = _collect(made, generations)
        truth._write(path, document)
        status = 0
    except BaseException:
        with open(path + ".error", "w") as f:
            f.write(traceback.format_exc())
    finally:
        os._exit(status)


def _collect(made, generations):
    """[address, type] of what a full collection finds."""
    for each in generations:
        each.clear()    # they refer to everything
    before = set(map(id, gc.garbage))
    gc.set_debug(gc.DEBUG_SAVEALL)
    number = gc.collect()
    found = [o for o in gc.garbage if id(o) not in before]
    if number != len(found):
        raise AssertionError("collect() says %d, gc.garbage has %d" % (number, len(found)))
    return [[hex(id(o)), truth.type_name(type(o))] for o in found]


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


@profile
def frozen():
    gc.collect()
    gc.freeze()
    keep.extend(Node() for i in range(10))


def main():
    gc.collect()
    gc.disable()
    for name in sys.argv[2:]:
        PROFILES[name]()
    step = 1
    while wait_for_dump("%s.%d" % (sys.argv[1], step)):
        step += 1


if __name__ == "__main__":
    main()
