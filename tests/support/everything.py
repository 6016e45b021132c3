# SPDX-License-Identifier: GPL-3.0-or-later
"""A heap with some of everything that CPython and its standard library have.

    python everything.py TRUTH [PROFILE...]

Builds the heap, then writes TRUTH.1 and waits on stdin to be dumped (see
truth.py); each byte that comes makes it go on to the next step, TRUTH.2 and so
on; at the end of input it ends. A profile is the name of a part (heap_*.py),
NAME=N for a mass of N objects, or "frozen": gc.freeze() at that point. Without
one, it is all the usual parts.
"""

import gc
import sys
import time
import warnings

import heap_builtin     # noqa: F401 (registers its parts)
import heap_library     # noqa: F401
import heap_objects     # noqa: F401
import heap_programs    # noqa: F401
import heap_rare        # noqa: F401
import truth
from parts import ON_REQUEST, USUAL

keep = {}


class Node:
    def __init__(self, i):
        self.index = i


MASSES = {
    "nodes": Node,
    "dicts": lambda i: {"key": i},
    "tuples": lambda i: (i, None),
    "strings": lambda i: "string %d" % i,
    "lists": lambda i: [i],
}


def build(profiles):
    for profile in profiles or USUAL:
        name, _, number = profile.partition("=")
        if name == "frozen":
            gc.collect()
            gc.freeze()
        elif number:
            make = MASSES[name]
            keep[name] = [make(i) for i in range(int(number))]
        else:
            keep[name] = (USUAL.get(name) or ON_REQUEST[name])()


def leave_garbage():
    """Cycles that nothing refers to, which no collection has seen yet."""
    for i in range(50):
        a, b = [i], {}
        a.append(b)
        b["a"] = a
        n = Node(i)
        n.self = n


def main():
    warnings.simplefilter("ignore")
    build(sys.argv[2:])
    # A thread that still wants the GIL would keep the recorder, which has no
    # such thread, waiting for it.
    time.sleep(0.2)
    gc.collect()
    gc.disable()
    leave_garbage()
    step = 1
    while truth.wait_for_dump("%s.%d" % (sys.argv[1], step)):
        step += 1


if __name__ == "__main__":
    main()
