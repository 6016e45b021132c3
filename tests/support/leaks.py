# SPDX-License-Identifier: GPL-3.0-or-later
"""A target with two dozen kinds of leaks, each of a class of its own.

    python leaks.py TRUTH

TRUTH.1: {class: [its owner's name, or several that are as good]}. Each class is
named after what keeps its instances; nothing else does.
"""

import asyncio
import atexit
import collections
import contextvars
import functools
import gc
import json
import logging
import os
import signal
import sys
import threading
import weakref

COUNT = 300
OWNERS = {}


def planted(name, *owners):
    """A class for what leaks, and what owner is expected."""
    OWNERS["__main__." + name] = owners
    return type(name, (), {"__module__": "__main__", "__slots__": ("text", "__weakref__")})


def made(kind, count=COUNT):
    out = []
    for i in range(count):
        o = kind()
        o.text = "%s %d" % (kind.__name__, i)
        out.append(o)
    return out


# ---- modules and classes

InDict = planted("InDict", "__main__.SESSIONS['active']")
SESSIONS = {"active": {i: o for i, o in enumerate(made(InDict))}, "closed": []}

InList = planted("InList", "__main__.EVENTS")
EVENTS = made(InList)

InSet = planted("InSet", "__main__.SEEN")
SEEN = set(made(InSet))

InDeque = planted("InDeque", "__main__.RECENT")
RECENT = collections.deque(made(InDeque))

InDefaultDict = planted("InDefaultDict", "__main__.BY_USER")
BY_USER = collections.defaultdict(list)
for i, o in enumerate(made(InDefaultDict)):
    BY_USER[i % 30].append(o)

InClass = planted("InClass", "__main__.Registry.instances")


class Registry:
    instances = made(InClass)


InInstance = planted("InInstance", "__main__.MANAGER.cache", "__main__.MANAGER")


class Manager:
    def __init__(self):
        self.cache = {str(i): o for i, o in enumerate(made(InInstance))}


MANAGER = Manager()


class Link:
    __slots__ = ("next", "value")


InChain = planted("InChain", "__main__.HEAD")
HEAD = None
for o in made(InChain):
    link = Link()
    link.next, link.value = HEAD, o
    HEAD = link
del link, o, i


# ---- functions

InClosure = planted("InClosure", "__main__.counter.<locals>.count")


def counter():
    seen = made(InClosure)

    def count():
        return len(seen)
    return count


COUNTER = counter()

InDefault = planted("InDefault", "__main__.remember")


def remember(one, kept=made(InDefault)):
    kept.append(one)


InKeywordDefault = planted("InKeywordDefault", "__main__.remember_too")


def remember_too(one, *, kept=made(InKeywordDefault)):
    kept.append(one)


InFunction = planted("InFunction", "__main__.handler")


def handler():
    handler.calls.append(None)


handler.calls = made(InFunction)

InCache = planted("InCache", "__main__.price", "__main__.Shop.price")


class Shop:
    @functools.lru_cache(maxsize=None)
    def price(self, article):
        return made(InCache, 1)[0]


for i in range(COUNT):
    Shop().price(i)

InPartial = planted("InPartial", "__main__.LATER")
LATER = functools.partial(print, made(InPartial))


# ---- callbacks

InMethod = planted("InMethod", "__main__.CALLBACKS")
CALLBACKS = []


class Listener:
    def __init__(self, one):
        self.one = one

    def on_event(self):
        pass


for one in made(InMethod):
    CALLBACKS.append(Listener(one).on_event)
del one

InWeakCallback = planted("InWeakCallback", "__main__.WATCHED")


class Watched:
    pass


KEPT = Watched()
WATCHED = weakref.ref(KEPT, functools.partial(lambda held, ref: None, made(InWeakCallback)))

InFinalize = planted("InFinalize", "weakref.finalize._registry")
weakref.finalize(KEPT, print, made(InFinalize))

InAtexit = planted("InAtexit", "interpreter.atexit callback")
atexit.register(functools.partial(print, made(InAtexit)))

InSignal = planted("InSignal", "signal handler SIGUSR1.seen")


class OnSignal:
    def __init__(self):
        self.seen = made(InSignal)

    def __call__(self, number, frame):
        pass


signal.signal(signal.SIGUSR1, OnSignal())

InHandler = planted("InHandler", "logging", "concurrent.futures._base.LOGGER.manager.loggerDict['leaks']")


class Keeping(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = made(InHandler)


logging.getLogger("leaks").addHandler(Keeping())

InHook = planted("InHook", "sys.meta_path", "sys.path_hooks")


class Finder:
    def __init__(self):
        self.asked = made(InHook)

    def find_spec(self, *args):
        return None


sys.meta_path.append(Finder())


Twice = planted("Twice", "__main__.FIRST", "__main__.SECOND")
FIRST = made(Twice, 10)
SECOND = list(FIRST)


# ---- the one that is large

class Row:
    __slots__ = ("key", "text")


class Store:
    def __init__(self):
        self.rows = {}


STORE = Store()
for i in range(20000):
    row = Row()
    row.key, row.text = i, "row number %d of the store" % i
    STORE.rows[i] = row
del row


# ---- frames, exceptions, generators

InTraceback = planted("InTraceback", "__main__.FAILED")
FAILED = []


def fail(order):
    raise ValueError("no such order")


for one in made(InTraceback):
    try:
        fail(one)
    except ValueError as e:
        FAILED.append(e)
del one

InGenerator = planted("InGenerator", "__main__.RUNNING", "batch")


def batch():
    rows = made(InGenerator)
    yield 1
    yield rows


RUNNING = batch()
next(RUNNING)

InCoroutine = planted("InCoroutine", "__main__.TASKS")
TASKS = []


async def wait(one, until):
    await until


async def start():
    until = asyncio.get_event_loop().create_future()
    for one in made(InCoroutine):
        TASKS.append(asyncio.ensure_future(wait(one, until)))
    await asyncio.sleep(0)

LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)
LOOP.run_until_complete(start())


# ---- threads and contexts

InContext = planted("InContext", "thread.context[<ContextVar name='request'>]")
REQUEST = contextvars.ContextVar("request")
REQUEST.set(made(InContext))

InThreadLocal = planted("InThreadLocal", "__main__.LOCAL", "thread")
LOCAL = threading.local()
LOCAL.cache = made(InThreadLocal)

InThread = planted("InThread", "mine in work()")
STARTED, END = threading.Event(), threading.Event()


def work():
    mine = made(InThread)
    STARTED.set()
    END.wait()
    del mine


threading.Thread(target=work, daemon=True).start()
STARTED.wait()

InGarbage = planted("InGarbage", "interpreter.gc.garbage", "gc.garbage")
gc.garbage.append(made(InGarbage))

InLocal = planted("InLocal", "rows in main()")



def main():
    rows = made(InLocal)
    gc.collect()
    path = sys.argv[1] + ".1"
    with open(path + ".new", "w") as f:
        json.dump(OWNERS, f)
    os.rename(path + ".new", path)
    sys.stdin.readline()
    return rows


if __name__ == "__main__":
    main()
