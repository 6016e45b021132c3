# SPDX-License-Identifier: GPL-3.0-or-later
"""The target's side of the live tests: says what its own heap holds.

Runs inside the target on Python 3.8 and later, so it keeps to what 3.8 has.

The process forks and then waits to be dumped, while the child, which has the
same heap at the same addresses, writes down what gc and sys say of it. All the
exactness comes from who does nothing in between:

- The fork is a few bytes of machine code, called through ctypes without giving
  up the GIL. The parent does not leave them: it waits in read() inside of them,
  so it runs no bytecode and makes no object between the fork and the dump, and
  no thread of it can. (A fork by os.fork() or libc runs hooks that make locks.)
- The child comes back to one expression whose calls go straight to gc and sys,
  before it allocates anything. What it makes afterwards sits on the evaluation
  stack and in a frame of its own, out of reach of every object of the parent.
- The only objects of the child that gc can see are the tuple of gc.get_count()
  and the first list; they are left out by their addresses. `excluded` in the
  output names them, and `checks` proves the rest against the parent's memory.
"""

import gc
import io
import json
import os
import sys
import traceback
import types

GO_ON, END_OF_INPUT = 2, 1
SAMPLED_VALUES = 300

# Forks; the parent then waits for a byte, or the end, of its standard input.
MACHINE_CODE = bytes([
    0xb8, 57, 0, 0, 0,          # mov  eax, SYS_fork
    0x0f, 0x05,                 # syscall
    0x85, 0xc0,                 # test eax, eax
    0x74, 0x17,                 # jz   out: the child returns 0
    0x50,                       # push rax: room for the byte to read
    0x31, 0xff,                 # again: xor edi, edi
    0x48, 0x89, 0xe6,           # mov  rsi, rsp
    0xba, 1, 0, 0, 0,           # mov  edx, 1
    0x31, 0xc0,                 # xor  eax, eax: SYS_read
    0x0f, 0x05,                 # syscall
    0x83, 0xf8, 0xfc,           # cmp  eax, -EINTR
    0x74, 0xed,                 # je   again
    0x59,                       # pop  rcx
    0xff, 0xc0,                 # inc  eax: 2 a byte came, 1 end of input
    0xc3,                       # out: ret
])


def _allow_tracing():
    """Lets gdb attach, and the child read this memory, where Yama restricts it."""
    import ctypes
    PR_SET_PTRACER, ANY = 0x59616d61, ctypes.c_ulong(-1)
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)


def _callable(code):
    """A function without arguments that runs code and keeps the GIL."""
    import ctypes
    import mmap
    page = mmap.mmap(-1, mmap.PAGESIZE,
                     flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                     prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    start = ctypes.c_char.from_buffer(page)
    function = ctypes.PYFUNCTYPE(ctypes.c_int)(ctypes.addressof(start))
    function.page = start
    return function


_fork = None
_getallocatedblocks = sys.getallocatedblocks
_isenabled = gc.isenabled
_disable = gc.disable
_get_count = gc.get_count
_get_objects = gc.get_objects
_get_freeze_count = gc.get_freeze_count
_unfreeze = gc.unfreeze


def wait_for_dump(path):
    """Writes the truth to path (by a child), waits for a byte on stdin.

    False when stdin has ended: whoever wanted more dumps has gone.
    """
    global _fork
    if _fork is None:
        _allow_tracing()
        _fork = _callable(MACHINE_CODE)
    return _fork_and_record(path) == GO_ON


def _fork_and_record(path):
    return _fork() or _record(
        path, _isenabled(), _disable(), _getallocatedblocks(), _get_count(),
        _get_objects(), _get_freeze_count(), _unfreeze(), _get_objects())


def _record(path, enabled, _none, blocks, count,
            tracked, freeze_count, _nothing, thawed):
    """The child: writes the truth and ends."""
    status = 1
    try:
        made = {id(count): "the tuple that gc.get_count() gave the recorder",
                id(tracked): "the list that gc.get_objects() gave the recorder"}
        document = _describe(tracked, thawed, freeze_count, made)
        document["allocated_blocks"] = blocks
        document["gc"] = {
            "enabled": enabled, "threshold": gc.get_threshold(),
            "count": count, "freeze_count": freeze_count,
            "debug": gc.get_debug(), "stats": gc.get_stats(),
        }
        document.update(_process())
        document["c_types"] = _c_types()
        document["interpreters"] = []
        for i, run in other_interpreters:
            document["interpreters"].append(
                _ask_interpreter(i, run, path + ".other", document))
        _write(path, document)
        status = 0
    except BaseException:
        with open(path + ".error", "w") as f:
            f.write(traceback.format_exc())
    finally:
        os._exit(status)


def _write(path, document):
    with open(path + ".part", "w") as f:
        json.dump(document, f)
    os.rename(path + ".part", path)


def _process():
    parent = "/proc/%d/" % os.getppid()
    with open(parent + "cmdline", "rb") as f:
        command_line = f.read().decode(errors="replace").split("\0")[:-1]
    return {
        "version": list(sys.version_info),
        "hexversion": sys.hexversion,
        "build": sys.version,
        "pid": os.getppid(),
        "executable": sys.executable,
        "command_line": command_line,
        "threads": sorted(map(int, os.listdir(parent + "task"))),
    }


def _describe(tracked, thawed, freeze_count, made, beyond=()):
    """Every object of this interpreter.

    made: what the recorder itself made; beyond: what need not be looked at.
    """
    known = set(map(id, tracked))
    frozen = [o for o in thawed if id(o) not in known and id(o) not in made]
    tracked = [o for o in tracked if id(o) not in made]
    del thawed
    # A BytesIO counts its buffer while nobody else refers to it: `untracked` will.
    early = {id(o): sys.getsizeof(o) for part in (tracked, frozen) for o in part
             if issubclass(type(o), io.BytesIO)}
    untracked = _reachable(tracked, frozen, set(made).union(beyond))
    out = _Rows(early, bool(beyond))
    document = {
        "tracked": out.rows(tracked),
        "frozen": out.rows(frozen),
        "untracked": out.rows(untracked),
        "types": out.types,
        "values": out.values,
        "excluded": [[hex(address), made[address]] for address in made] + out.dead,
        "checks": out.failed,
        "checked": out.memory is not None,
    }
    if len(frozen) != freeze_count:
        out.failed.append(["frozen", freeze_count, len(frozen)])
    return document


# ---- other interpreters of the process

# [id, the function (id, source) that runs source in it]: each has imported this
# module. Running source makes objects before record_inside() can look, so what
# the parent's memory does not have on its collector's lists is left out.
other_interpreters = []


def _ask_interpreter(i, run, path, document):
    if sys.version_info < (3, 9):
        # One collector for all of the process: it has been asked.
        return {"tracked": [], "frozen": [], "untracked": [], "types": [],
                "values": {}, "excluded": [], "checks": [], "checked": True}
    known = [row[0] for part in (document, *document["interpreters"])
             for key in ("tracked", "frozen", "untracked") for row in part[key]]
    _write(path, known)
    run(i, "truth.record_inside(%r)" % path)
    with open(path) as f:
        document = json.load(f)
    os.unlink(path)
    return document


def record_inside(path):
    """Runs in another interpreter of the child: writes what is in there.

    path has the addresses of what is known already: interpreters share objects,
    and where one leads into another, the recorder there must not be reached.
    """
    tracked = gc.get_objects()
    freeze_count = gc.get_freeze_count()
    gc.unfreeze()
    thawed = gc.get_objects()
    gc.disable()
    memory = _Memory()
    made = {id(o): "not on the collector's lists of the parent" for o in thawed
            if not memory.has_linked(id(o))}
    with open(path) as f:
        known = {int(address, 16) for address in json.load(f)}
    _write(path, _describe(tracked, thawed, freeze_count, made, known))


class _Memory:
    """The parent's, which stands still."""

    # With a __dict__, the first instance would make the class bigger (3.8-3.10).
    __slots__ = ("file",)

    def __init__(self):
        self.file = os.open("/proc/%d/mem" % os.getppid(), os.O_RDONLY)

    def words(self, address, count):
        # Not by struct: it keeps each format in a cache, in this very heap.
        data = os.pread(self.file, 8 * count, address)
        return [int.from_bytes(data[i:i + 8], "little")
                for i in range(0, 8 * count, 8)]

    def has_linked(self, address):
        """Whether a collector's list leads to the object and on from it."""
        head = address - 16
        try:
            after, before = (w & ~3 for w in self.words(head, 2))
            return after != 0 and self.words(before, 1)[0] & ~3 == head and (
                self.words(after + 8, 1)[0] & ~3 == head)
        except (OSError, OverflowError):
            return False


# ---- objects

CODE_MEMBERS = (
    ("co_code", "co_names", "co_consts", "co_varnames", "co_freevars",
     "co_cellvars", "co_filename", "co_name")
    if sys.version_info < (3, 11) else
    # co_code, co_varnames and their like are made when asked for.
    ("co_names", "co_consts", "co_filename", "co_name", "co_qualname",
     "co_linetable", "co_exceptiontable"))
if sys.version_info < (3, 10):
    CODE_MEMBERS += ("co_lnotab",)
elif sys.version_info < (3, 11):
    CODE_MEMBERS += ("co_linetable",)

HEAP_TYPE = 1 << 9
READY = 1 << 12
_type_flags = type.__dict__["__flags__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_bases = type.__dict__["__bases__"].__get__
_type_dict = type.__dict__["__dict__"].__get__
_type_module = type.__dict__["__module__"].__get__
_type_qualname = type.__dict__["__qualname__"].__get__
_type_flags = type.__dict__["__flags__"].__get__
_type_mro = type.__dict__["__mro__"].__get__


def _more_referents(o):
    """What o refers to beside gc.get_referents(), and surely no new object."""
    kind = type(o)
    if kind is types.CodeType:
        return [getattr(o, name) for name in CODE_MEMBERS]
    # 3.8's functools.KeyWrapper is used without ever being made ready.
    if issubclass(kind, type) and _type_flags(o) & (HEAP_TYPE | READY) == READY:
        attributes = _type_dict(o)
        return [_type_mro(o), _type_bases(o), *attributes.keys(),
                *attributes.values()]
    return ()


def _reachable(tracked, frozen, known):
    """Every other object that references lead to from them, but not to known."""
    seen = known.union(map(id, tracked), map(id, frozen))
    found = []

    def visit(o):
        for r in (type(o), *gc.get_referents(o), *_more_referents(o)):
            if id(r) not in seen:
                seen.add(id(r))
                found.append(r)

    for o in tracked:
        visit(o)
    for o in frozen:
        visit(o)
    for o in found:     # grows as it goes
        visit(o)
    return found


class _Rows:
    """Turns objects to rows [address, index in types, getsizeof, refcount]."""

    __slots__ = ("types", "index", "counts", "values", "failed", "dead", "memory",
                 "early", "later")

    def __init__(self, early, later):
        self.early = early      # address -> getsizeof before the recorder's references
        self.later = later      # another interpreter was described before this one
        self.types = []         # [name, address]
        self.index = {}         # address of a type -> index
        self.counts = {}        # ... -> values taken
        self.values = {}        # address -> [kind, text]
        self.failed = []        # what the parent's memory does not confirm
        self.dead = []          # [address, why]
        try:
            self.memory = _Memory()
        except OSError:
            self.memory = None

    def rows(self, objects):
        return [row for row in map(self.row, objects) if row is not None]

    def row(self, o):
        address = id(o)
        kind = type(o)
        refcount = self.check(address, id(kind))
        if refcount == 0:
            # CPython 3.12 Modules/_asynciomodule.c: module_traverse() visits
            # the free list of FutureIter.
            if not self.dead or self.dead[-1][0] != hex(address):
                self.dead.append([hex(address), "on a free list: no reference to it"])
            return None
        i = self.index.get(id(kind))
        if i is None:
            i = self.index[id(kind)] = len(self.types)
            self.types.append([type_name(kind), hex(id(kind))])
        # Up to 3.10 what runs 1,024 times gets caches (Python/ceval.c): the
        # recorder's own functions do, in the child alone.
        recorder = kind is types.CodeType and o.co_filename == __file__
        try:
            size = None if recorder else self.early.get(address) or sys.getsizeof(o)
        except Exception:
            size = None
        if self.counts.setdefault(i, 0) < SAMPLED_VALUES:
            value = short_value(o, kind)
            if value is not None:
                self.counts[i] += 1
                self.values[hex(address)] = value
        return [hex(address), i, size, refcount]

    def check(self, address, kind):
        """The parent's reference count of an object, whose type must agree."""
        if self.memory is None:
            return None
        try:
            count, found = self.memory.words(address, 2)
        except OSError:
            count = found = 0
        if self.later and (found != kind or count >> 40 and count >> 32 != 0xffffffff):
            # Describing the first one readied types that both share, and this
            # one may import: what that made is in the child alone, as the
            # parent's memory shows (a free block's first word is a link).
            self.dead.append([hex(address), "not in the parent"])
            return 0
        if found != kind:
            self.failed.append(["type", hex(address), hex(kind), hex(found)])
        return count & 0xffffffff if sys.version_info >= (3, 12) else count


def _c_types():
    """Each type of C whose instances the collector watches, and all that derive from it, by name."""
    HEAP, WATCHED = 1 << 9, 1 << 14
    below = {}      # kind -> those that derive from it, itself too
    for kind in _kinds():
        for base in _type_mro(kind):
            below.setdefault(base, []).append(kind)
    with open("/proc/%d/mem" % os.getppid(), "rb", buffering=0) as memory:
        return {type_name(kind): sorted(map(type_name, kinds)) for kind, kinds in below.items()
                if _type_flags(kind) & WATCHED
                and not (_type_flags(kind) & HEAP and _is_python_class(memory, kind))}


def _kinds():
    kinds = {object}
    todo = [object]
    while todo:
        for kind in type.__subclasses__(todo.pop()):
            if kind not in kinds:
                kinds.add(kind)
                todo.append(kind)
    return kinds


def _is_python_class(memory, kind):
    """Its tp_name is its bare name: types of C have their module's before it."""
    TP_NAME = 24
    memory.seek(id(kind) + TP_NAME)
    memory.seek(int.from_bytes(memory.read(8), sys.byteorder))
    return b"." not in memory.read(200).split(b"\0")[0]


def type_name(kind):
    """__module__.__qualname__, the qualname alone where there is no module."""
    try:
        module = _type_module(kind)
    except AttributeError:
        module = None
    name = _type_qualname(kind)
    return module + "." + name if isinstance(module, str) else name


def short_value(o, kind):
    """[kind, what a short value of o must say], None for kinds that have none."""
    if kind is str or kind is bytes:
        return [kind.__name__, repr(o[:200]), len(o)]
    if kind is int:
        return ["int", repr(o)] if o.bit_length() < 1000 else None
    if kind is float or kind is bool or o is None:
        return [kind.__name__, repr(o)]
    if kind is types.FunctionType:
        return ["function", o.__qualname__]
    if kind is types.ModuleType:
        return ["module", types.ModuleType.__getattribute__(o, "__name__")]
    if kind is type:
        return ["type", _type_qualname(o)]
    return None
