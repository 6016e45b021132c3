# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a heap: instances, classes, functions, generators, exceptions."""

import sys

from parts import builder

@builder
def instances():
    class Plain:
        def __init__(self, i):
            self.i = i
            self.name = "n%d" % i

    class Slots:
        __slots__ = ("a", "b", "__weakref__")

    class SlotsAndDict(Slots):
        pass

    class Leaf:
        __slots__ = ()

    class Empty:
        pass

    class Many:
        pass

    class Finalized:
        def __del__(self):
            pass

    class Descendant(Plain):
        __slots__ = ("extra",)

    plain = [Plain(i) for i in range(1000)]
    for i, p in enumerate(plain[:100]):
        setattr(p, "extra%d" % (i % 7), i)
    for p in plain[100:200]:
        p.__dict__          # materialised
    for p in plain[200:250]:
        del p.name
    for p in plain[250:260]:
        p.__dict__ = {"replaced": 1}
    for p in plain[260:270]:
        p.__dict__[5] = "not a str"
    for p in plain[270:280]:
        p.__dict__.clear()
    slots = [Slots() for _ in range(200)]
    for s in slots[:150]:
        s.a = 1
        s.b = "x"
    both = [SlotsAndDict() for _ in range(50)]
    for s in both:
        s.a, s.c = 1, 2
    many = []
    for n in (1, 5, 29, 30, 31, 60, 200, 3000):
        m = Many()
        for i in range(n):
            setattr(m, "attribute%d" % i, i)
        many.append(m)
    different = []
    for i in range(50):
        m = Many()
        setattr(m, "own%d" % i, i)
        different.append(m)
    ring = [Empty() for _ in range(20)]
    for a, b in zip(ring, ring[1:] + ring[:1]):
        a.next = b
    descendants = [Descendant(i) for i in range(20)]
    for d in descendants:
        d.extra = 1
    return (plain, slots, both, [Leaf() for _ in range(20)],
            [Empty() for _ in range(50)], many, different,
            [Finalized() for _ in range(20)], ring, descendants,
            [object() for _ in range(20)])


@builder
def subclasses():
    """Subclasses of builtin types: with a dict, with slots, with both."""
    made = []
    for base, args in ((int, (5,)), (int, (1 << 70,)), (float, (1.5,)),
                       (complex, (1, 2)), (str, ("s",)), (bytes, (b"b",)),
                       (bytearray, (b"b",)), (tuple, ((1, 2),)),
                       (list, ([1, 2],)), (dict, ({1: 2},)), (set, ([1],)),
                       (frozenset, ([1],)), (Exception, ("e",)),
                       (OSError, (2, "e")), (property, ()), (type, ("T", (), {})),
                       (BaseException, ()), (object, ())):
        with_dict = type("D_" + base.__name__, (base,), {})
        with_none = type("N_" + base.__name__, (base,), {"__slots__": ()})
        with_slots = attempt_slots(base)
        for cls in (with_dict, with_none, with_slots):
            if cls is None:
                continue
            o = cls(*args)
            if cls is with_dict:
                o.a = "attribute"
            elif cls is with_slots:
                o.slot = "slot"
            made += [o, cls(*args)]
    return made


def attempt_slots(base):
    try:
        return type("S_" + base.__name__, (base,),
                    {"__slots__": ("slot", "empty")})
    except TypeError:
        return None         # variable-sized bases take none


@builder
def functions():
    import functools
    import operator
    import types

    def outer(n):
        unbound = None

        def inner(a, b=2, *args, k: int = 3, **kwargs):
            return n, unbound

        return inner

    def annotated(a: "int", b: str = "x") -> float:
        """With a doc string."""
        x: int = 5
        return x

    annotated.attribute = 1

    class Has:
        @property
        def p(self):
            return 1

        @classmethod
        def c(cls):
            pass

        @staticmethod
        def s():
            pass

        def m(self):
            return super().m

        @functools.cached_property
        def cached(self):
            return [1]

        @functools.singledispatch
        def d(self):
            pass

    has = Has()
    has.cached

    @functools.lru_cache(maxsize=64)
    def bounded(x):
        return str(x) * 3

    @functools.lru_cache(maxsize=None)
    def unbounded(x):
        return str(x) * 3

    @functools.lru_cache(maxsize=0)
    def uncached(x):
        return x

    @functools.lru_cache(maxsize=16, typed=True)
    def typed(*a, **k):
        return a

    for i in range(100):
        bounded(i), unbounded(i), uncached(i), typed(i, 1, k=i), typed("a")
    empty_cell = types.CellType()
    lambdas = [lambda x, i=i: x + i for i in range(20)]
    code = [compile("x = %d\ndef f(a):\n return [a, x, (1, %d)]" % (i, i),
                    "<code %d>" % i, "exec") for i in range(20)]
    for f in [outer(i) for i in range(3)] * 30:
        f(1)                # hot: specialised code
    return ([outer(i) for i in range(20)], annotated, Has, has, has.m, Has.c,
            [].append, "abc".upper, len, dict.get, dict.__getitem__,
            "x".__add__, object().__init__, bounded, unbounded, uncached,
            typed, has.d, empty_cell, lambdas, code,
            [functools.partial(outer, i, k=i) for i in range(10)],
            functools.partial(outer), functools.partialmethod(outer, 1),
            functools.cmp_to_key(lambda a, b: 0)(1),
            operator.itemgetter(1), operator.itemgetter(1, 2),
            operator.attrgetter("a.b", "c"), operator.methodcaller("m", 1, k=2),
            super(Has, has), types.SimpleNamespace(a=1, b=2),
            types.MethodType(len, []), types.ModuleType("made_up"),
            property(len, None, None, "doc"), classmethod(len),
            staticmethod(len), type.__dict__["__mro__"], int.__dict__["real"],
            Has.__dict__["p"])


@builder
def generators():
    def gen(n):
        for i in range(n):
            yield i, n

    def delegating(n):
        yield from gen(n)

    async def coro(n):
        await waits()
        return n

    class Waits:
        def __await__(self):
            yield 1

    async def waits():
        await Waits()

    async def agen(n):
        for i in range(n):
            yield i
            await waits()

    fresh = [gen(i) for i in range(10)]
    suspended = [gen(10) for i in range(20)]
    for g in suspended:
        next(g)
    inside = [delegating(3) for _ in range(10)]
    for g in inside:
        next(g)
    finished = [gen(0) for _ in range(10)]
    for g in finished:
        list(g)
    closed = [gen(3) for _ in range(5)]
    for g in closed:
        next(g)
        g.close()
    expressions = [(x * y for x in range(3)) for y in range(5)]
    for e in expressions:
        next(e)
    with_frames = [gen(5) for _ in range(5)]
    frames = [g.gi_frame for g in with_frames]
    coroutines = [coro(i) for i in range(10)]
    for c in coroutines[3:]:
        c.send(None)
    coroutines[4].close()
    wrappers = [coro(9).__await__() for _ in range(3)]
    asyncs = [agen(3) for _ in range(5)]
    steps = [asyncs[1].__anext__(), asyncs[2].asend(None), asyncs[3].aclose()]
    steps[0].send
    try:
        asyncs[4].__anext__().send(None)
    except StopIteration:
        pass
    for c in coroutines[:3]:
        c.cr_frame
    return (fresh, suspended, inside, finished, closed, expressions,
            with_frames, frames, coroutines, wrappers, asyncs, steps)


@builder
def exceptions():
    class Own(Exception):
        pass

    class Slotted(Exception):
        __slots__ = ("s",)

    def fails(depth, error):
        local = [depth]
        if depth:
            fails(depth - 1, error)
        raise error

    caught = []
    for make in (lambda: Own("own"), lambda: KeyError("key"),
                 lambda: OSError(2, "gone", "/file"), lambda: SystemExit(3),
                 lambda: StopIteration(5), lambda: ImportError("m", name="n"),
                 lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
                 lambda: UnicodeEncodeError("ascii", "\xe9", 0, 1, "bad"),
                 lambda: UnicodeTranslateError("\xe9", 0, 1, "bad"),
                 lambda: SyntaxError("bad", ("file", 1, 2, "text")),
                 lambda: AttributeError("a"), lambda: NameError("n"),
                 lambda: BlockingIOError(11, "again", 5), lambda: Slotted(1),
                 lambda: KeyboardInterrupt(), lambda: MemoryError()):
        error = make()
        try:
            fails(3, error)
        except BaseException as e:
            caught.append(e)
    try:
        try:
            1 / 0
        except ZeroDivisionError as cause:
            raise ValueError("chained") from cause
    except ValueError as e:
        caught.append(e)
    try:
        None.missing
    except AttributeError as e:
        caught.append(e)
    groups = []
    if sys.version_info >= (3, 11):
        group = ExceptionGroup("group", [ValueError(1), Own(2)])  # noqa: F821
        group.add_note("a note")
        groups.append(group)
    caught[0].attribute = {"a": 1}
    return caught, groups, [e.__traceback__ for e in caught], [
        ValueError(i) for i in range(50)]


@builder
def weak_references():
    import weakref

    class Target:
        def m(self):
            pass

    targets = [Target() for _ in range(100)]
    plain = [weakref.ref(t) for t in targets]
    called = [weakref.ref(t, lambda r: None) for t in targets[:30]]
    proxies = [weakref.proxy(t) for t in targets[:10]]
    dead = [weakref.ref(Target()) for _ in range(10)]
    finalizers = [weakref.finalize(t, len, ()) for t in targets[:5]]
    methods = weakref.WeakMethod(targets[0].m)

    class Ref(weakref.ref):
        pass

    sub = Ref(targets[0])
    sub.a = 1
    return (targets, plain, called, proxies, dead, finalizers, methods, sub,
            weakref.WeakSet(targets), weakref.WeakKeyDictionary({targets[0]: 1}),
            weakref.WeakValueDictionary({1: targets[0]}),
            weakref.ref(set()), weakref.ref(len))


@builder
def types_of_types():
    import abc
    import dataclasses
    import enum
    import typing

    class Meta(type):
        def __new__(mcs, name, bases, ns, **kw):
            cls = super().__new__(mcs, name, bases, ns)
            cls.made_by_meta = True
            return cls

    class WithMeta(metaclass=Meta):
        a = 1

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def m(self):
            pass

    class Concrete(Abstract):
        def m(self):
            pass

    isinstance(5, Abstract), isinstance(Concrete(), Abstract)

    class Colour(enum.Enum):
        RED = 1
        GREEN = "g"

    class Flags(enum.Flag):
        A = 1
        B = 2

    class IntColour(enum.IntEnum):
        ONE = 1

    @dataclasses.dataclass
    class Data:
        a: int
        b: list = dataclasses.field(default_factory=list)

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        a: int = 0

    made = [WithMeta(), Concrete(), Colour.RED, Flags.A | Flags.B,
            IntColour.ONE, Data(1), Frozen()]
    if sys.version_info >= (3, 10):
        @dataclasses.dataclass(slots=True)
        class SlottedData:
            a: int
            b: str = "b"
        made += [SlottedData(i) for i in range(20)]
    T = typing.TypeVar("T")

    class Generic(typing.Generic[T]):
        pass

    generics = [T, Generic[int], typing.List[int], typing.Dict[str, T],
                typing.Optional[int], typing.Union[int, str], typing.Any,
                typing.Callable[[int], str], typing.NewType("N", int)]
    if sys.version_info >= (3, 9):
        generics += [list[int], dict[str, T], tuple[int, ...]]
    if sys.version_info >= (3, 10):
        generics += [int | str, typing.ParamSpec("P")]
    if sys.version_info >= (3, 11):
        generics += [typing.TypeVarTuple("Ts")]
    if sys.version_info >= (3, 12):
        space = {}
        exec("type Alias[T] = list[T]\n"
             "class New[T: int]:\n  def m[U](self, u: U) -> T: pass\n"
             "def f[T, *Ts, **P](t: T) -> T: pass\n", space)
        generics.append(space)

    class Named(typing.NamedTuple):
        a: int
        b: str = ""

    class Typed(typing.TypedDict):
        a: int

    class Unnamed:
        pass

    Unnamed.__module__ = 5
    space = {}
    exec("NoModule = type('NoModule', (), {})", space)
    no_module = space["NoModule"]
    Renamed = type("Renamed", (), {})
    Renamed.__qualname__ = "Outer.Renamed"
    Renamed.__module__ = "else.where"
    wide = type("N\xe4me\u65e5", (), {})
    twins = [type("Twin", (), {"x": i})() for i in range(20)]
    dynamic = [type("Dyn%d" % i, (Concrete,), {"x": i}) for i in range(40)]
    deep = object
    for i in range(30):
        deep = type("Deep%d" % i, (deep,), {})
    return (made, generics, Named(1), Typed(a=1), Unnamed(), no_module(),
            Renamed(), wide(), twins, dynamic, deep(), Colour, Flags,
            dataclasses.fields(Data))
