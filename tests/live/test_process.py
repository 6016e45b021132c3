# SPDX-License-Identifier: GPL-3.0-or-later
"""Living processes: what is read of them, and that they are none the worse for it."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import compare
import cores
import interpreters
import tool
from living import ANSWER_WITHIN, Worker, memory_limit, wait_until
from runner import Skip, each_python, times
from serving import children


def without_path(document: dict) -> dict:
    del document["target"]["path"]
    document.pop("pause_seconds", None)
    return document


# ---- what is read

@each_python(stripped=True)
def test_same_answers_as_a_core(python):
    with tempfile.TemporaryDirectory() as directory:
        with cores.Target(python, directory) as target:
            target.truth_path()
            pid = f"pid:{target.pid}"
            live = tool.ask("types", pid, "--limit", "0")
            info = tool.ask("info", pid)
            core = target.core("gcore", os.path.join(directory, "core"))
            again = tool.ask("types", pid, "--limit", "0", "--threads", "1")
            differences = [hex(address) for _, address, now in
                           cores.differences(core, target.pid) if now]
        assert live["target"]["path"] == pid
        expected = without_path(tool.ask("types", core, "--limit", "0"))
        differ = [*compare.documents(expected, without_path(live), "before the core"),
                  *compare.documents(expected, without_path(again), "after the core")]
        assert not differ, "\n".join(
            [*differ, f"memory that has changed since the core: {differences}"])
        check_info(info, tool.ask("info", core))


def check_info(info: dict, of_core: dict) -> None:
    assert 0 < info["pause_seconds"] < 60
    assert of_core["pause_seconds"] is None
    for key in ("threads", "interpreters", "layout", "warnings"):
        assert info[key] == of_core[key], key
    assert info["target"] == {**of_core["target"], "path": info["target"]["path"]}
    keys = ("path", "start", "build_id", "state", "file")
    modules, expected = ([{k: m[k] for k in keys} for m in d["modules"]]
                         for d in (info, of_core))
    assert modules == expected


@each_python()
def test_200_threads(python):
    with Worker("threads", "200", python=python) as worker:
        info = tool.ask("info", worker.target)
        assert len(info["threads"]) == 201
        assert {t["native_id"] for t in info["threads"]} == set(worker.states())
        worker.check_untouched()


def test_files_of_another_mount_namespace():
    """They are looked up where the process sees them."""
    for python in interpreters.chosen():
        root = os.path.join(os.path.dirname(python.path), "root")
        if os.path.lexists(root + "/lib64/ld-linux-x86-64.so.2"):
            break
    else:
        raise Skip("no interpreter here has a root folder of its own")
    program = "/usr/bin/python%d.%d" % python.minor
    process = subprocess.Popen(
        ["unshare", "-m", "chroot", root, program, "-c",
         "import os; os.write(1, b'ready'); os.read(0, 1)"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        if process.stdout.read(5) != b"ready":
            raise Skip("unshare -m and chroot are not allowed here")
        info = tool.ask("info", f"pid:{process.pid}")
        process.stdin.close()
    assert info["warnings"] == [] and info["target"]["exe"] == program, info["target"]
    for module in info["modules"]:
        assert module["state"] == "used", module
        assert module["file"] == f"/proc/{process.pid}/root{module['path']}", module


THREADS = """
import os, threading, time
class Node: pass
kept = [Node() for _ in range(1000)]
for _ in range(3):
    threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
os.write(1, b"%d\\n" % os.getpid())
os.read(0, 1)
"""


def test_another_pid_namespace():
    """It and its threads have the numbers of outside, which are those to look them up by."""
    known = interpreters.chosen()
    for python in {known[0], known[-1]}:        # before 3.11 threads do not know their own
        check_pid_namespace(python)


def check_pid_namespace(python: interpreters.Interpreter) -> None:
    container = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *python.command("-c", THREADS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=python.environment())
    with container, tempfile.TemporaryDirectory() as directory:
        if container.stdout.readline() != b"1\n":
            raise Skip("unshare --pid is not allowed here")
        pid, = children(container.pid)
        core, target = os.path.join(directory, "core"), f"pid:{pid}"
        info, types = (without_path(tool.ask(command, target)) for command in ("info", "types"))
        tool.ask("capture", str(pid), "-o", core)
        of_core = without_path(tool.ask("info", core))
        lwps = {int(task) for task in os.listdir(f"/proc/{pid}/task")}
        assert types == without_path(tool.ask("types", core))
        container.stdin.close()
    assert info["target"]["pid"] == pid and info["warnings"] == [], info
    assert {module["state"] for module in info["modules"]} == {"used"}, info["modules"]
    assert {thread["native_id"] for thread in info["threads"]} == lwps, (info["threads"], lwps)
    assert of_core["threads"] == info["threads"]
    assert {row["type"]: row["count"] for row in types["types"]}["__main__.Node"] == 1000


def test_program_that_was_replaced():
    """Its file has no name any more: all of it is in memory."""
    static = [p for p in interpreters.chosen()
              if not p.library and open(p.path, "rb").read(4) == b"\x7fELF"]
    if not static:
        raise Skip("no interpreter here is one file")
    python = static[-1]
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, "python")
        shutil.copyfile(os.path.realpath(python.path), copy)
        os.chmod(copy, 0o755)
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(python.path)))
        process = subprocess.Popen(
            [copy, "-c", "import os; os.write(1, b'ready'); os.read(0, 1)"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONHOME": prefix})
        with process:
            assert process.stdout.read(5) == b"ready"
            target = f"pid:{process.pid}"
            before = without_path(tool.ask("types", target, "--limit", "0"))
            os.unlink(copy)
            after = without_path(tool.ask("types", target, "--limit", "0"))
            process.stdin.close()
    assert after["target"]["exe"] == copy + " (deleted)", after["target"]
    del after["target"]["exe"]
    assert before["target"].pop("exe") == copy
    assert after == before


# ---- left as it was

def test_memory_that_a_child_shares():
    """It stays shared: reading it must not make copies in the target."""
    with Worker("forked", "100") as worker:
        before = shared(worker.pid)
        assert before > 90 << 20, before
        tool.ask("info", worker.target)
        assert before - shared(worker.pid) < 4 << 20, (before, shared(worker.pid))
        worker.check_untouched()


def shared(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("Shared_Dirty:"))


def test_memory_that_was_never_touched():
    with Worker("threads", "50") as worker:     # each with 8 MiB of stack
        before = resident(worker.pid)
        tool.ask("types", worker.target)
        assert resident(worker.pid) - before < 1 << 20, (before, resident(worker.pid))


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("Rss:"))


def test_threads_that_come_and_go():
    with Worker("churn") as worker:
        files = worker.files()
        failed = [said for said in (tool.run("info", worker.target) for _ in range(50))
                  if said.returncode]
        # A list of threads may be caught while it is changed.
        assert len(failed) < 10 and all(f.returncode == 3 for f in failed), failed
        worker.check_untouched()
        assert worker.files() == files


def test_killed_at_any_moment():
    """The worker answers its next request, whenever we are killed."""
    seed = random.randrange(1 << 30)
    moment = random.Random(seed)
    with Worker("heap", "100") as worker:
        started = time.monotonic()
        tool.ask("info", worker.target)
        usual = time.monotonic() - started
        for i in range(times(30, 3000)):
            command = subprocess.Popen([tool.path(), "types", worker.target],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(moment.uniform(0, usual))
            command.kill()
            assert worker.ask(b"%d\n" % i) == b"%d\n" % i, seed
            command.wait()
            worker.check_untouched()


def test_under_load():
    with Worker("load", "4") as worker:
        for _ in range(times(10, 1000)):
            done = tool.run("types", worker.target)
            assert done.returncode in (0, 3), done
            worker.check_untouched()


def test_200_threads_at_work():
    """They make objects, are in system calls, come and go, and a client gets its answers meanwhile."""
    with Worker("crowd", "200") as worker, tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        with Client(worker) as client:
            answered = client.answers
            read = [check_crowd(worker.target) for _ in range(times(3, 400))]
            told = tool.ask("capture", str(worker.pid), "-o", core)
            wait_until(lambda: client.answers > answered)
        assert read.count(True) >= len(read) * 3 / 4, read
        assert told["threads"] > 200 and check_crowd(core), told
        worker.check_untouched()


def check_crowd(target: str) -> bool:
    """False: it could not be read: its list of threads was caught while it changed."""
    info, types = (tool.run(command, target, "--json") for command in ("info", "types"))
    for done in (info, types):
        assert done.returncode in (0, 3), done
    if info.returncode or types.returncode:
        return False
    counts = {row["type"]: row["count"] for row in json.loads(types.stdout)["types"]}
    assert counts["__main__.Node"] == 1000, types
    document = json.loads(info.stdout)
    changed = "thread-list" in {warning["kind"] for warning in document["warnings"]}
    assert changed or len(document["threads"]) > 200, document
    return True


class Client:
    """Asks a worker, all the time."""

    def __init__(self, worker: Worker):
        self.worker, self.answers, self.wrong, self.ends = worker, 0, None, False
        self.thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self.ends and not self.wrong:
            question = b"%d\n" % self.answers
            try:
                assert self.worker.ask(question) == question
                self.answers += 1
            except Exception as e:
                self.wrong = e

    def __enter__(self) -> Client:
        self.thread.start()
        wait_until(lambda: self.answers or self.wrong)
        return self

    def __exit__(self, *_) -> None:
        self.ends = True
        self.thread.join()
        if self.wrong:
            raise self.wrong


def test_one_that_starts_programs():
    """The thread that waits in vfork() cannot be stopped until the program runs."""
    with Worker("spawn") as worker:
        failed = [said for said in (tool.run("info", worker.target) for _ in range(50))
                  if said.returncode]
        # On a busy machine the program may not come to run for seconds.
        assert len(failed) < 10, failed
        assert all(f.returncode == 3 and "does not stop" in f.stderr for f in failed), failed
        worker.check_untouched()


# Opens and closes again and again; a line now and then: its memory, its files.
ANALYSES = """
import ctypes, os, sys
library, target = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()
for i in range(int(sys.argv[3])):
    status = library.ca_target_open(sys.argv[2].encode(), None, ctypes.byref(target), None)
    assert status == 0, status
    library.ca_target_close(target)
    if i % 100 == 99:
        with open("/proc/self/statm") as f:
            print(int(f.read().split()[1]), len(os.listdir("/proc/self/fd")), flush=True)
"""


def test_1000_analyses():
    """Not a descriptor and not a page is left behind, in it or in us."""
    library = os.path.join(os.path.dirname(tool.path()), "libcoreanalyze.so")
    with Worker("idle") as worker:
        before, files = resident(worker.pid), worker.files()
        done = subprocess.run(
            [sys.executable, "-c", ANALYSES, library, worker.target, str(times(1000, 50000))],
            capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
        assert {files for _, files in lines} == {lines[0][1]}, lines
        assert lines[-1][0] - lines[1][0] < 256, lines      # pages; 900 analyses
        assert worker.files() == files
        assert resident(worker.pid) - before < 1 << 20, (before, resident(worker.pid))
        worker.check_untouched()


def test_signals_are_all_delivered():
    sent = 1000
    with Worker("signals") as worker:
        command = None
        for i in range(sent):
            if command is None or command.poll() is not None:
                command = subprocess.Popen([tool.path(), "info", worker.target],
                                           stdout=subprocess.DEVNULL)
            os.kill(worker.pid, signal.SIGRTMIN)
            time.sleep(0.0005)
        assert command.wait() == 0
        time.sleep(0.1)
        assert int(worker.ask()) == sent


def test_stopped_one_stays_stopped():
    with Worker("threads", "3") as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        wait_until(lambda: {s for s, _ in worker.states().values()} == {"T"})
        assert len(tool.ask("info", worker.target)["threads"]) == 4
        # Let go, a thread runs for a moment inside of the kernel, to stop itself.
        wait_until(lambda: set(worker.states().values()) == {("T", 0)})
        os.kill(worker.pid, signal.SIGCONT)
        worker.check_untouched()


# ---- what cannot be read

def refused(target: str, *words: str, status: int = 3, **options) -> None:
    done = subprocess.run([tool.path(), "info", target], capture_output=True, text=True,
                          timeout=60, **options)
    assert done.returncode == status, (target, done)
    assert done.stderr.startswith(f"coreanalyze: {target}: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def test_no_process():
    for text in ("", "x", "-1", "0", "12x", "99999999999"):
        refused(f"pid:{text}", "pid:1234", status=2)
    refused("pid:999999999", "no process 999999999")


def test_zombie():
    child = subprocess.Popen(["true"])
    wait_until(lambda: open(f"/proc/{child.pid}/stat").read().split()[2] == "Z")
    refused(f"pid:{child.pid}", "zombie")
    child.wait()


def test_kernel_thread():
    if not os.path.exists("/proc/2") or open("/proc/2/cmdline").read():
        raise Skip("no kernel thread is seen here")
    refused("pid:2", "kernel thread")


def test_a_thread_is_no_process():
    with Worker("threads", "1") as worker:
        thread, = worker.states().keys() - {worker.pid}
        refused(f"pid:{thread}", f"pid:{worker.pid}")


def test_not_python():
    child = subprocess.Popen(["sleep", "100"])
    try:
        refused(f"pid:{child.pid}", "not a Python process")
    finally:
        child.kill()
        child.wait()


def test_traced_by_another():
    SEIZE, DETACH = 0x4206, 17
    libc = ctypes.CDLL(None, use_errno=True)
    with Worker("idle") as worker:
        if libc.ptrace(SEIZE, worker.pid, None, None):
            raise Skip("we may not trace a process")
        refused(worker.target, f"traced by process {os.getpid()}")
        worker.process.kill()


def test_another_users_process():
    if os.geteuid():
        refused("pid:1", "root")
        return
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        command = os.path.join(directory, "coreanalyze")
        with open(tool.path(), "rb") as source, open(command, "wb") as out:
            out.write(source.read())
        os.chmod(command, 0o755)
        with Worker("idle") as worker:
            done = subprocess.run([command, "info", worker.target], capture_output=True,
                                  text=True, user=nobody.pw_uid, group=nobody.pw_gid,
                                  extra_groups=[], timeout=60)
            assert done.returncode == 3, done
            assert "belongs to the user root, and we are nobody" in done.stderr, done.stderr
            worker.check_untouched()


def test_dies_meanwhile():
    for i in range(20):
        with Worker("heap", "50") as worker:
            command = subprocess.Popen([tool.path(), "info", worker.target], text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(0.003 * i)
            worker.process.kill()
            _, said = command.communicate(timeout=60)
            assert command.returncode in (0, 3), (i, command.returncode, said)
            assert said.count("\n") == (command.returncode == 3), said
            worker.process.wait(ANSWER_WITHIN)


# ---- where the copy goes

def test_too_large_for_memory():
    """Under a memory limit of ours the copy goes to disk, or is refused."""
    with Worker("heap", "100") as worker, memory_limit(100 << 20) as enter:
        with tempfile.TemporaryDirectory() as directory:
            options = dict(capture_output=True, text=True, preexec_fn=enter, timeout=100)
            command = [tool.path(), "types", worker.target, "--limit", "0", "--json"]
            done = subprocess.run([*command, "--tmpdir", directory + "/absent"], **options)
            assert done.returncode == 3 and "--tmpdir" in done.stderr, done
            done = subprocess.run([*command, "--tmpdir", directory], **options)
            assert done.returncode == 0, done.stderr
            assert not os.listdir(directory)
            small = subprocess.run(
                ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=4m none "$1" && shift && '
                 'exec "$@"', "sh", directory, *command, "--tmpdir", directory], **options)
            if "unshare" not in small.stderr and "mount" not in small.stderr:
                assert small.returncode == 3 and small.stderr.count(" bytes)") == 3, small
        worker.check_untouched()
