# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture` of processes in uncommon states.

Each is captured as it stands, and either forked or refused that with the reason,
before anything is touched. Its memory is in the core, and it answers as before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile

import compiled
import elfcore
import interpreters
import tool
from capturing import check_refused
from living import (ECHO, Program, children, fields, is_untouched, of_user, process_limit,
                    script, setting, wait_until)
from runner import Skip

# What each of these says of itself: why it cannot be so here, or where memory is that
# each core must have.
PRELUDE = """
import ctypes, fcntl, mmap, os, struct, sys
sys.excepthook = lambda kind, what, _: print(f"{kind.__name__}: {what}", flush=True)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
regions = []

def did(result):
    if result == -1 or result == 1 << 64 - 1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def mapped(size, flags=0x22, fd=-1, offset=0):      # PRIVATE, ANONYMOUS
    return did(libc.mmap(None, size, 3, flags, fd, offset))

def region(size, byte, flags=0x22):
    at = mapped(size, flags)
    ctypes.memset(at, byte, size)
    regions.append((at, size, byte))
    return at

def again():
    pass
"""
LOOP = """
print("ready", flush=True)
for line in sys.stdin:
    again()
    print(line[:-1], *("%d:%d:%d" % of for of in regions), flush=True)
"""

RING = """
params = ctypes.create_string_buffer(120)
struct.pack_into("I", params, 8, FLAGS)
ring = did(libc.syscall(425, 8, params))                # io_uring_setup
mapped(4096, 1, ring)
mapped(4096, 1, ring, 0x10000000)
"""

FILTER = """
code = struct.pack("HBBI", 0x20, 0, 0, 0)               # the call's number
for call in (56, 57, 58, 61, 435):                      # clone, fork, vfork, wait4, clone3
    code += struct.pack("HBBI", 0x15, 0, 1, call) + struct.pack("HBBI", 6, 0, 0, VERDICT)
code += struct.pack("HBBI", 6, 0, 0, 0x7fff0000)        # SECCOMP_RET_ALLOW
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(
    struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
did(libc.prctl(38, 1, 0, 0, 0))
did(libc.prctl(22, 2, ctypes.byref(program), 0, 0))
"""

# What speaks against a fork, and a word of the reason.
REFUSED = {
    "seccomp_that_kills": (FILTER.replace("VERDICT", "0x80000000"), "seccomp"),
    "seccomp_that_fails": (FILTER.replace("VERDICT", "0x00050001"), "seccomp"),
    "new_pid_namespace": ("did(libc.unshare(0x20000000))", "PID namespace"),
    "locked": ("did(libc.mlockall(1))", "locked"),
    "locked_in_part": ("""
at = region(1 << 20, 0x61)
did(libc.mlock(ctypes.c_void_p(at), 1 << 20))
""", "locked"),
    # Half of it is there; for the rest nobody would answer.
    "userfaultfd": ("""
fd = did(libc.syscall(323, 0))
fcntl.ioctl(fd, 0xc018aa3f, struct.pack("QQQ", 0xaa, 0, 0))
at = mapped(2 << 20)
ctypes.memset(at, 0x62, 1 << 20)
regions.append((at, 1 << 20, 0x62))
fcntl.ioctl(fd, 0xc020aa00, struct.pack("QQQQ", at, 2 << 20, 1, 0))
""", "userfaultfd"),
    "pages_that_are_write_protected": ("""
fd = did(libc.syscall(323, 0))
fcntl.ioctl(fd, 0xc018aa3f, struct.pack("QQQ", 0xaa, 0, 0))
at = region(1 << 20, 0x63)
fcntl.ioctl(fd, 0xc020aa00, struct.pack("QQQQ", at, 1 << 20, 2, 0))
fcntl.ioctl(fd, 0xc018aa06, struct.pack("QQQ", at, 1 << 20, 1))
""", "userfaultfd"),
    "huge_page_pool": ("mapped(2 << 20, 0x22 | 0x40000 | 0x4000)", "hugetlb"),
    # A kernel's buffer, as a device's memory is mapped.
    "device": ("""
attributes = ctypes.create_string_buffer(128)
struct.pack_into("IIQ", attributes, 0, 1, 128, 0)
fd = did(libc.syscall(298, attributes, 0, -1, -1, 0))   # perf_event_open
mapped(3 << 12, 1, fd)
with open("/proc/self/smaps") as f:
    assert any(line.startswith("VmFlags:") and {"io", "pf"} & set(line.split()) for line in f), (
        "this kernel does not map it so")
""", "device"),
    "pinned": (RING.replace("FLAGS", "0") + """
vector = struct.pack("QQ", region(1 << 20, 0x64), 1 << 20)
did(libc.syscall(427, ring, 0, vector, 1))              # IORING_REGISTER_BUFFERS
""", "pinned"),
    "dispatched_calls": ("""
selector = ctypes.c_char(0)
did(libc.prctl(59, 1, 0, 0, ctypes.byref(selector)))
""", "dispatched"),
}

TAKEN = {
    "io_uring": RING.replace("FLAGS", "0"),
    # With a thread of the kernel's among its own.
    "io_uring_thread": RING.replace("FLAGS", "2") + "assert len(os.listdir('/proc/self/task')) == 2",
    "huge_pages": """
size = 2 << 20
at = (mapped(3 * size) + size - 1) // size * size
did(libc.madvise(ctypes.c_void_p(at), 2 * size, 14))
ctypes.memset(at, 0x65, 2 * size)
regions.append((at, 2 * size, 0x65))
with open("/proc/self/smaps_rollup") as f:
    assert not any(line.split() == ["AnonHugePages:", "0", "kB"] for line in f), "no huge pages"
""",
}


def check(program: Program, *reason: str) -> None:
    """Captured in each way, or refused one with this reason; it takes no notice."""
    def facts():
        return (sorted(os.listdir(f"/proc/{program.pid}/fd")), children(program.pid),
                {fields(program.pid, task)["SigBlk"]
                 for task in os.listdir(f"/proc/{program.pid}/task")})

    before = facts()
    masks = before[2]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        for more in (("--fork",), (), ("--full",)):
            _, *regions = program.ask("where").split()
            if more == ("--fork",) and reason:
                check_refused(program.pid, *reason)
            else:
                told = tool.ask("capture", str(program.pid), "-o", path, *more)
                assert told["warnings"] == [] and told["lost_pages"] == 0, (more, told)
                core = elfcore.Core(path)
                for at, size, byte in (map(int, region.split(":")) for region in regions):
                    assert core.read(at, size) == bytes([byte]) * size, (more, hex(at))
            assert program.ask("hello").split()[0] == "hello"
            wait_until(lambda: is_untouched(program.pid, masks))
            assert facts() == before, (more, before, facts())


def add_test(name: str, setup: str, *reason: str) -> None:
    def test():
        with script(PRELUDE + setup + LOOP, stderr=subprocess.DEVNULL) as program:
            check(program, *reason)

    test.__name__ = f"test_{name}"
    globals()[test.__name__] = test


for name, of in REFUSED.items():
    add_test(name, *of)
for name, setup in TAKEN.items():
    add_test(name, setup)


def test_huge_page_pool_that_is_used():
    pool = "/proc/sys/vm/nr_hugepages"
    with open(pool) as f:
        more = int(f.read()) + 1
    with contextlib.ExitStack() as stack:
        with setting(pool, str(more)):
            program = stack.enter_context(
                script(PRELUDE + "region(2 << 20, 0x66, 0x22 | 0x40000)" + LOOP,
                       stderr=subprocess.DEVNULL))
        check(program, "hugetlb")


def test_memory_that_was_never_touched():
    with script(PRELUDE + "region(4096, 0x68); mapped(64 << 20)" + LOOP) as program:
        before = int(fields(program.pid)["VmPTE"].split()[0])
        check(program)
        assert int(fields(program.pid)["VmPTE"].split()[0]) - before < 64, before   # KiB


@contextlib.contextmanager
def swap(directory: str):
    """A swap area of two MiB, for a moment."""
    path = os.path.join(directory, "swap")
    with open(path, "wb") as f:
        f.write(bytes(2 << 20))
    os.chmod(path, 0o600)
    for command in ("mkswap", "swapon"):
        found = shutil.which(command, path=os.environ["PATH"] + ":/sbin:/usr/sbin")
        if not found or subprocess.run([found, path], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL).returncode:
            raise Skip(f"no {command} here")
    keeper = subprocess.Popen(["sh", "-c", 'read _; swapoff "$1"; rm -f "$1"', "sh", path],
                              stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        keeper.stdin.close()
        keeper.wait()


SWAPPED = """
at = region(1 << 20, 0x67)

def again():
    did(libc.madvise(ctypes.c_void_p(at), 1 << 20, 21))
    with open("/proc/self/status") as f:
        kib = next(int(line.split()[1]) for line in f if line.startswith("VmSwap:"))
    assert kib >= 1024, f"only {kib} KiB were swapped"

again()
"""


def test_swapped_pages():
    with tempfile.TemporaryDirectory() as directory, swap(directory):
        with script(PRELUDE + SWAPPED + LOOP, stderr=subprocess.DEVNULL) as program:
            check(program)


def test_strict_overcommit():
    """As we see it alone: others here are forking, too."""
    with tempfile.TemporaryDirectory() as directory, script(ECHO) as program:
        strict, core = (os.path.join(directory, name) for name in ("strict", "core"))
        with open(strict, "w") as f:
            f.write("2\n")
        command = ["unshare", "-m", "sh", "-c",
                   'mount --bind "$1" /proc/sys/vm/overcommit_memory && shift && exec "$@"', "sh",
                   strict]
        if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode:
            raise Skip("unshare and mount are not allowed here")
        for more in ((), ("--fork",)):
            done = subprocess.run([*command, tool.path(), "capture", str(program.pid), "-o", core,
                                   *more], capture_output=True, text=True)
            assert done.returncode == (3 if more else 0), done
            assert not more or "vm.overcommit_memory is 2" in done.stderr, done
            assert program.ask("hello") == "hello" and not children(program.pid)


# ---- places

def test_small_stack_of_a_coroutine():
    with tempfile.TemporaryDirectory() as directory:
        path = compiled.program("places", directory)
        for kind in ("coroutine", "neighbour"):
            with Program(path, kind) as program:
                check(program, "none of its 1 threads can run our call", "another stack")


FORKS_IN_A_THREAD = """
import os, sys, threading
def fork():
    if os.fork():
        os.wait()
        return
    print("ready", flush=True)
    for line in sys.stdin:
        print(line, end="", flush=True)
    os._exit(0)
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""


def test_main_thread_on_the_stack_of_another():
    with script(FORKS_IN_A_THREAD) as program, tempfile.TemporaryDirectory() as directory:
        child, = children(program.pid)
        try:
            for more in ((), ("--fork",)):
                tool.ask("capture", str(child), *more, "-o", os.path.join(directory, "core"))
                assert program.ask("hello") == "hello" and not children(child)
                wait_until(lambda: is_untouched(child))
        finally:
            os.kill(child, signal.SIGKILL)


def test_restartable_sequence():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        with Program(compiled.program("places", directory), "rseq") as program:
            # On a busy machine it may be stopped where the kernel has just put it out of one.
            for _ in range(50):
                done = tool.run("capture", str(program.pid), "--fork", "-o", path)
                assert program.ask("hello") == "hello"
                if done.returncode:
                    break
            assert done.returncode == 3 and "restartable sequence" in done.stderr, done
            tool.ask("capture", str(program.pid), "-o", path)
            assert program.ask("hello") == "hello"
            wait_until(lambda: is_untouched(program.pid))


def test_main_thread_that_ended():
    """Its memory is no longer to be had by its number; the others go on."""
    setup = """
import threading
def answer():
    print("ready", flush=True)
    for line in sys.stdin:
        print(line, end="", flush=True)
    os._exit(0)
threading.Thread(target=answer).start()
libc.syscall(60, 0)                                     # exit, of this thread
"""
    with script(PRELUDE + setup) as program, tempfile.TemporaryDirectory() as directory:
        for more in ((), ("--fork",)):
            done = tool.run("capture", str(program.pid), *more, "-o", directory + "/core")
            assert done.returncode == 3 and "has ended" in done.stderr, done
            assert program.ask("hello") == "hello" and not os.listdir(directory)


def test_programs_without_a_shared_library():
    """A static one has the code that runs our call, or is refused."""
    with tempfile.TemporaryDirectory() as directory:
        path = compiled.program("registers", directory, "-static")
        with Program(path, "compute") as program:
            check_either(program)


def test_another_c_library():
    compiler = shutil.which("musl-gcc")
    if not compiler:
        raise Skip("there is no musl-gcc here")
    with tempfile.TemporaryDirectory() as directory:
        for name, *options in (("dynamic",), ("static", "-static")):
            path = compiled.program("registers", directory, *options, compiler=compiler)
            with Program(path, "compute") as program:
                check_either(program)


def check_either(program: Program) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        for more in ((), ("--fork",)):
            done = tool.run("capture", str(program.pid), "-o", path, *more)
            assert done.returncode == 0 or (
                more and done.returncode == 3 and "no C library of it" in done.stderr), done
            assert program.ask().startswith("ok") and not children(program.pid)
            wait_until(lambda: is_untouched(program.pid))
            if not done.returncode:
                assert elfcore.Core(path).pids()[0] == program.pid


# ---- limits on processes

def check_no_process_more(program: Program) -> None:
    """The call itself fails, and nothing is left of it."""
    check(program, "clone()", "Resource temporarily unavailable", "pids.max, ulimit -u")


def test_limit_on_a_users_processes():
    python, options = of_user(40000 + os.getpid() % 10000)
    only_one = lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    with Program(*python.command("-c", PRELUDE + LOOP), env=python.environment(),
                 preexec_fn=only_one, **options) as program:
        check_no_process_more(program)


def test_limit_on_a_cgroups_processes():
    with process_limit(100) as group, script(PRELUDE + LOOP, preexec_fn=group) as program:
        group.set_limit(1)
        check_no_process_more(program)


# ---- rights

def denied(*calls: int):
    """For a child of ours: these system calls fail, as in some containers."""
    code = struct.pack("HBBI", 0x20, 0, 0, 0)           # the call's number
    for call in calls:
        code += struct.pack("HBBI", 0x15, 0, 1, call) + struct.pack("HBBI", 6, 0, 0, 0x00050001)
    code += struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
    buffer = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None)

    def deny(_kept=buffer) -> None:
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
            os._exit(99)
    return deny


def without_capability(number: int):
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(24, number, 0, 0, 0)      # PR_CAPBSET_DROP


PTRACE, PROCESS_VM_READV, CAP_SYS_PTRACE = 101, 310, 19


def test_rights_that_are_missing():
    """It says which, and the process has not been stopped."""
    # A sanitizer would stop us to look for leaks.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    cases = [("ptrace", denied(PTRACE), "cannot be stopped: Operation not permitted"),
             # What it cannot do so it does otherwise.
             ("process_vm_readv", denied(PROCESS_VM_READV), "")]
    if os.geteuid() == 0:
        cases.append(("CAP_SYS_PTRACE", without_capability(CAP_SYS_PTRACE),
                      "may not be read: Permission denied"))
    with script(ECHO) as program, tempfile.TemporaryDirectory() as directory:
        for missing, without, reason in cases:
            for more in ((), ("--fork",)):
                done = subprocess.run([tool.path(), "capture", str(program.pid), *more, "-o",
                                       os.path.join(directory, "core")], capture_output=True,
                                      text=True, preexec_fn=without, env=environment)
                assert done.returncode == (3 if reason else 0), (missing, more, done)
                assert reason in done.stderr and done.stderr.count("\n") == bool(reason), done
                assert not reason or "CAP_SYS_PTRACE" in done.stderr or "root" in done.stderr, done
                assert program.ask("hello") == "hello" and not children(program.pid)
                assert is_untouched(program.pid)
