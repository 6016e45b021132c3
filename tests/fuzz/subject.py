# SPDX-License-Identifier: GPL-3.0-or-later
"""The process whose core is damaged: some of each kind of object, and no more.

    python -S -E subject.py OUT

Writes OUT.1 when all is there, then waits on its stdin.
"""

import _collections
import gc
import sys
import _thread

try:
    import _datetime
except ImportError:
    _datetime = None


class Plain:
    def __init__(self, n):
        self.n = n
        self.text = "plain %d" % n


class Slots:
    __slots__ = ("a", "b")


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class Final:
    def __del__(self):
        pass


class MyDict(dict):
    pass


class MyList(list):
    pass


class MyTuple(tuple):
    pass


class MyStr(str):
    pass


class MyInt(int):
    pass


def generator(n):
    local = [n]
    yield local
    yield n


async def coroutine():
    pass


def closure(x):
    def inner():
        return x
    return inner


def ordered():
    out = _collections.OrderedDict()
    for i in range(20):
        out["key %d" % i] = i
    del out["key 3"]
    return out


def grown():
    """An instance whose dict is its own."""
    out = Plain(1)
    for i in range(40):
        setattr(out, "attribute_%d" % i, i)
    return out


def caught():
    try:
        raise ValueError("damaged", 1, None)
    except ValueError as e:
        return e


def cycle():
    a = Final()
    a.self = a
    return a


def kinds(n):
    started = generator(n)
    next(started)
    waiting = coroutine()
    out = [
        n * 10 ** 20, -n, float(n), complex(n, 1), "ascii %d" % n, "caf\xe9 %d" % n,
        "\u20ac %d" % n, "\U0001f600 %d" % n, b"bytes %d" % n, bytearray(b"x" * (n * 37 % 700)),
        (n, n), [n] * (n % 90), {n: n}, {"k%d" % i: i for i in range(n % 70)}, {n, n + 1},
        set(range(n % 50)), frozenset(range(n % 9)), Plain(n), grown() if n % 5 == 0 else None,
        Slots(), WithMeta(), cycle(), MyDict(a=n), MyList([n]), MyTuple((n,)), MyStr("s" * n),
        MyInt(n), started, waiting, closure(n), closure, Plain(n).__init__, len, [].append,
        slice(n), range(n), iter([n]), iter({n: n}), reversed([n]), zip([n], [n]), map(abs, [n]),
        enumerate([n]), memoryview(b"m" * n), property(len), classmethod(len), staticmethod(len),
        super(Plain, Plain(n)), _collections.deque(range(n * 3 % 200)), ordered(),
        _collections.defaultdict(list, {n: [n]}), caught(), type(sys)("made%d" % n),
        type("Made%d" % n, (Plain,), {"attribute": n}), compile("a = %d" % n, "f%d" % n, "exec"),
        sys.flags, sys.version_info, _thread.allocate_lock(), object(), Exception(),
    ]
    if _datetime:
        out += [_datetime.datetime(2000, 1, 1), _datetime.date(2000, 1, 1),
                _datetime.timedelta(n), _datetime.time(1, tzinfo=_datetime.timezone.utc)]
    return out


def chain(length):
    out = None
    for _ in range(length):
        out = [out]
    return out


def wait_there(lock):
    kept = ["a thread's own"]
    lock.acquire()
    return kept


heap = [kinds(n) for n in range(1, 40)]
frozen = [Plain(n) for n in range(20)]
gc.freeze()
heap += [kinds(n) for n in range(40, 60)]
heap.append(chain(500))
held = _thread.allocate_lock()
held.acquire()
for _ in range(2):
    _thread.start_new_thread(wait_there, (held,))
# Some on the free lists, and holes in the pools.
spent = [[n] for n in range(500)] + [{n: n} for n in range(200)] + [float(n) for n in range(500)]
del spent[::2]
with open(sys.argv[1] + ".1", "w"):
    pass
sys.stdin.readline()
