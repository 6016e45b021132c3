# SPDX-License-Identifier: GPL-3.0-or-later
"""A heap with types of an extension that nobody was taught, and what they refer to.

    python untaught_target.py TRUTH

Writes TRUTH.1, {type: {id: [ids of gc.get_referents()]}}, and waits on stdin.
"""

import gc
import json
import os
import sys

import untaught


class PairOfPython(untaught.Pair):
    __slots__ = ("third",)


class ChainWithDict(untaught.Chain):
    pass


def build():
    pairs = [untaught.Pair([i], {i: i} if i % 3 else None) for i in range(200)]
    same = object()
    pairs += [untaught.Pair(same, same) for _ in range(10)]
    derived = []
    for i in range(100):
        derived.append(PairOfPython((i,), "text"))
        if i % 2:
            derived[-1].third = [i]
    chains = [untaught.Chain(*([n] for n in range(i % 7))) for i in range(200)]
    with_dict = [ChainWithDict([i], [i], same) for i in range(50)]
    for i, chain in enumerate(with_dict[::2]):
        chain.name = [i]
    return [pairs, derived, chains, with_dict]


def main():
    heap = build()
    lost = [untaught.Pair([], []) for _ in range(7)]
    for pair in lost:
        untaught.leak(pair, 3)
    gc.collect()
    truth = {}
    for objects in heap + [lost]:
        for o in objects:
            truth.setdefault(type(o).__qualname__, {})[id(o)] = [id(r) for r in gc.get_referents(o)]
    with open(sys.argv[1] + ".new", "w") as f:
        json.dump(truth, f)
    os.rename(sys.argv[1] + ".new", sys.argv[1] + ".1")
    sys.stdin.read()


if __name__ == "__main__":
    main()
