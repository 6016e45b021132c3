# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture --fork`: the process takes no notice of it, whatever it is doing and whatever becomes of us."""

from __future__ import annotations

import contextlib
import os
import random
import select
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
from living import ANSWER_WITHIN, Living, Worker, memory_limit, wait_until
from runner import Skip, times


class Program(Living):
    """A program that says "ready" and then answers lines; its first thread is its own."""

    def __init__(self, *command: str, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        bufsize=0, **options)
        said = self.line()
        if said != "ready":
            self.process.kill()
            self.process.wait()
            raise Skip(f"{command[0]}: {said}")

    def line(self) -> str:
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_WITHIN)
        assert readable, f"no answer within {ANSWER_WITHIN} s"
        return self.process.stdout.readline().decode().strip()

    def ask(self, question: str = "x") -> str:
        self.process.stdin.write(question.encode() + b"\n")
        return self.line()


def script(text: str, **options) -> Program:
    python = interpreters.chosen()[-1]
    return Program(*python.command("-c", text), env=python.environment(), **options)


def fields(pid: int, task: str = "") -> dict[str, str]:
    with open(f"/proc/{pid}/{'task/' + task + '/' if task else ''}status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def children(pid: int) -> list[int]:
    """Of all its threads, zombies too."""
    out = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as f:
            out += map(int, f.read().split())
    return out


def is_untouched(pid: int, masks: set[str] = {"0" * 16}) -> bool:
    """No thread of it is traced, stopped, or has signals blocked."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            of = fields(pid, task)
            if of["TracerPid"] != "0" or of["State"][0] in "tT" or of["SigBlk"] not in masks:
                return False
    return True


def fork(pid: int, directory: str, *more: str, name: str = "core") -> dict:
    return tool.ask("capture", str(pid), "--fork", "-o", os.path.join(directory, name), *more)


def check_refused(pid: int, *words: str) -> None:
    """With a reason, and before anything is touched."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        done = tool.run("capture", str(pid), "--fork", "-o", path)
        assert done.returncode == 3 and "cannot fork this process" in done.stderr, done
        for word in words:
            assert word in done.stderr, (word, done.stderr)
        assert not os.listdir(directory) and not children(pid)


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


# ---- taken no notice of

def test_killed_at_every_stage():
    """It goes on, its registers are its own, its next answer comes; what is left can be cleared."""
    with tempfile.TemporaryDirectory() as directory:
        path = compiled.program("registers", directory)
        killer = compiled.program("killer", directory, "-shared", "-fPIC")
        count = os.path.join(directory, "count")
        environment = {**os.environ, "LD_PRELOAD": killer, "KILL_COUNT": count}
        with Program(path) as program:
            command = [tool.path(), "capture", str(program.pid), "-o",
                       os.path.join(directory, "core")]
            for how, usual, least in (("--fork", 40, 100), ("--full", 8, 20)):
                subprocess.run([*command, how], env=environment, check=True,
                               stdout=subprocess.DEVNULL)
                with open(count) as f:
                    steps = int(f.read())
                assert steps > least, (how, steps)
                assert program.ask().startswith("ok") and not children(program.pid)
                for stage in random.sample(range(steps), min(times(usual, 100000), steps)):
                    done = subprocess.run([*command, how], stdout=subprocess.DEVNULL,
                                          env={**environment, "KILL_AT": str(stage)})
                    # Waits are counted too, and how many there are differs.
                    assert done.returncode in (-signal.SIGKILL, 0), (how, stage, done)
                    assert program.ask().startswith("ok"), (how, stage)
                wait_until(lambda: is_untouched(program.pid))
                told = tool.ask("capture", str(program.pid), "--reap")
                assert told["left"] == 0 and not children(program.pid), told
                assert how == "--fork" or told["reaped"] == 0, told
            assert program.ask().startswith("ok")
        assert set(os.listdir(directory)) <= {"registers", "killer", "count", "core"}


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

PRELUDE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
"""
LOOP = """
print("ready", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""
# What speaks against it, and a word of the reason.
AGAINST = {
    "seccomp": ("""
code = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)     # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(buffer)))
assert not libc.prctl(38, 1, 0, 0, 0)
assert not libc.prctl(22, 2, ctypes.byref(program), 0, 0)
""", "seccomp"),
    "namespace": ("""
assert not libc.unshare(0x20000000), os.strerror(ctypes.get_errno())
""", "PID namespace"),
    "locked": ("""
assert not libc.mlockall(1), os.strerror(ctypes.get_errno())
""", "locked"),
    "userfaultfd": ("""
import fcntl, mmap
fd = libc.syscall(323, 0)
assert fd >= 0, os.strerror(ctypes.get_errno())
fcntl.ioctl(fd, 0xc018aa3f, struct.pack("QQQ", 0xaa, 0, 0))
m = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(m))
fcntl.ioctl(fd, 0xc020aa00, struct.pack("QQQQ", address, 1 << 20, 1, 0))
""", "userfaultfd"),
    "hugetlb": ("""
import mmap
m = mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000 | 0x4000)
""", "hugetlb"),
}


def test_refusals():
    tried = []
    for kind, (setup, word) in AGAINST.items():
        try:
            program = script(PRELUDE + setup + LOOP, stderr=subprocess.DEVNULL)
        except Skip:
            continue    # not on this machine
        with program:
            check_refused(program.pid, word)
            assert program.ask("hello") == "hello"
            with tempfile.TemporaryDirectory() as directory:    # what it is told to do instead
                tool.ask("capture", str(program.pid), "-o", os.path.join(directory, "core"))
            assert program.ask("hello") == "hello"
            tried.append(kind)
    assert "seccomp" in tried, tried


def test_stopped_one_is_refused():
    with Worker("threads", "2") as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        wait_until(lambda: {s for s, _ in worker.states().values()} == {"T"})
        check_refused(worker.pid, "SIGSTOP")
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
    command = ["unshare", "-Urpfm", "--mount-proc", "--kill-child", *python.command("-c", PRELUDE + LOOP)]
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
    import pwd

    nobody = pwd.getpwnam("nobody")
    if os.geteuid():
        raise Skip("only root can become somebody else")
    python = interpreters.chosen()[-1]
    as_nobody = dict(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    with tempfile.TemporaryDirectory() as directory:
        command = os.path.join(directory, "coreanalyze")
        shutil.copy(tool.path(), command)
        os.chmod(command, 0o755)
        os.chmod(directory, 0o777)
        if subprocess.run([*python.command("-c", "")], **as_nobody,
                          stderr=subprocess.DEVNULL).returncode:
            python = interpreters.Interpreter("system", "/usr/bin/python3", (3, 11, 2), None)
        with Program(*python.command("-c", PRELUDE + LOOP), env=python.environment(), **as_nobody,
                     cwd="/") as program:
            path = os.path.join(directory, "core")
            done = subprocess.run([command, "capture", str(program.pid), "--fork", "-o", path],
                                  **as_nobody, capture_output=True, text=True, cwd="/")
            assert done.returncode == 0, done
            assert os.stat(path).st_uid == nobody.pw_uid
            assert program.ask("hello") == "hello" and not children(program.pid)
        with Worker("idle") as worker:
            done = subprocess.run([command, "capture", str(worker.pid), "--fork", "-o", path + "2"],
                                  **as_nobody, capture_output=True, text=True, cwd="/")
            assert done.returncode == 3 and "we are nobody" in done.stderr, done
            worker.check_untouched()
