# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture --fork`: the process takes no notice of it, whatever it is doing and whatever becomes of us."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time

import compiled
import cores
import elfcore
import interpreters
import tool
from capturing import check_refused, fork
from living import (ANSWER_WITHIN, ECHO, Program, Worker, children, fields, is_untouched,
                    memory_limit, of_user, script, wait_until)
from runner import Skip, times


# ---- what is in the core

def test_core_of_one_moment():
    for python in {p.name: p for p in (interpreters.chosen()[0], interpreters.chosen()[-1])}.values():
        check_core_of_one_moment(python)


def check_core_of_one_moment(python):
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory, "instances", "dicts", "sequences") as target:
            target.truth_path()
            before = children(target.pid)
            told = fork(target.pid, directory)
            theirs = target.core("gcore", os.path.join(directory, "theirs"))
            core = os.path.join(directory, "core")
            of = elfcore.Core(core)
            differences = [hex(at) for place, at, now in cores.differences(core, target.pid)
                           if not now or not of.is_rseq(at, of.bytes[place:place + len(now)], now)]
            assert is_untouched(target.pid) and children(target.pid) == before
            target.go_on()
            target.truth_path()
        assert told["method"] == "fork" and told["warnings"] == [], told
        assert not differences, differences
        answers = [tool.ask("types", path, "--limit", "0") for path in (core, theirs)]
        for answer in answers:
            del answer["target"]["path"]
        assert answers[0] == answers[1]
        assert tool.ask("info", core)["taken"]["method"] == "fork"
        pids, = {tuple(elfcore.Core(path).pids()) for path in (core, theirs)}
        assert pids[0] == target.pid


SPECIAL = """
import ctypes, mmap, os, sys
maps = []
libc = ctypes.CDLL(None)
for advice, byte in ((0, b"n"), (10, b"d"), (18, b"w")):    # none, DONTFORK, WIPEONFORK
    m = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    m.write(byte * (1 << 20))
    address = ctypes.addressof(ctypes.c_char.from_buffer(m))
    if advice:
        assert not libc.madvise(ctypes.c_void_p(address), 1 << 20, advice)
    maps.append((m, address))
shared = mmap.mmap(-1, 1 << 20)
shared.write(b"s" * (1 << 20))
print("ready", flush=True)
addresses = [a for _, a in maps] + [ctypes.addressof(ctypes.c_char.from_buffer(shared))]
for line in sys.stdin:
    print(*addresses, flush=True)
"""


def test_memory_that_no_child_has():
    with script(SPECIAL) as program, tempfile.TemporaryDirectory() as directory:
        addresses = [int(word) for word in program.ask().split()]
        for more in ((), ("--full",), ("--compress",)):
            fork(program.pid, directory, *more)
            if more == ("--compress",):
                continue
            core = elfcore.Core(os.path.join(directory, "core"))
            for address, byte in zip(addresses, (b"n", b"d", b"w")):
                assert core.read(address, 1 << 20) == byte * (1 << 20), byte
            shared = core.read(addresses[3], 1 << 20)
            assert shared == (b"s" * (1 << 20) if more else None)


MOMENT = """
import ctypes, mmap, sys, threading
heap = [bytes(1000) for _ in range(100000)]
maps = [mmap.mmap(-1, 4096, flags) for flags in (0x22, 0x21, 0x22)]     # private, shared, private
words = [ctypes.c_uint64.from_buffer(m) for m in maps]
addresses = [ctypes.addressof(word) for word in words]
assert not ctypes.CDLL(None).madvise(ctypes.c_void_p(addresses[2]), 4096, 10)   # DONTFORK
def count():
    n = 0
    while True:
        n += 1
        for word in words:
            word.value = n
threading.Thread(target=count, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    print(*addresses, flush=True)
"""


def test_memory_that_no_child_has_is_of_the_same_moment():
    with script(MOMENT) as program, tempfile.TemporaryDirectory() as directory:
        addresses = [int(word) for word in program.ask().split()]
        for _ in range(3):
            fork(program.pid, directory, "--full")
            core = elfcore.Core(os.path.join(directory, "core"))
            first, *others = (int.from_bytes(core.read(at, 8), "little") for at in addresses)
            assert first and all(first - 1 <= other <= first for other in others), (first, others)


def test_its_pages_stay_shared():
    """Reading them does not copy them, in the child or its parent."""
    with Worker("heap", "300") as worker, tempfile.TemporaryDirectory() as directory:
        command = subprocess.Popen([tool.path(), "capture", str(worker.pid), "--fork", "-o",
                                    os.path.join(directory, "core")], stdout=subprocess.DEVNULL)
        private, seen = 0, 0
        while command.poll() is None:
            for child in children(worker.pid):
                with contextlib.suppress(OSError), open(f"/proc/{child}/smaps_rollup") as f:
                    kib = {words[0]: int(words[1]) for words in map(str.split, f) if len(words) == 3}
                    if kib["Rss:"] > 300 * 1000:
                        private = max(private, kib["Private_Dirty:"] + kib["Private_Clean:"])
                        seen += 1
        assert command.returncode == 0 and seen, (command.returncode, seen)
        assert private < 16 * 1024, (private, seen)


# ---- taken no notice of

# What the thread that runs our call was doing, how we capture, and how often we try.
STAGES = (("compute", "--fork", 24), ("sleep", "--fork", 8), ("epoll", "--fork", 8),
          ("read", "--fork", 8), ("compute", "--full", 8))


def at_every_stage(variable: str, part: int, check) -> None:
    """
    Runs us on a program that tells of its registers, with this variable of killer.c.
    It goes on, its registers are its own, its next answer comes; what is left can be
    cleared.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = compiled.program("registers", directory)
        killer = compiled.program("killer", directory, "-shared", "-fPIC")
        count = os.path.join(directory, "count")
        environment = {**os.environ, "LD_PRELOAD": killer, "KILL_COUNT": count}
        for kind, how, usual in STAGES:
            with Program(path, kind) as program:
                command = [tool.path(), "capture", str(program.pid), how, "-o",
                           os.path.join(directory, "core")]
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
                with open(count) as f:
                    kills, fails = map(int, f.read().split())
                steps = {"KILL_AT": kills, "FAIL_AT": fails}[variable]
                assert kills > fails > {"--fork": 30, "--full": 10}[how], (kind, how, kills, fails)
                assert program.ask().startswith("ok") and not children(program.pid)
                for stage in random.sample(range(steps), min(times(usual // part, 100000), steps)):
                    done = subprocess.run(command, env={**environment, variable: str(stage)},
                                          capture_output=True, text=True, timeout=ANSWER_WITHIN)
                    check(done, (kind, how, stage, done))
                    assert program.ask().startswith("ok"), (kind, how, stage)
                wait_until(lambda: is_untouched(program.pid))
                told = tool.ask("capture", str(program.pid), "--reap")
                assert told["left"] == 0 and not children(program.pid), told
                assert how == "--fork" or told["reaped"] == 0, told
                assert program.ask().startswith("ok")
        assert set(os.listdir(directory)) <= {"registers", "killer", "count", "core"}


def test_killed_at_every_stage():
    def check(done, where):
        # How many there are differs.
        assert done.returncode in (-signal.SIGKILL, 0), where

    at_every_stage("KILL_AT", 1, check)


def test_failed_at_every_stage():
    """A call of ours fails, as when its thread is killed: we say so, if it matters."""
    def check(done, where):
        assert done.returncode in (0, 3), where
        assert done.stderr.count("\n") == (done.returncode == 3), where

    at_every_stage("FAIL_AT", 2, check)


KINDS = ("nanosleep", "clock_nanosleep", "futex", "futex_timed", "read", "recv", "poll", "select",
         "pselect", "sem_timedwait", "waitpid", "flock", "accept")
NOT_RESTARTED = ("epoll_wait", "recv_timed", "sigtimedwait")     # signal(7): by no stop
EXPECTED = {"futex_timed": "-1 110", "sem_timedwait": "-1 110", "recv_timed": "-1 11",
            "sigtimedwait": "-1 11", "read": "1 0", "recv": "1 0"}


def test_blocked_calls():
    """They go on as if nothing had been."""
    seconds = 10
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        path = compiled.program("blocked", directory)
        programs = {kind: stack.enter_context(Program(path, kind, str(seconds)))
                    for kind in KINDS + NOT_RESTARTED}
        time.sleep(0.2)
        late = set()
        for kind, program in programs.items():
            done = tool.run("capture", str(program.pid), "--fork", "-o",
                            os.path.join(directory, kind))
            if done.returncode:
                assert "ended" in done.stderr or "no process" in done.stderr, (kind, done)
                late.add(kind)
        if len(late) > 8:
            raise Skip("this machine is too busy: they had ended before")
        for kind, program in programs.items():
            result, again = program.line().rsplit(" ", 1)
            expected = EXPECTED.get(kind, "0 0")
            assert result == expected, (kind, result)
            # Each of the two stops of one thread ends such a call, as any stop does.
            assert int(again) <= (2 if kind in NOT_RESTARTED else 0), (kind, again)


WAITING = """
import asyncio, os, signal, subprocess, sys, threading

odd = []
rounds = [0]
signals = [0]

def on_child(*_):
    signals[0] += 1

signal.signal(signal.SIGCHLD, on_child)

def wait_for_any():
    while True:
        mine = os.fork()
        if not mine:
            os._exit(7)
        pid, status = os.wait()
        if (pid, status) != (mine, 7 << 8):
            odd.append(("wait", pid, status, mine))
        try:
            odd.append(("waitpid", os.waitpid(-1, os.WNOHANG)))
        except ChildProcessError:
            pass
        done = subprocess.run(["true"])
        if done.returncode:
            odd.append(("run", done.returncode))
        rounds[0] += 1

async def watch():
    while True:
        process = await asyncio.create_subprocess_exec("true")
        code = await process.wait()
        if code:
            odd.append(("asyncio", code))
        rounds[0] += 1

def answer():
    for line in sys.stdin:
        print(rounds[0], odd, flush=True)
    os._exit(0)

print("ready", flush=True)
threading.Thread(target=answer, daemon=True).start()
if sys.argv[1] == "wait":
    wait_for_any()
else:
    asyncio.run(watch())
"""


def test_one_that_waits_for_any_child():
    python = interpreters.chosen()[-1]
    for kind in ("wait", "asyncio"):
        with tempfile.TemporaryDirectory() as directory, Program(
                *python.command("-c", WAITING, kind), env=python.environment(),
                stderr=subprocess.DEVNULL) as program:
            taken = 0
            for _ in range(times(8, 300)):
                before = int(program.ask().split()[0])
                done = tool.run("capture", str(program.pid), "--fork", "-o",
                                os.path.join(directory, "core"))
                taken += done.returncode == 0
                # In vfork() a thread does not stop; it may have no stack of its own there.
                assert done.returncode == 0 or "does not stop" in done.stderr or (
                    "can run our call" in done.stderr), done
                wait_until(lambda: int(program.ask().split()[0]) > before)
            rounds, odd = program.ask().split(" ", 1)
            assert odd == "[]", (kind, odd)
            assert taken and int(rounds) > taken, (kind, taken, rounds)


STORM = """
import os, signal, sys
counts = {}
def count(number, _):
    counts[number] = counts.get(number, 0) + 1
signal.signal(signal.SIGALRM, count)
signal.signal(signal.SIGPROF, count)
signal.signal(signal.SIGUSR1, count)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
print("ready", flush=True)
x = [[i] for i in range(100000)]
import threading
def burn():
    while True:
        sum(i for i in range(1000))
threading.Thread(target=burn, daemon=True).start()
for line in sys.stdin:
    print(counts.get(signal.SIGALRM, 0), counts.get(signal.SIGPROF, 0), counts.get(signal.SIGUSR1, 0),
          flush=True)
"""


def test_signal_storm():
    with script(STORM) as program, tempfile.TemporaryDirectory() as directory:
        program.ask()
        taken = 0
        for _ in range(times(10, 1000)):
            done = tool.run("capture", str(program.pid), "--fork", "-o",
                            os.path.join(directory, "core"))
            taken += done.returncode == 0
            assert done.returncode == 0 or "about to take a signal" in done.stderr, done
            os.kill(program.pid, signal.SIGUSR1)
            before = program.ask().split()
            wait_until(lambda: all(int(a) > int(b) for a, b in
                                   zip(program.ask().split()[:1], before[:1])))
            assert not children(program.pid)
        assert taken
        assert int(program.ask().split()[2]) > 0
        wait_until(lambda: is_untouched(program.pid))


SERVING = """
import os, signal, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
workers = []
heap = [[i] for i in range(100000)]
for _ in range(3):
    pid = os.fork()
    if not pid:
        while True:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"%d %s" % (os.getpid(), peer.recv(100)))
    workers.append(pid)
print("ready", flush=True)
for line in sys.stdin:
    if line == "end\\n":
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        print(sorted(os.wait() for _ in workers) == sorted((pid, 15) for pid in workers), flush=True)
    else:
        print(listener.getsockname()[1], *workers, flush=True)
"""


def test_preforking_server():
    """Each worker and their parent; requests meanwhile are answered."""
    import socket

    def request(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN) as peer:
            peer.sendall(b"hello")
            return peer.recv(100)

    with script(SERVING) as program, tempfile.TemporaryDirectory() as directory:
        port, *workers = map(int, program.ask().split())
        for pid in (*workers, program.pid):
            command = subprocess.Popen([tool.path(), "capture", str(pid), "--fork", "-o",
                                        os.path.join(directory, "core")],
                                       stdout=subprocess.DEVNULL)
            while command.poll() is None:
                worker, text = request(port).split()
                assert int(worker) in workers and text == b"hello"
            assert command.returncode == 0
            assert is_untouched(pid) and set(children(program.pid)) == set(workers)
            request(port)
        assert program.ask("end") == "True"


def test_interrupted():
    """Told to end, we undo it first."""
    with Worker("heap", "100") as worker, tempfile.TemporaryDirectory() as directory:
        for i in range(6):
            command = subprocess.Popen([tool.path(), "capture", str(worker.pid), "--fork", "-o",
                                        os.path.join(directory, "core"), "--compress"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: children(worker.pid) or command.poll() is not None)
            command.send_signal(signal.SIGTERM)
            assert command.wait(ANSWER_WITHIN) in (0, -signal.SIGTERM)
            assert not children(worker.pid)
            worker.check_untouched()
        assert set(os.listdir(directory)) <= {"core"}


def test_dies_meanwhile():
    for i in range(5):
        with Worker("heap", "100") as worker, tempfile.TemporaryDirectory() as directory:
            command = subprocess.Popen([tool.path(), "capture", str(worker.pid), "--fork", "-o",
                                        os.path.join(directory, "core")], text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            wait_until(lambda: children(worker.pid) or command.poll() is not None)
            worker.process.kill()
            _, said = command.communicate(timeout=ANSWER_WITHIN)
            assert command.returncode in (0, 3), (command.returncode, said)
            assert set(os.listdir(directory)) <= {"core"}


EXECUTES = """
import os, sys
heap = [bytes(1000) for _ in range(100000)]
print("ready", flush=True)
sys.stdin.readline()
os.execv("/bin/sh", ["sh", "-c", "echo other; while read x; do echo $x; done"])
"""


def test_runs_another_program_meanwhile():
    """The child is not kept: it would hold open what the new program closed."""
    for _ in range(3):
        with script(EXECUTES) as program, tempfile.TemporaryDirectory() as directory:
            command = subprocess.Popen([tool.path(), "capture", str(program.pid), "--fork", "-o",
                                        os.path.join(directory, "core")], text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            wait_until(lambda: children(program.pid) or command.poll() is not None)
            assert program.ask() == "other"
            _, said = command.communicate(timeout=ANSWER_WITHIN)
            assert command.returncode == 0 or "another program" in said, said
            tool.ask("capture", str(program.pid), "--reap")
            assert not children(program.pid)
            assert program.ask("hello") == "hello"


EXECUTES_ITSELF = """
import os, select, sys
if len(sys.argv) == 1:
    os.write(1, b"ready\\n")
while select.select([0], [], [], 0.002)[0]:
    line = os.read(0, 100)
    if not line:
        sys.exit()
    os.write(1, line)
os.execv(sys.argv[0], [sys.argv[0], __file__, "again"])
"""


def test_ones_that_are_never_the_same():
    """Threads that come and go, a program that starts itself anew again and again."""
    def check(program, ask):
        taken = 0
        for i in range(times(10, 1000)):
            how = ("--fork",) if i % 2 else ()
            done = tool.run("capture", str(program.pid), *how, "-o", os.path.join(directory, "core"))
            taken += done.returncode == 0
            assert done.returncode in (0, 3), done
            assert done.stderr.count("\n") == (done.returncode == 3), done
            ask()
        wait_until(lambda: tool.run("capture", str(program.pid), "--reap").returncode == 0
                   and not children(program.pid))
        wait_until(lambda: is_untouched(program.pid))
        return taken

    with tempfile.TemporaryDirectory() as directory:
        with Worker("churn") as worker:
            assert check(worker, lambda: worker.ask()) > 2
        python = interpreters.chosen()[-1]
        path = os.path.join(directory, "again.py")
        with open(path, "w") as f:
            f.write(EXECUTES_ITSELF.replace("sys.argv[0]", repr(python.path)))
        with Program(*python.command(path), env=python.environment()) as program:
            check(program, lambda: program.ask())


def test_many_in_a_row():
    """Nothing of ours stays: no file, no process, no thread, no memory."""
    with Worker("threads", "3") as worker, tempfile.TemporaryDirectory() as directory:
        def facts():
            return worker.files(), children(worker.pid), len(worker.states())

        fork(worker.pid, directory)
        before, resident = facts(), int(fields(worker.pid)["VmRSS"].split()[0])
        for i in range(times(30, 10000)):
            how = ("--fork",) if i % 2 else ()
            done = tool.run("capture", str(worker.pid), *how, "-o", os.path.join(directory, "core"))
            assert done.returncode == 0, (i, done)
        assert facts() == before
        assert int(fields(worker.pid)["VmRSS"].split()[0]) - resident < 1024
        assert os.listdir(directory) == ["core"]
        wait_until(lambda: is_untouched(worker.pid))
        worker.check_untouched()


# ---- refused

def test_stopped_one_is_refused():
    with Worker("threads", "2") as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        wait_until(lambda: {s for s, _ in worker.states().values()} == {"T"})
        check_refused(worker.pid, "SIGSTOP")
        with tempfile.TemporaryDirectory() as directory:
            tool.ask("capture", str(worker.pid), "-o", os.path.join(directory, "core"))
        wait_until(lambda: set(worker.states().values()) == {("T", 0)})
        os.kill(worker.pid, signal.SIGCONT)
        worker.check_untouched()


def test_at_the_edge_of_its_limit():
    """A fork is refused with figures, a copy made beside; the worker lives."""
    with memory_limit(1 << 30) as group, tempfile.TemporaryDirectory() as directory:
        with Worker("heap", "100", preexec_fn=group) as worker:
            group.set_limit(int(group.usage() / 0.97))
            check_refused(worker.pid, "cgroup", "bytes", "1.1 times")
            told = tool.ask("capture", str(worker.pid), "-o", os.path.join(directory, "core"))
            assert told["method"] == "copy"
            # From within its cgroup, as in its container: if that is too much, we are who goes.
            within = [tool.path(), "capture", str(worker.pid), "--json", "-o",
                      os.path.join(directory, "within")]
            options = dict(capture_output=True, text=True, timeout=100, preexec_fn=group)
            done = subprocess.run(within, **options)
            assert done.returncode in (0, 3, -signal.SIGKILL), done
            worker.check_untouched()
            # There is room for us, but not for a copy.
            group.set_limit(group.usage() + (64 << 20))
            done = subprocess.run(within, **options)
            assert done.returncode == 0 and '"method": "stream"' in done.stdout, done
            worker.check_untouched()
            heap = [next(row["count"] for row in
                         tool.ask("types", os.path.join(directory, name))["types"]
                         if row["type"] == "builtins.bytes") for name in ("core", "within")]
            assert heap[0] > 100000 and abs(heap[0] - heap[1]) < 100, heap


def test_given_up_when_memory_runs_short():
    with memory_limit(2 << 30) as group, tempfile.TemporaryDirectory() as directory:
        with Worker("heap", "400", preexec_fn=group) as worker:
            for _ in range(20):
                group.set_limit(2 << 30)
                command = subprocess.Popen([tool.path(), "capture", str(worker.pid), "--fork", "-o",
                                            os.path.join(directory, "core")], text=True,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                wait_until(lambda: children(worker.pid) or command.poll() is not None)
                with contextlib.suppress(OSError):
                    group.set_limit(int(group.usage() * 1.03))
                _, said = command.communicate(timeout=ANSWER_WITHIN)
                if command.returncode == 3:
                    break
                assert command.returncode == 0, said
            else:
                raise Skip("each time it was read before memory could be taken away")
            assert "given up" in said and "twentieth" in said, said
            assert not children(worker.pid)
            worker.check_untouched()


# ---- containers, users

def test_in_a_container():
    """Another PID, mount and user namespace: from outside of it."""
    python = interpreters.chosen()[-1]
    command = ["unshare", "-Urpfm", "--mount-proc", "--kill-child", *python.command("-c", ECHO)]
    try:
        program = Program(*command, env=python.environment(), stderr=subprocess.DEVNULL)
    except Skip:
        raise Skip("unshare is not allowed here")
    with program, tempfile.TemporaryDirectory() as directory:
        inner, = children(program.pid)
        for more in ((), ("--fork",)):
            path = os.path.join(directory, "core")
            told = tool.ask("capture", str(inner), "-o", path, *more)
            assert told["warnings"] == [], told
            assert elfcore.Core(path).pids() == [inner]
            assert tool.ask("types", path)["trust"]["unexplained"] < 100
            assert program.ask("hello") == "hello" and not children(inner)
            assert is_untouched(inner)


def test_as_another_user():
    nobody = pwd.getpwnam("nobody").pw_uid
    python, as_nobody = of_user(nobody)
    with tempfile.TemporaryDirectory() as directory:
        command = os.path.join(directory, "coreanalyze")
        shutil.copy(tool.path(), command)
        os.chmod(command, 0o755)
        os.chmod(directory, 0o777)
        path = os.path.join(directory, "core")
        as_nobody_run = dict(**as_nobody, capture_output=True, text=True)
        with Program(*python.command("-c", ECHO), env=python.environment(), **as_nobody) as program:
            done = subprocess.run([command, "capture", str(program.pid), "--fork", "-o", path],
                                  **as_nobody_run)
            assert done.returncode == 0, done
            assert os.stat(path).st_uid == nobody
            assert program.ask("hello") == "hello" and not children(program.pid)
        with Worker("idle") as worker:
            done = subprocess.run([command, "capture", str(worker.pid), "--fork", "-o", path + "2"],
                                  **as_nobody_run)
            assert done.returncode == 3 and "we are nobody" in done.stderr, done
            worker.check_untouched()
