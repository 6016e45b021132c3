# SPDX-License-Identifier: GPL-3.0-or-later
"""Python where it is not a program of its own: inside of others, twice, run as a script,
forked, not yet started, already ending."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

import compare
import cores
import interpreters
import tool
from runner import Skip, each_python, times

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = "import sysconfig as s; print(s.get_config_var('LIBDIR'), s.get_config_var('INSTSONAME'))"


@functools.lru_cache(maxsize=None)
def library_of(python: interpreters.Interpreter) -> str | None:
    """The shared library of an interpreter: its own, or one that lies beside it."""
    if python.library:
        return python.library
    said = subprocess.run(python.command("-c", LIBRARY), capture_output=True, text=True,
                          env=python.environment()).stdout.split()
    path = os.path.join(*said) if len(said) == 2 else ""
    native = not os.path.isdir(os.path.join(os.path.dirname(python.path), "root"))
    return path if native and ".so" in path and os.path.isfile(path) else None


def with_libraries(count: int) -> list[interpreters.Interpreter]:
    """The oldest and the newest that have one, or as many of these."""
    found = [p for p in interpreters.chosen() if not p.stripped and library_of(p)]
    if not found:
        raise Skip("no interpreter here has a shared library")
    return list(dict.fromkeys([found[0], found[-1]][:count]))


def prefix_of(python: interpreters.Interpreter) -> str:
    return subprocess.run(python.command("-c", "import sys; print(sys.base_prefix)"), text=True,
                          capture_output=True, env=python.environment()).stdout.strip()


class Host:
    """host.c, linked with an interpreter's library: a cores.Target runs it as one."""

    def __init__(self, python: interpreters.Interpreter, directory: str, *others: str):
        self.python, self.others = python, others
        self.library, self.program = library_of(python), os.path.join(directory, "host")
        self.home = prefix_of(python)
        compiler = shutil.which("cc") or shutil.which("gcc")
        subprocess.run([compiler, "-o", self.program, os.path.join(HERE, "host.c"),
                        "-Wl,--no-as-needed", self.library,
                        f"-Wl,-rpath,{os.path.dirname(self.library)}", "-ldl"], check=True)

    def command(self, *args: str) -> list[str]:
        return [self.program, self.library, *self.others, "--", *args]

    def environment(self) -> dict[str, str]:
        return {**self.python.environment(), "PYTHONHOME": self.home,
                "PYTHONDONTWRITEBYTECODE": "1"}


def check(core: str, truth: str) -> None:
    document = tool.ask("types", core, "--limit", "0")
    differences = compare.compare_types(compare.Truth(truth), document)
    assert not differences, str(differences)
    assert not document["warnings"], document["warnings"]


@contextlib.contextmanager
def running(command: list[str], word: bytes = b"ready\n", **options):
    """A process that has said the word; it is killed at the end."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                               **options)
    with process:
        try:
            assert process.stdout.readline() == word
            yield process
        finally:
            process.kill()


def script(directory: str, text: str) -> str:
    path = os.path.join(directory, "script.py")
    with open(path, "w") as f:
        f.write(text)
    return path


# ---- inside of another program

@each_python()
def test_in_a_program_of_c(python):
    if not library_of(python):
        raise Skip("it has no shared library here")
    with tempfile.TemporaryDirectory() as directory:
        host = Host(python, directory)
        with cores.Target(host, os.path.join(directory, "target"), "instances", "numbers") as target:
            core = target.core("gcore", os.path.join(directory, "core"))
            check(f"pid:{target.pid}", target.truth_path())
        check(core, target.truth_path())
        assert tool.ask("info", core)["target"]["exe"] == host.program


def test_started_again():
    """What was finalized before has left objects that are still linked; `gc` says how many."""
    for python in with_libraries(1):
        with tempfile.TemporaryDirectory() as directory:
            host = Host(python, directory)
            with cores.Target(host, os.path.join(directory, "target"), "instances",
                              env={"HOST_ROUNDS": "3"}) as target:
                truth = compare.Truth(target.truth_path())
                document = tool.ask("types", f"pid:{target.pid}", "--limit", "0")
                collector = tool.ask("gc", f"pid:{target.pid}")
            assert not document["warnings"], document["warnings"]
            other = {what for what, _ in compare.compare_types(truth, document).groups}
            assert other <= {"types: gc_tracked", "types: a row for what is not there"}, other
            assert document["trust"]["unexplained"] <= 20, document["trust"]
            tracked = sum(row.gc_tracked for row in truth.objects.values())
            assert document["totals"]["gc_tracked"] - collector["unlisted"] == tracked, (
                document["totals"], collector["unlisted"], tracked)


def test_finalized():
    for python in with_libraries(2):
        with tempfile.TemporaryDirectory() as directory:
            host = Host(python, directory)
            command = host.command(script(directory, "kept = [[] for _ in range(1000)]"))
            with running(command, b"ended\n", env={**host.environment(), "HOST_END": "1"}) as process:
                done = tool.run("types", f"pid:{process.pid}")
            assert done.returncode == 3 and "finalized" in done.stderr, done


# ---- more than one

COUNTED = """
import gc, os, sys
class Node: pass
kept = [Node() for _ in range(2000 if copy == %d else 100)]
gc.collect()
gc.disable()
tracked = len(gc.get_objects()) + gc.get_freeze_count()
os.write(1, b"%%d " %% tracked if copy == 1 else b"%%d\\n" %% tracked)
"""


def test_two_that_live():
    """The larger is read; what the other has is said."""
    for python in with_libraries(2):
        for larger in (1, 2):
            with tempfile.TemporaryDirectory() as directory:
                host = Host(python, directory, library_of(python))
                command = host.command(script(directory, COUNTED % larger))
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           env=host.environment())
                with process:
                    tracked = [int(word) for word in process.stdout.readline().split()]
                    document = tool.ask("types", f"pid:{process.pid}", "--limit", "0")
                    process.kill()
            check_two(document, tracked[larger - 1], tracked[2 - larger])


def check_two(document: dict, tracked: int, of_other: int) -> None:
    rows = {row["type"]: row for row in document["types"]}
    assert rows["__main__.Node"]["count"] == 2000
    # The script has made some, and freed some, since it counted.
    assert abs(document["totals"]["gc_tracked"] - tracked) < 20, (document["totals"], tracked)
    other, = [w["text"] for w in document["warnings"] if w["kind"] == "other-runtime"]
    said = int(other.split(" tracks ")[1].split()[0])
    assert abs(said - of_other) < 20, (other, of_other)


HELD = """
import os
class Node: pass
if copy == %d:
    nodes = [Node() for _ in range(20000)]
    exec(open(%r).read().replace("\\n    sys.stdin.read()\\n", "\\n"))
if copy == 2:
    os.write(1, b"ready\\n")
"""


def test_two_heaps_of_malloc():
    """Each copy has a libc of its own, of which brk() serves the first one only."""
    for python in with_libraries(2):
        for larger in (1, 2):
            with tempfile.TemporaryDirectory() as directory:
                host = Host(python, directory, library_of(python))
                text = HELD % (larger, os.path.join(cores.HERE, "held.py"))
                process = subprocess.Popen(host.command(script(directory, text)), stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, env=host.environment())
                with process:
                    said = json.loads(process.stdout.readline())
                    assert process.stdout.readline() == b"ready\n"
                    others = compare.held(f"pid:{process.pid}", said, "other-runtime")
                    process.kill()
            assert others == [], others


MAPPED = """
import ctypes, gc, os, sys
def wait():
    gc.collect()
    os.write(1, b"ready\\n")
    os.read(0, 1)
ctypes.CDLL("libm.so.6")
wait()
for library in sys.argv[1:]:
    ctypes.CDLL(library)
wait()
"""


def test_mapped_again():
    """Libraries of Python that were mapped beside the interpreter and never started."""
    libraries = [library_of(p) for p in interpreters.chosen() if not p.stripped and library_of(p)]
    if not libraries:
        raise Skip("no interpreter here has a shared library")
    chosen = [p for p in interpreters.chosen() if not p.stripped and p.path.startswith(("/usr", "/root"))]
    for python in dict.fromkeys([chosen[0], chosen[len(chosen) // 2], chosen[-1]]):
        with tempfile.TemporaryDirectory() as directory:
            others = [l for l in dict.fromkeys(libraries) if l != python.library]
            with running(python.command(script(directory, MAPPED), *others),
                         env=python.environment()) as process:
                check_mapped(process)


def check_mapped(process) -> None:
    target = f"pid:{process.pid}"
    before = tool.ask("types", target, "--limit", "0")
    process.stdin.write(b"\n")
    assert process.stdout.readline() == b"ready\n"
    after = tool.ask("types", target, "--limit", "0")
    # Without files no symbol tells a library's runtime.
    with tempfile.TemporaryDirectory() as empty:
        blind = tool.ask("types", target, "--limit", "0", "--sysroot", empty)
    kept, now = ({r["type"]: r["count"] for r in d["types"]} for d in (before, after))
    grown = {t: now.get(t, 0) - kept.get(t, 0) for t in {**kept, **now}
             if now.get(t, 0) != kept.get(t, 0)}
    assert sum(map(abs, grown.values())) < 60, grown
    assert not before["warnings"] and not after["warnings"], after["warnings"]
    assert blind["totals"]["objects"] == after["totals"]["objects"], (blind["totals"], after["totals"])


# ---- how it was started

def test_a_script_is_the_program():
    """A script's first line names the interpreter; the kernel records the script."""
    native = [p for p in interpreters.chosen() if not p.stripped and
              open(p.path, "rb").read(4) == b"\x7fELF"]
    if not native:
        raise Skip("no interpreter here is a program of its own")
    for python, kind in ((native[0], "gcore"), (native[-1], "kernel")):
        with tempfile.TemporaryDirectory() as directory:
            check_script(python, kind, directory)


class Script(interpreters.Interpreter):
    """Started by a script's own name."""

    def command(self, *args: str) -> list[str]:
        path = args[0] + ".start"
        with open(path, "w") as f:
            f.write(f"#!{self.path} -B\nimport sys\nsys.argv[0] = {args[0]!r}\n"
                    f"sys.path.insert(0, {os.path.dirname(args[0])!r})\n"
                    "exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))\n")
        os.chmod(path, 0o755)
        return [path, *args[1:]]


def check_script(python: interpreters.Interpreter, kind: str, directory: str) -> None:
    started = Script(python.name, python.path, python.version, python.library)
    copied = os.path.join(directory, "everything.py")
    with open(copied, "w") as f:
        f.write(f"import sys\nsys.path.insert(0, {cores.HERE!r})\n"
                f"exec(compile(open({cores.TARGET!r}).read(), {cores.TARGET!r}, 'exec'))\n")
    with cores.Target(started, os.path.join(directory, "target"), "instances",
                      script=copied) as target:
        core = target.core(kind, os.path.join(directory, "core"))
    check(core, target.truth_path())
    document = tool.ask("info", core)["target"]
    assert os.path.realpath(document["exe"]) == os.path.realpath(python.path), document
    assert copied + ".start" in document["command_line"], document


# ---- forked

FORKED = """
import ctypes, gc, os, sys, threading
class Node: pass
kept = [Node() for _ in range(1000)]
event = threading.Event()
for _ in range(3):
    threading.Thread(target=event.wait, daemon=True).start()
child = ctypes.PyDLL(None).fork() if sys.argv[1] == "c" else os.fork()
if child == 0:
    kept += [Node() for _ in range(234)]
    del kept[:34]
    gc.collect()
    os.write(1, b"ready\\n")
os.read(0, 1)
"""


@each_python()
def test_forked(python):
    """Of the child alone; one that C has forked has threads without a thread."""
    for how, threads in (("python", 1), ("c", 4)):
        with tempfile.TemporaryDirectory() as directory:
            with running(python.command(script(directory, FORKED), how), start_new_session=True,
                         env=python.environment()) as process:
                with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
                    child = int(f.read().split()[0])
                try:
                    document = tool.ask("types", f"pid:{child}", "--limit", "0")
                    info = tool.ask("info", f"pid:{child}")
                finally:
                    os.kill(child, signal.SIGKILL)
        assert not document["warnings"], document["warnings"]
        count, = [r["count"] for r in document["types"] if r["type"] == "__main__.Node"]
        assert count == 1200, count
        assert len(info["threads"]) == threads, (how, info["threads"])


# ---- not yet, and no more

def test_starting():
    """At any moment of its start: a part of the objects, or a plain sentence."""
    seed = random.randrange(1 << 30)
    moment = random.Random(seed)
    answered = 0
    for python in interpreters.chosen():
        if python.stripped:
            continue
        for _ in range(times(6, 300)):
            process = subprocess.Popen(python.command("-c", "import time; time.sleep(60)"),
                                       env=python.environment())
            time.sleep(moment.uniform(0, 0.06))
            process.send_signal(signal.SIGSTOP)
            done = tool.run("types", f"pid:{process.pid}", "--limit", "0", "--json")
            process.kill()
            process.wait()
            assert done.returncode in (0, 3), (seed, done)
            if done.returncode:
                assert done.stderr.count("\n") == 1, (seed, done.stderr)
                continue
            answered += 1
            check_beginning(json.loads(done.stdout), (seed, python.name))
    assert answered, seed


def check_beginning(document: dict, where) -> None:
    """What C alone has at that moment, as a module that is being read, is counted as not known."""
    trust = document["trust"]
    kinds = {w["kind"] for w in document["warnings"]}
    few = trust["unexplained"] <= trust["blocks"] / 50
    assert few or "unexplained-blocks" in kinds, (where, trust)
    # An allocator, too, may be in the middle of something.
    assert kinds <= {"starting", "collecting", "unexplained-blocks", "malloc-heap", "pool-count",
                     "unowned-memory"}, (where, document["warnings"])


ENDING = """
import atexit, builtins, os, sys
class Node: pass
kept = [Node() for _ in range(1000)]
class Wait:
    def __del__(self, write=os.write, read=os.read):
        write(1, b"ready\\n")
        read(0, 1)
where = sys.argv[1]
if where == "atexit":
    atexit.register(Wait().__del__)
elif where == "main":
    kept.append(Wait())
elif where == "builtins":
    builtins.kept, builtins.wait = kept, Wait()
elif where == "sys":
    sys.kept, sys.wait = kept, Wait()
"""


@each_python()
def test_ending(python):
    """In an exit function, when modules are cleared, and when sys itself is gone."""
    with tempfile.TemporaryDirectory() as directory:
        path = script(directory, ENDING)
        for where in ("atexit", "main", "builtins", "sys"):
            with running(python.command(path, where), env=python.environment()) as process:
                done = tool.run("types", f"pid:{process.pid}", "--limit", "0", "--json")
                process.kill()
            check_ending(done, where)


def check_ending(done, where: str) -> None:
    if where == "sys":
        assert done.returncode == 3 and ("ending" in done.stderr or "finalized" in done.stderr), done
        return
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    kinds = {w["kind"] for w in document["warnings"]}
    assert kinds <= {"finalizing", "collecting"}, document["warnings"]
    assert ("finalizing" in kinds) == (where != "atexit"), (where, kinds)
    count, = [r["count"] for r in document["types"] if r["type"] == "__main__.Node"]
    assert count == 1000, (where, count)
    assert document["trust"]["unexplained"] <= 5, document["trust"]
