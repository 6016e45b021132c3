# SPDX-License-Identifier: GPL-3.0-or-later
"""A target that changes by known numbers between its two dumps.

    python grows.py TRUTH
"""

import gc
import sys

import truth


class Stays:
    pass


class Grows:
    def __init__(self, i):
        self.index = i


class Shrinks:
    __slots__ = ("a", "b", "c")


class Comes(dict):
    pass


class Goes(list):
    pass


class Replaced:
    pass


class Keep:
    pass


def begin(keep):
    keep.stays = [Stays() for _ in range(100)]
    keep.grows = [Grows(i) for i in range(10)]
    keep.shrinks = [Shrinks() for _ in range(500)]
    keep.goes = [Goes() for _ in range(200)]
    keep.replaced = [Replaced() for _ in range(50)]
    keep.tuples = [(i, None) for i in range(1000)]
    keep.numbers = [float(i) for i in range(1000)]


def change(keep):
    keep.grows += [Grows(i) for i in range(1000)]
    del keep.shrinks[100:]
    keep.comes = [Comes(a=i) for i in range(300)]
    keep.goes = None
    keep.replaced = [Replaced() for _ in range(50)]
    del keep.tuples[::2]
    keep.numbers += [i + 0.5 for i in range(3000)]
    keep.texts = ["text %d" % i for i in range(2000)]


def main():
    keep = Keep()
    begin(keep)
    gc.collect()
    gc.disable()
    truth.wait_for_dump(sys.argv[1] + ".1")
    change(keep)
    gc.collect()
    truth.wait_for_dump(sys.argv[1] + ".2")


if __name__ == "__main__":
    main()
