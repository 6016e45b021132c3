# SPDX-License-Identifier: GPL-3.0-or-later
"""`watch`: whom it follows, when it captures, what it keeps, and that it does no
harm; `report` over what it kept."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pwd
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time

try:
    import yaml
except ImportError:
    yaml = None

import interpreters
import serving
import tool
from living import ANSWER_WITHIN, Group, Server, Worker, memory_limit, wait_until
from runner import Skip, times

SAMPLES = os.path.join(interpreters.ROOT, "samples")
MIB = 1 << 20


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as f:
        return f.read()


def resident(pid: int) -> int:
    return int(text_of(f"/proc/{pid}/statm").split()[1]) * resource.getpagesize()


class Watch:
    """`coreanalyze watch` into a directory of its own, and the events that it tells."""

    form = ["--json"]
    parse = staticmethod(json.loads)

    def __init__(self, directory: str, *options: str, before: list[str] | None = None,
                 command: str | None = None, **more):
        self.directory = directory
        self.events: list = []
        self.buffer = b""
        self.process = subprocess.Popen(
            [*(before or ()), command or tool.path(), "watch", *self.form, "-o", directory, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, **more)

    def __enter__(self) -> Watch:
        self.until(event="started")
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def _read(self, seconds: float) -> bool:
        """False at the end."""
        readable, _, _ = select.select([self.process.stdout], [], [], max(seconds, 0))
        if not readable:
            return True
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        self.events += [self.parse(line) for line in lines]
        return bool(data)

    def those(self, **keys) -> list[dict]:
        return [e for e in self.events if all(e[k] == v for k, v in keys.items())]

    def until(self, count: int = 1, **keys) -> dict:
        """The event with these values, the count-th of them, once it is told."""
        end = time.monotonic() + ANSWER_WITHIN
        going = True
        while len(self.those(**keys)) < count:
            assert going and time.monotonic() < end, (keys, count, self.events)
            going = self._read(end - time.monotonic())
        return self.those(**keys)[count - 1]

    def quiet(self, seconds: float) -> int:
        """How many captures there are, when there was none for so long."""
        count = -1
        while count < len(self.those(event="captured")):
            count = len(self.those(event="captured"))
            self.listen(seconds)
        return count

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._read(end - time.monotonic()):
            pass

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Its exit status, when all is heard."""
        end = time.monotonic() + ANSWER_WITHIN
        while self._read(end - time.monotonic()):
            assert time.monotonic() < end, self.events
        assert self.events[-1] in self.those(event="stopped"), self.events
        return self.process.wait(ANSWER_WITHIN)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def processor_time(self) -> float:
        """Seconds."""
        return int(text_of(f"/proc/{self.process.pid}/schedstat").split()[0]) / 1e9

    def descriptors(self) -> list[str]:
        return sorted(os.listdir(f"/proc/{self.process.pid}/fd"))


SIZE = r"\d[\d.]* (?:B|KiB|MiB|GiB)"
MEMORY = rf"(?P<rss>{SIZE}) resident, (?P<percent>\d+) % of a limit of (?P<limit>{SIZE}) used"
PROCESS = r"process (?P<pid>\d+): "
LINES = {
    "started": "watching",
    "found": rf"{PROCESS}watched: {MEMORY}",
    "ended": rf"{PROCESS}ended, (?P<rss>{SIZE}) resident at last"
             r"(?:; the kernel has killed (?P<kills>\d+) in its group for memory)?",
    "captured": rf"{PROCESS}captured \((?P<reason>[a-z-]+)\) as (?P<file>\S+), (?P<bytes>{SIZE}); "
                rf"it stood still for (?P<pause>\d+\.\d{{3}}) s; {MEMORY}",
    "failed": rf"{PROCESS}not captured \((?P<reason>[a-z-]+)\): (?P<text>.+)",
    "dropped": rf"{PROCESS}dropped (?P<file>\S+): (?P<text>.+)",
    "command": rf"{PROCESS}the command for (?P<file>.+) ended with status (?P<status>\d+)",
    "trouble": r"the kernel does not tell of memory pressure here: .+",
    "stopped": "stopped",
}


class Told(Watch):
    """What it tells people: a line an event, which says what happened, with figures."""

    form: list[str] = []

    @staticmethod
    def parse(line: bytes) -> dict:
        for event, text in LINES.items():
            match = re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {text}", line.decode())
            if match:
                return {"event": event, **match.groupdict()}
        raise AssertionError(line)


def date_of(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")


def captured_at(event: dict) -> datetime.datetime:
    return datetime.datetime.strptime(event["file"].split("-")[0], "%Y%m%dT%H%M%S.%fZ")


def bytes_of(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}[unit]


def about(text: str, number: int, part: float = 0.02) -> bool:
    return abs(bytes_of(text) - number) <= number * part


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "kept")


def check_core(watch: Watch, event: dict, pid: int) -> None:
    path = os.path.join(watch.directory, event["file"])
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(path).st_blocks * 512 == event["disk_bytes"]
    info = tool.ask("info", path)
    assert info["target"]["pid"] == pid and info["target"]["complete"], info["target"]
    assert info["pause_seconds"] == event["pause_seconds"]


# ---- other users

def as_user(name: str) -> dict:
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def place_for(name: str):
    """Our command where that user may run it, and a folder of the user's for its files."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        command, files = os.path.join(folder, "coreanalyze"), os.path.join(folder, "kept")
        os.chmod(folder, 0o755)
        shutil.copy(tool.path(), command)
        os.mkdir(files)
        os.chown(files, pwd.getpwnam(name).pw_uid, -1)
        yield command, files


def made_for_all(pythons) -> interpreters.Interpreter:
    for python in reversed(pythons):
        path = os.path.realpath(python.path)
        folders = [path]
        while folders[-1] != "/":
            folders.append(os.path.dirname(folders[-1]))
        if all(os.stat(f).st_mode & 0o5 == 0o5 for f in folders):
            return python
    raise Skip("no interpreter here may be run by another user")


# ---- the kill

LIMIT = 70 * MIB


def leak_until_killed(process, watch: Watch, group) -> None:
    """Request by request; it waits for a capture that is due, for the first three of them."""
    due = LIMIT // 2
    while True:
        captured = len(watch.those(event="captured"))
        if captured < 3 and group.usage() > due + MIB:
            due = watch.until(captured + 1, event="captured")["used"] + LIMIT // 20
        try:
            process.stdin.write(b"\n")
        except BrokenPipeError:
            break
        if not process.stdout.readline():
            break


def run_until_killed(python, folder: str) -> None:
    with memory_limit(LIMIT) as group:
        process = subprocess.Popen(
            python.command(os.path.join(SAMPLES, "worker.py"), "sessions", "--amount", "3000"),
            preexec_fn=group, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=python.environment())
        assert process.stdout.readline().startswith(b"ready")
        with Watch(folder, "--pid", str(process.pid), "--percent-of-limit", "50") as watch:
            watch.until(event="found")
            leak_until_killed(process, watch, group)
            assert process.wait(ANSWER_WITHIN) == -signal.SIGKILL
            ended = watch.until(event="ended", pid=process.pid)
            assert watch.end() == 0
        process.stdin.close()
        process.stdout.close()
        assert ended["oom_kills"] == 1, ended
    captured = watch.those(event="captured")
    assert len(captured) >= 3 and len(captured) == len(os.listdir(folder)), watch.events
    assert captured[0]["reason"] == "percent-of-limit" and captured[0]["limit"] == LIMIT
    assert captured[-1]["used"] > LIMIT // 2, captured


def check_leak_is_named(folder: str) -> None:
    report = tool.ask("report", folder)
    assert report["suspect"]["owner"] == "sessions.SESSIONS", report["suspect"]
    assert report["suspect"]["accumulates"]["type"] == "sessions.Session", report["suspect"]
    assert report["suspect"]["rose"] == len(report["files"]) - 1
    counts = next(r["counts"] for r in report["types"] if r["type"] == "sessions.Session")
    assert counts == sorted(counts) and counts[-1] > counts[0], counts


def test_killed_for_memory():
    """The kernel kills a leaking worker; its last minutes are there, and name the leak."""
    python = interpreters.chosen()[-1]
    for _ in range(times(1, 50)):
        with directory() as folder:
            run_until_killed(python, folder)
            check_leak_is_named(folder)


# ---- who

def is_watched(watch: Watch, pids) -> None:
    for pid in pids:
        watch.until(event="found", pid=pid)


def test_preforking_server():
    """Its workers are followed, new ones and those of its successor, and what they start is not."""
    with directory() as folder, tempfile.TemporaryDirectory() as other, contextlib.ExitStack() as stack:
        pid_file = os.path.join(other, "pid")
        with Server(pid_file, 3) as server:
            watch = stack.enter_context(Watch(folder, "--pidfile", pid_file, "--rss", "45M"))
            first = server.workers()
            assert len(first) == 3
            is_watched(watch, [server.pid, *first])
            killed, grown, _ = first
            os.kill(killed, signal.SIGKILL)
            watch.until(event="ended", pid=killed)
            wait_until(lambda: len(server.workers() - first) == 1)
            is_watched(watch, server.workers() - first)
            os.kill(grown, signal.SIGUSR1)
            event = watch.until(event="captured")
            assert event["pid"] == grown and event["reason"] == "rss", watch.events
            check_core(watch, event, grown)
            seen = {server.pid, *server.workers(), *first}
        watch.until(event="ended", pid=grown)
        with Server(pid_file, 2) as server:
            is_watched(watch, [server.pid, *server.workers()])
            seen |= {server.pid, *server.workers()}
        assert {e["pid"] for e in watch.those(event="found")} == seen, watch.events
        assert {e["pid"] for e in watch.those(event="captured")} == {grown}, watch.events


def test_pid_and_its_workers():
    """It ends with the last of them."""
    with directory() as folder, tempfile.TemporaryDirectory() as other:
        with Server(os.path.join(other, "pid"), 2) as server:
            with Watch(folder, "--pid", str(server.pid), "--rss", "1G") as watch:
                is_watched(watch, [server.pid, *server.workers()])
                os.killpg(server.pid, signal.SIGKILL)
                assert watch.end() == 0
        assert len(watch.those(event="ended")) == len(watch.those(event="found")) >= 3


def test_what_it_starts():
    """A fork that has not yet started another program is none of its workers."""
    with Worker("forks") as worker:
        for options in (["--pid", str(worker.pid)], ["--name", "worker.py forks$"]) * 4:
            with directory() as folder, Watch(folder, *options, "--every", "1h") as watch:
                watch.until(event="found")
                assert watch.stop() == 0
            assert {e["pid"] for e in watch.those(event="found")} == {worker.pid}, watch.events


def test_name():
    token = f"coreanalyze-test-{os.getpid()}"
    with directory() as folder, Worker("idle") as bystander:
        with Watch(folder, "--name", f"idle 0 {token}$", "--every", "1h") as watch:
            for _ in range(2):
                with Worker("idle", "0", token) as worker:
                    watch.until(event="found", pid=worker.pid)
                watch.until(event="ended", pid=worker.pid)
            assert watch.stop() == 0
        assert bystander.pid not in {e["pid"] for e in watch.events}
        assert len(watch.those(event="found")) == 2, watch.events


def test_cgroup():
    with directory() as folder, memory_limit(200 * MIB) as group:
        path = group.folder.split("/sys/fs/cgroup/memory")[-1].split("/sys/fs/cgroup")[-1]
        with Worker("idle"), Worker("idle", preexec_fn=group) as worker:
            with Watch(folder, "--cgroup", path, "--every", "1h") as watch:
                found = watch.until(event="found", pid=worker.pid)
                assert found["limit"] == 200 * MIB, found
                assert watch.stop() == 0
                assert len(watch.those(event="found")) == 1, watch.events
            with Watch(folder, "--cgroup", group.folder, "--every", "1h") as watch:
                with Worker("idle", preexec_fn=group) as later:
                    for each in (worker, later):
                        watch.until(event="found", pid=each.pid)
                assert watch.stop() == 0
                assert len(watch.those(event="found")) == 2, watch.events


# ---- when

def test_rss_and_again():
    with directory() as folder, Worker("grow") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--rss", "60M") as watch:
            worker.ask(b"20\n")
            watch.until(event="found")
            assert watch.quiet(0.5) == 0, watch.events
            worker.ask(b"40\n")
            event = watch.until(event="captured")
            assert event["reason"] == "rss" and event["rss"] >= 60 * MIB, event
            check_core(watch, event, worker.pid)
            count = watch.quiet(1)      # it may have been caught while it grew
            worker.ask(b"10\n")
            watch.until(count + 1, event="captured")
            assert watch.stop() == 0
        worker.ask(b"0\n")


def test_a_leap():
    """The kernel tells of a leap over the threshold, long before the next look is due."""
    hog = "import sys; kept = b'x' * (650 << 20); print(flush=True); sys.stdin.read()"
    for _ in range(5):      # a busy machine may be late
        with directory() as folder, memory_limit(1000 * MIB) as group, \
                Worker("idle", preexec_fn=group) as worker:
            if os.path.exists(os.path.join(group.folder, "memory.max")):
                raise Skip("cgroups of version 2 have no thresholds")
            with Watch(folder, "--pid", str(worker.pid), "--percent-of-limit", "60") as watch:
                looked = date_of(watch.until(event="found")["time"])
                with subprocess.Popen(["python3", "-c", hog], preexec_fn=group, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE) as process:
                    process.stdout.readline()
                    event = watch.until(event="captured")
                    process.stdin.close()
                if (captured_at(event) - looked).total_seconds() < 1.9:
                    return
    raise AssertionError("it waited for the next look")


def test_growth():
    with directory() as folder, Worker("grow") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--growth", "20M/60") as watch:
            watch.until(event="found")
            for count in (1, 2):
                worker.ask(b"12\n")
                assert watch.quiet(0.5) == count - 1, watch.events
                worker.ask(b"12\n")
                assert watch.until(count, event="captured")["reason"] == "growth"


@contextlib.contextmanager
def unified_group(name: str):
    """Of version 2: pressure is told of each of them, whoever counts memory."""
    with open("/proc/self/mounts") as f:
        tops = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
    group = Group(os.path.join(tops[0] if tops else "/nowhere", f"coreanalyze-test-{os.getpid()}-{name}"))
    try:
        os.mkdir(group.folder)
    except OSError as e:
        raise Skip(f"no cgroup of version 2 can be made here: {e}") from e
    try:
        yield group
    finally:
        wait_until(lambda: not group.pids())
        os.rmdir(group.folder)


def tells_pressure(group) -> bool:
    return os.path.exists(os.path.join(group.folder, "memory.pressure"))


@contextlib.contextmanager
def pressed_group():
    """Real pressure in a group: what is read in it again and again does not fit into its memory."""
    with contextlib.ExitStack() as stack:
        group = limited = stack.enter_context(memory_limit(40 * MIB))
        if not tells_pressure(limited):
            group = stack.enter_context(unified_group("pressed"))
        if not tells_pressure(group):
            raise Skip("the kernel tells no pressure (CONFIG_PSI)")
        large = stack.enter_context(tempfile.NamedTemporaryFile(dir="/var/tmp"))
        subprocess.run(["dd", "if=/dev/zero", "bs=1M", "count=100", "conv=fsync", f"of={large.name}"],
                       check=True, stderr=subprocess.DEVNULL)
        os.posix_fadvise(large.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        reader = subprocess.Popen(
            ["sh", "-c", 'for i in 1 2 3 4; do while :; do cat "$0" >/dev/null; done & done; wait', large.name],
            preexec_fn=lambda: (os.setpgid(0, 0), limited(), group()))
        try:
            yield group
        finally:
            os.killpg(reader.pid, signal.SIGKILL)
            reader.wait()


def test_pressure():
    """Of the group that waits for memory, not of another one; who gets no trigger reads its average."""
    if os.geteuid():
        raise Skip("this needs root")
    token, nobody = f"coreanalyze-test-{os.getpid()}", as_user("nobody")
    options = ["--name", token + "$", "--pressure", "some:2%"]
    with directory() as folder, place_for("nobody") as (command, theirs), \
            unified_group("other") as other, pressed_group() as group, \
            Worker("heap", "20", token, preexec_fn=other) as larger, \
            Worker("idle", "0", token, python=made_for_all(interpreters.chosen()), **nobody) as worker:
        group.take(worker.pid)
        with Watch(folder, *options) as watch, Told(theirs, *options, command=command, **nobody) as reads:
            reads.until(event="trouble")
            pids = {watch.until(event="captured", reason="pressure")["pid"],
                    int(reads.until(event="captured", reason="pressure")["pid"])}
            assert pids == {worker.pid}, (larger.pid, watch.events, reads.events)
            assert not watch.those(event="trouble"), watch.events
        larger.check_untouched()
        worker.check_untouched()


def test_pressure_without_it():
    done = tool.run("watch", "--pid", "1", "--pressure", "some:1%", "-o", "/proc/nowhere")
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done


# ---- how

def test_fork():
    """By a fork, and by a copy where the memory limit leaves a fork no room: which is told."""
    with directory() as folder, memory_limit(600 * MIB) as group:
        with Worker("heap", "50", preexec_fn=group) as worker:
            with Watch(folder, "--pid", str(worker.pid), "--every", "200ms", "--fork") as watch:
                forked = watch.until(event="captured")
                group.set_limit(group.usage() + 25 * MIB)
                count = len(watch.those(event="captured"))
                copied = watch.until(count + 2, event="captured")
                assert watch.stop() == 0
            for event, method in ((forked, "fork"), (copied, "copy")):
                info = tool.ask("info", os.path.join(folder, event["file"]))
                assert info["taken"]["method"] == method, (event, info["taken"])
            assert forked["text"] is None and copied["text"].count(" bytes)") >= 1, (forked, copied)
            worker.check_untouched()


def test_compress():
    with directory() as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--compress", "--keep", "1") as watch:
            watch.until(3, event="captured")
            assert watch.stop() == 0
        name, = watch.files()
        assert name.endswith(".core.zst") and tool.ask("info", os.path.join(folder, name))
        assert len(tool.ask("report", folder)["files"]) == 1


def test_save():
    """Snapshots in the cores' place, of which report tells the same."""
    with directory() as folder, Worker("grow") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--growth", "4M/60", "--save") as watch:
            watch.until(event="found")
            for count in range(1, 3):
                worker.ask(b"10\n")
                watch.until(count, event="captured")
            assert watch.stop() == 0
        captured = watch.those(event="captured")
        assert all(e["text"] is None for e in captured), captured
        assert watch.files() == [e["file"] for e in captured]
        assert all(name.endswith(".snapshot") for name in watch.files()), watch.files()
        report = tool.ask("report", folder)
        assert len(report["files"]) == 2 and report["suspect"]["owner"] == "__main__.keep", report["suspect"]
        # It may have been caught while it grew.
        assert 4000 <= report["suspect"]["accumulates"]["count_delta"] <= 20000, report["suspect"]
        worker.ask(b"0\n")


def test_save_without_room_for_it():
    """The core is kept, and it is told why: of no Python, and where memory is short."""
    with directory() as folder, subprocess.Popen(["sleep", "1000"]) as process:
        try:
            with Watch(folder, "--pid", str(process.pid), "--every", "300ms", "--save", "--keep", "1") as watch:
                event = watch.until(event="captured")
                assert event["file"].endswith(".core") and "the core is kept" in event["text"], event
                assert watch.stop() == 0
            assert len(watch.files()) == 1, watch.files()
        finally:
            process.kill()
    with directory() as folder, Worker("heap", "100") as worker, memory_limit(90 * MIB) as group:
        with Watch(folder, "--pid", str(worker.pid), "--every", "300ms", "--save", "--keep", "1",
                   preexec_fn=group) as watch:
            event = watch.until(event="captured")
            assert event["file"].endswith(".core") and event["text"].count(" bytes)") == 2, event
            assert tool.ask("info", os.path.join(folder, event["file"]))["target"]["complete"]
            assert watch.stop() == 0
        worker.check_untouched()


# ---- what is kept

def test_keep_and_then():
    """The first and the newest stay; the command ends with its shell, whatever that leaves behind."""
    with directory() as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--keep", "3",
                   "--then", 'echo "$COREANALYZE_PID '
                   '$COREANALYZE_REASON" >>"$(dirname "$COREANALYZE_FILE")/log"; sleep 2 &') as watch:
            count = times(10, 1000)
            watch.until(count, event="command")
            watch.until(count, event="captured")
            assert watch.stop() == 0
        names = [e["file"] for e in watch.those(event="captured")]
        dropped = [e["file"] for e in watch.those(event="dropped")]
        assert watch.files() == [names[0], *names[-2:], "log"], watch.events
        assert dropped == names[1:-2], watch.events
        with open(os.path.join(folder, "log")) as f:
            assert f.read() == f"{worker.pid} every\n" * len(names)
        worker.check_untouched()


def test_memory_and_descriptors_do_not_grow():
    with directory() as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--keep", "1") as watch:
            watch.until(3, event="captured")
            wait_until(lambda: len(watch.descriptors()) < 20)
            before = resident(watch.process.pid)
            watch.until(times(20, 2000), event="captured")
            grown = resident(watch.process.pid) - before
            assert grown < MIB // 4, grown
            assert len(watch.descriptors()) < 20, watch.descriptors()


def test_max_disk():
    with directory() as folder, Worker("grow") as worker:
        worker.ask(b"10\n")
        most = 60 * MIB
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--max-disk", str(most)) as watch:
            for count in range(1, 8):
                watch.until(count, event="captured")
                used = sum(os.stat(os.path.join(folder, f)).st_blocks * 512 for f in watch.files()
                           if os.path.exists(os.path.join(folder, f)))
                assert used <= most, (used, watch.events)
            assert watch.those(event="dropped")
            # What alone is too large is not captured, and says so.
            worker.ask(b"70\n")
            failed = watch.until(event="failed")
            assert failed["text"].count(" bytes)") == 2, failed
            assert watch.files(), "nothing is dropped in vain"
        worker.ask(b"0\n")


@contextlib.contextmanager
def small_disk(size: str):
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                          stderr=subprocess.DEVNULL).returncode:
            raise Skip("no file system may be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


def test_full_disk():
    with small_disk("4m") as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "300ms") as watch:
            failed = watch.until(2, event="failed")
            assert failed["text"].count(" bytes)") == 2, failed
            assert watch.files() == []
            assert watch.stop() == 0
        worker.check_untouched()


def test_write_that_fails():
    """The child is ended in the middle of its file (SIGXFSZ): nothing of that stays."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))

    with directory() as folder, Worker("grow") as worker:
        worker.ask(b"20\n")
        with Watch(folder, "--pid", str(worker.pid), "--every", "300ms", preexec_fn=limit) as watch:
            watch.until(2, event="failed")
            assert watch.files() == []
            assert watch.stop() == 0
        assert not watch.those(event="captured"), watch.events
        worker.ask(b"0\n")


def test_two_in_one_directory():
    with directory() as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid)):
            done = tool.run("watch", "--pid", str(worker.pid), "-o", folder)
            assert done.returncode == 3 and "another watch" in done.stderr, done


# ---- what it says

def test_lines():
    """Each kind of event, of a process and a directory whose names would steer a terminal."""
    steering = "a\n2026-01-01T00:00:00.000Z stopped\x1b[2J\x9b31m"
    with tempfile.TemporaryDirectory() as above, memory_limit(150 * MIB) as group, \
            Worker("grow", "0", steering, preexec_fn=group) as worker:
        folder = os.path.join(above, steering)
        with Told(folder, "--pid", str(worker.pid), "--every", "150ms", "--keep", "2", "--max-disk", "40M",
                  "--then", "exit 3") as watch:
            pid = str(worker.pid)
            found = watch.until(event="found", pid=pid)
            assert about(found["rss"], resident(worker.pid), 0.1) and bytes_of(found["limit"]) == 150 * MIB, found
            assert int(found["percent"]) <= 30, found
            dropped = watch.until(event="dropped", pid=pid, text="more than --keep")
            watch.until(3, event="captured", pid=pid, reason="every")
            told, second, *_ = watch.those(event="captured")
            assert dropped["file"] == second["file"], watch.events
            assert about(told["bytes"], os.stat(os.path.join(folder, told["file"])).st_blocks * 512, 0.1), told
            assert 0 < float(told["pause"]) < 10, told
            command = watch.until(event="command", pid=pid, status="3")
            escaped = folder.replace("\n", "\\n").replace("\x1b", "\\x1b").replace("\x9b", "\\u009b")
            assert command["file"] == f"{escaped}/{told['file']}", command
            worker.ask(b"45\n")
            failed = watch.until(event="failed", pid=pid, reason="every")
            assert re.fullmatch(r"it may take .+ \(\d+ bytes\) on the disk, where with --max-disk there are "
                                r"40\.0 MiB \(41943040 bytes\) for it", failed["text"]), failed
            worker.process.stdin.write(b"200\n")
            ended = watch.until(event="ended", pid=pid)
            assert ended["kills"] == "1", ended
            assert 40 * MIB < bytes_of(ended["rss"]) < 200 * MIB, ended      # files' pages as well
            assert watch.end() == 0


# ---- the end

def is_whole(watch: Watch) -> None:
    """Of each file that is there the whole is there."""
    assert all(f.endswith(".core") for f in watch.files()), watch.files()
    told = [e["file"] for e in watch.those(event="captured")]
    assert sorted(told) == watch.files(), (told, watch.files())
    for name in told:
        assert tool.ask("info", os.path.join(watch.directory, name))["target"]["complete"]


def test_stopped_in_a_capture():
    """Finished or undone, at whatever moment it comes."""
    moment = random.Random(os.environ.get("CA_SEED", "1"))
    with Worker("heap", "100") as worker:
        for _ in range(times(4, 100)):
            with directory() as folder:
                with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--keep", "3") as watch:
                    watch.until(event="found")
                    time.sleep(moment.uniform(0, 0.6))
                    assert watch.stop(moment.choice((signal.SIGTERM, signal.SIGINT))) == 0
                is_whole(watch)
                worker.check_untouched()


def test_stopped_twice_in_a_capture():
    """The second time is at once: it is undone. Where memory is short its child goes first."""
    with Worker("heap", "300") as worker, directory() as folder:
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms") as watch:
            wait_until(lambda: serving.children(watch.process.pid))
            child, = serving.children(watch.process.pid)
            wait_until(lambda: text_of(f"/proc/{child}/oom_score_adj") == "1000\n")
            watch.process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
            assert watch.stop() == 0
            is_whole(watch)
        worker.check_untouched()


def test_killed_in_a_capture():
    """What is left half-done goes when the next watch begins."""
    moment = random.Random(os.environ.get("CA_SEED", "1"))
    with Worker("heap", "100") as worker, directory() as folder:
        for _ in range(times(5, 100)):
            with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", "--keep", "2") as watch:
                watch.until(event="found")
                time.sleep(moment.uniform(0, 0.6))
            wait_until(lambda: not any(tracer for _, tracer in worker.states().values()))
            worker.check_untouched()
        with Watch(folder, "--pid", str(worker.pid), "--every", "1h") as watch:
            assert not [f for f in watch.files() if not f.endswith(".core")], watch.files()
            assert watch.stop() == 0


def test_nobody_listens():
    """It ends when its output has no reader, and leaves nothing half-done."""
    with directory() as folder, Worker("idle") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "100ms") as watch:
            watch.until(event="found")
            os.close(os.dup(watch.process.stdout.fileno()))
            watch.process.stdout.close()
            assert watch.process.wait(ANSWER_WITHIN) == 0
            assert not [f for f in watch.files() if f.endswith(".part")]
            watch.process.stdout = open(os.devnull, "rb", buffering=0)
        worker.check_untouched()


# ---- no harm

def test_it_sleeps():
    """Near its trigger, with a group's threshold and a name to look for: hardly any time."""
    with directory() as folder, memory_limit(100 * MIB) as group, \
            Worker("grow", preexec_fn=group) as worker:
        worker.ask(b"30\n")
        with Watch(folder, "--name", "worker.py grow", "--rss", "60M", "--percent-of-limit", "90",
                   "--growth", "100M/10", "--pressure", "some:90%", "--every", "1h") as watch:
            watch.until(event="found", pid=worker.pid)
            watch.listen(0.5)
            before = watch.processor_time()
            watch.listen(2)
            spent = watch.processor_time() - before
            assert spent < 0.02, spent      # 1 % of one processor
            assert resident(watch.process.pid) < 16 * MIB


def test_it_lets_go():
    """A process runs for ten times as long as it stood still, however often it is to be captured."""
    with directory() as folder, Worker("heap", "60") as worker:
        with Watch(folder, "--pid", str(worker.pid), "--every", "1ms", "--keep", "1") as watch:
            watch.until(3, event="captured")
            assert watch.stop() == 0
    told = watch.those(event="captured")
    for event, following in zip(told, told[1:]):
        ran = captured_at(following) - date_of(event["time"])
        assert ran.total_seconds() >= 10 * event["pause_seconds"] - 0.002, told


def test_in_the_workers_own_group():
    """At 97 % of a limit that they share it is refused, with both figures; with room for it, it is done."""
    with directory() as folder, memory_limit(400 * MIB) as group:
        with Worker("heap", "100", preexec_fn=group) as worker:
            with Watch(folder, "--pid", str(worker.pid), "--every", "200ms", preexec_fn=group) as watch:
                watch.until(event="captured")
                group.set_limit(int(group.usage() / 0.97))
                failed = watch.until(times(3, 100), event="failed")
                assert failed["text"].count(" bytes)") == 2, failed
                worker.check_untouched()
                group.set_limit(400 * MIB)
                watch.until(len(watch.those(event="captured")) + 1, event="captured")
                assert watch.stop() == 0
            worker.check_untouched()


# ---- the report

STEP = 3000


@contextlib.contextmanager
def series(python, steps: int):
    """Cores of a sample before and after steps of 3,000 logins, named as a watch names them."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            python.command(os.path.join(SAMPLES, "worker.py"), "sessions", "--amount",
                           str(STEP)), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=python.environment(), text=True, bufsize=1)
        with process:
            try:
                assert process.stdout.readline().startswith("ready")
                names = []
                for step in range(steps):
                    if step:
                        process.stdin.write("\n")
                        assert process.stdout.readline() == f"step {step}\n"
                    names.append(f"20261127T20{step:02}30.500Z-{process.pid}.core")
                    tool.ask("capture", str(process.pid), "-o", os.path.join(folder, names[-1]))
                yield folder, names, process.pid
            finally:
                process.kill()


def test_report_is_exact():
    for python in {p.name: p for p in (interpreters.chosen()[0], interpreters.chosen()[-1])}.values():
        check_report(python)


def check_report(python) -> None:
    with series(python, 4) as (folder, names, pid):
        report = tool.ask("report", folder)
        cores_ = [os.path.join(folder, n) for n in names]
        types = [tool.ask("types", core, "--limit", "0") for core in cores_]
        diff = tool.ask("diff", cores_[0], cores_[-1], "--limit", "0")
    assert report["processes"] == [{"pid": pid, "files": 4}]
    assert [f["file"] for f in report["files"]] == names and report["minutes"] == 3
    assert [f["seconds"] for f in report["files"]] == [0, 60, 120, 180]
    rows = {r["type"]: r for r in report["types"]}
    assert rows["sessions.Session"]["counts"] == [STEP, 2 * STEP, 3 * STEP, 4 * STEP]
    assert rows["sessions.Session"]["rose"] == 3
    assert rows["sessions.Session"]["bytes_per_minute"] == rows["sessions.Session"]["bytes_delta"] / 3
    for moment, document in enumerate(types):
        expected = {r["type"]: (r["count"], r["bytes"] + r["owned"]) for r in document["types"]}
        got = {t: (r["counts"][moment], r["bytes"][moment]) for t, r in rows.items()
               if r["counts"][moment]}
        assert got == expected
        assert report["files"][moment]["objects"] == document["totals"]["objects"]
        assert sum(r["bytes"][moment] for r in report["owners"]) == (
            document["totals"]["bytes"] + document["totals"]["owned"])
    # By owner it is what diff says of the first and the last.
    grown = next(r for r in diff["owners"] if r["owner"] == "sessions.SESSIONS")
    row = next(r for r in report["owners"] if r["owner"] == "sessions.SESSIONS")
    assert row["count_delta"] == grown["count_delta"], (row, grown)
    assert row["bytes_delta"] == grown["bytes_delta"] + grown["owned_delta"], (row, grown)
    assert row == report["owners"][0] and report["suspect"]["owner"] == row["owner"]
    assert report["suspect"]["accumulates"] == {
        "type": "sessions.Session", "count_delta": 3 * STEP,
        "bytes_delta": rows["sessions.Session"]["bytes_delta"]}


def test_report_of_damaged_files():
    python = interpreters.chosen()[-1]
    with series(python, 3) as (folder, names, pid):
        whole = tool.ask("report", folder)
        # The last one is cut, one in the middle is no core at all, others are none of ours.
        damaged = f"20261127T202030.500Z-{pid}.core", f"20261127T200100.000Z-{pid}.core"
        with open(os.path.join(folder, names[-1]), "rb") as f:
            some = f.read(3 * MIB)
        for name, content in zip(damaged, (some, b"no core")):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(content)
        for name in ("notes.txt", f"20261127T202130.500Z-{pid}.core.part"):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(some)
        report = tool.ask("report", folder)
        said = tool.run("report", folder)
        assert [f["file"] for f in report["files"]] == names
        for key in ("types", "owners", "suspect", "minutes"):
            assert report[key] == whole[key], key
        texts = [w["text"] for w in report["warnings"]]
        for name in damaged:
            assert sum(name in text for text in texts) == 1, texts
        assert said.returncode == 0 and "sessions.SESSIONS" in said.stdout
        assert all(name in said.stdout for name in damaged), said.stdout
        # With one file there is nothing to compare, and with none nothing to report.
        for name in names[:-1]:
            os.unlink(os.path.join(folder, name))
        assert tool.ask("report", folder)["suspect"] is None
        os.unlink(os.path.join(folder, names[-1]))
        done = tool.run("report", folder)
        assert done.returncode == 3 and damaged[0] in done.stderr, done.stderr


def test_report_chooses_a_process():
    python = interpreters.chosen()[-1]
    with series(python, 2) as (folder, names, pid):
        for name in names:
            os.symlink(os.path.join(folder, name), os.path.join(folder, name.replace(f"-{pid}", "-1")))
        still = [name.replace(f"-{pid}", "-2") for name in names]
        for name in still:
            os.link(os.path.join(folder, names[0]), os.path.join(folder, name))
        report = tool.ask("report", folder)
        assert [f["file"] for f in report["files"]] == names      # a link is none of ours
        assert report["processes"] == [{"pid": 2, "files": 2}, {"pid": pid, "files": 2}]
        other = tool.ask("report", folder, "--pid", "2")
        assert [f["file"] for f in other["files"]] == still and other["suspect"] is None
        assert tool.run("report", folder, "--pid", "3").returncode == 2


def test_usage():
    with tempfile.TemporaryDirectory() as folder:
        for words in ((), ("--pid", "1"), ("-o", folder), ("--pid", "1", "--name", "a", "-o", folder),
                      ("--pid", "x", "-o", folder), ("--name", "(", "-o", folder),
                      ("--pid", "1", "extra", "-o", folder)):
            done = tool.run("watch", *words)
            assert done.returncode == 2 and done.stderr and not done.stdout, (words, done)
        for option, values in {"--rss": ("0", "x", ""), "--percent-of-limit": ("0", "101", "x"),
                               "--growth": ("1M", "1M/", "1M/0", "/5", "1M/x"),
                               "--pressure": ("20%", "some:", "some:0%", "some:101%", "none:5%"),
                               "--every": ("0", "x", "5 apples", "-1s"), "--keep": ("0", "x"),
                               "--max-disk": ("0", "x")}.items():
            for value in values:
                done = tool.run("watch", "--pid", "1", "-o", folder, f"{option}={value}")
                assert done.returncode == 2 and option in done.stderr, (option, value, done)
        assert tool.run("watch", "--pid", str(2 ** 22 + 1), "-o", folder).returncode == 3
        done = tool.run("watch", "--pid", str(os.getpid()), "-o", "/proc/nowhere")
        assert done.returncode == 3 and "/proc/nowhere" in done.stderr, done
        done = tool.run("report", folder)
        assert done.returncode == 3 and "nothing to report" in done.stderr, done


# ---- ready-made

UNIT = os.path.join(SAMPLES, "coreanalyze-watch.service")
SIDECAR = os.path.join(SAMPLES, "watch-sidecar.yaml")


def check_command_line(words: list[str]) -> None:
    """It waits as it stands, but for the directory."""
    assert words[:2] == ["coreanalyze", "watch"] and words[-2] == "-o", words
    with directory() as folder:
        options = [word for word in words[2:-2] if word != "--json"]
        with Watch(folder, *options) as watch:
            assert watch.stop() == 0


def unit_values(key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", text_of(UNIT))


def test_unit():
    command, = unit_values("ExecStart")
    setting, = unit_values("Environment")
    variable, value = setting.strip('"').split("=", 1)
    words = command.replace(f"${variable}", value).split()
    check_command_line(["coreanalyze", *words[1:]])
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(UNIT))
        with open(path, "w", encoding="utf-8") as f:
            f.write(text_of(UNIT).replace(words[0], os.path.abspath(tool.path())))
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done


def pod() -> dict:
    if not yaml:
        raise Skip("python3-yaml is not installed")
    manifest, = yaml.safe_load_all(text_of(SIDECAR))
    return manifest


# Of Kubernetes' API, v1: what is used of it. What it does not know it refuses.
CONTAINER = {"name": str, "image": str, "command": [str],
             "securityContext": {"runAsUser": int, "capabilities": {"add": [str], "drop": [str]},
                                 "allowPrivilegeEscalation": bool, "readOnlyRootFilesystem": bool},
             "resources": {"limits": {"memory": str}},
             "volumeMounts": [{"name": str, "mountPath": str}]}
POD = {"apiVersion": str, "kind": str, "metadata": {"name": str},
       "spec": {"shareProcessNamespace": bool, "terminationGracePeriodSeconds": int,
                "containers": [CONTAINER],
                "volumes": [{"name": str, "emptyDir": {"sizeLimit": str}}]}}


def check_fields(value, form, path: str) -> None:
    if isinstance(form, dict):
        assert isinstance(value, dict) and value.keys() <= form.keys(), (path, value)
        for key in value:
            check_fields(value[key], form[key], f"{path}.{key}")
    elif isinstance(form, list):
        assert isinstance(value, list) and value, (path, value)
        for each in value:
            check_fields(each, form[0], path)
    else:
        assert type(value) is form, (path, value)


def test_sidecar():
    manifest = pod()
    check_fields(manifest, POD, "pod")
    assert (manifest["apiVersion"], manifest["kind"]) == ("v1", "Pod")
    spec = manifest["spec"]
    worker, watch = spec["containers"]
    assert spec["shareProcessNamespace"] is True
    assert watch["securityContext"] == {
        "runAsUser": 0, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE", "DAC_READ_SEARCH"]}}
    for quantity in (*(c["resources"]["limits"]["memory"] for c in (worker, watch)),
                     *(v["emptyDir"]["sizeLimit"] for v in spec["volumes"])):
        assert re.fullmatch(r"\d+[MG]i", quantity), quantity
    # The files go where the only writable place is.
    mount, = watch["volumeMounts"]
    assert [v["name"] for v in spec["volumes"]] == [mount["name"]]
    assert watch["command"][-1] == mount["mountPath"] and "securityContext" not in worker
    check_command_line(watch["command"])


def with_privileges(names, user: str | None = None) -> list[str]:
    """What starts a program with these privileges and no other: as root, or as a user who has them."""
    kept = ",".join(["-all", *("+" + name.lower().removeprefix("cap_") for name in names)])
    out = ["setpriv", "--no-new-privs", "--bounding-set", kept, "--inh-caps", kept]
    return out if not user else [*out, "--ambient-caps", kept, "--reuid", user, "--clear-groups"]


def privileges() -> list[list[str]]:
    """The unit's, and the sidecar's."""
    added = pod()["spec"]["containers"][1]["securityContext"]["capabilities"]["add"]
    return [unit_values("CapabilityBoundingSet")[0].split(), ["CAP_" + name for name in added]]


def test_privileges():
    """What the unit and the sidecar have is enough for a worker of another user, and each is needed."""
    if os.geteuid() or not shutil.which("setpriv"):
        raise Skip("this needs root and setpriv")
    named = privileges()
    python = made_for_all(interpreters.chosen())
    with Worker("heap", "10", python=python, **as_user("nobody")) as worker:
        for names in named:
            with directory() as folder:
                with Watch(folder, "--pid", str(worker.pid), "--every", "100ms",
                           before=with_privileges(names)) as watch:
                    check_core(watch, watch.until(event="captured"), worker.pid)
                    assert watch.stop() == 0
        every = {name for names in named for name in names}
        for missing in (set(), every, *({name} for name in every)):
            check_privileges(worker, every, missing)
        worker.check_untouched()


def test_changed_user():
    """Who was root when it started is closed to its user, and is not to who has the privileges."""
    if os.geteuid() or not shutil.which("setpriv"):
        raise Skip("this needs root and setpriv")
    code = "import os, time; os.setgid(65534); os.setuid(65534); print(flush=True); time.sleep(1000)"
    with place_for("nobody") as (command, folder), \
            subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            ask = [command, "capture", str(process.pid), "-o", os.path.join(folder, "core")]
            done = subprocess.run(ask, capture_output=True, text=True, check=False, user=65534, group=65534,
                                  extra_groups=[])
            assert done.returncode == 3 and "has it changed its user" in done.stderr, done
            os.chown(folder, pwd.getpwnam("daemon").pw_uid, -1)
            done = subprocess.run([*with_privileges(privileges()[0], "daemon"), *ask], capture_output=True,
                                  text=True, check=False)
            assert done.returncode == 0, done
        finally:
            process.kill()


def check_privileges(worker: Worker, every: set[str], missing: set[str]) -> None:
    """As a user of neither: it says which are missing, and no other."""
    with place_for("daemon") as (command, folder):
        core = os.path.join(folder, "core")
        done = subprocess.run([*with_privileges(every - missing, "daemon"), command, "capture",
                               str(worker.pid), "-o", core], capture_output=True, text=True, check=False)
        assert {name for name in every if name in done.stderr} == missing, done
        assert done.returncode == (3 if missing else 0) and os.path.exists(core) == (not missing), done
        if not missing:
            assert tool.ask("info", core)["target"]["complete"]


def in_container(version: int) -> list[str]:
    """What starts a program with mounts of its own, where its group is all that there is of cgroups."""
    mounts = ("mount -t cgroup2 none /sys/fs/cgroup" if version == 2 else
              "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory &&"
              " mount -t cgroup -o memory none /sys/fs/cgroup/memory")
    return ["unshare", "--mount", "--cgroup", "sh", "-c",
            f'umount -R /sys/fs/cgroup && {mounts} && exec "$0" "$@"']


def test_from_another_container():
    """With the sidecar's privileges the worker's limit is seen, and it is captured."""
    if os.geteuid() or subprocess.run(["unshare", "--mount", "--cgroup", "umount", "-R", "/sys/fs/cgroup"],
                                      stderr=subprocess.DEVNULL).returncode:
        raise Skip("no mounts of one's own can be had here")
    with directory() as folder, memory_limit(200 * MIB) as group, memory_limit(100 * MIB) as own:
        version = 1 if group.folder.startswith("/sys/fs/cgroup/memory/") else 2
        wrap = in_container(version)
        with Worker("idle", before=wrap, preexec_fn=group) as worker:
            with Watch(folder, "--pid", str(worker.pid), "--every", "100ms", preexec_fn=own,
                       before=[*wrap, *with_privileges(privileges()[1])]) as watch:
                assert watch.until(event="found")["limit"] == 200 * MIB, watch.events
                check_core(watch, watch.until(event="captured"), worker.pid)
                assert watch.stop() == 0
            worker.check_untouched()
