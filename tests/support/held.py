# SPDX-License-Identifier: GPL-3.0-or-later
"""A process with objects that only C refers to, in all of malloc's heaps.

    python held.py

Half of what each thread makes is kept by a reference count alone, the other
half freed. Writes {"kept": [[address, getsizeof]...], "freed": [the same]} to
stdout, then waits for the end of stdin.
"""

import ctypes
import json
import sys
import threading

hold = ctypes.pythonapi.Py_IncRef
hold.argtypes = [ctypes.py_object]
kept, freed = [], []
done = threading.Barrier(4)


def make(sizes):
    objects = [bytes(size) for size in sizes]
    for o in objects[::2]:
        hold(o)
        kept.append([hex(id(o)), sys.getsizeof(o)])
    freed.extend([hex(id(o)), sys.getsizeof(o)] for o in objects[1::2])


def thread(sizes):
    make(sizes)
    done.wait()
    sys.stdin.read(1)


if __name__ == "__main__":
    # More than a heap of a thread's arena holds, of which most is never touched.
    for sizes in ([100000] * 1000, range(520, 2000), [600] * 500):
        threading.Thread(target=thread, args=(sizes,), daemon=True).start()
    make([*range(520, 4000, 3), *range(600000, 600010)])
    done.wait()
    json.dump({"kept": kept, "freed": freed}, sys.stdout)
    print(flush=True)
    sys.stdin.read()
