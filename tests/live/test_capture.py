# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture`: cores that we take, against gcore's of the same moment."""

import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile

import cores
import elfcore
import interpreters
import tool
from living import Worker
from runner import Skip, each_python


def target(directory, python=None):
    python = python or interpreters.chosen()[-1]
    return cores.Target(python, directory, "instances", "dicts", "sequences")


def answer(core):
    document = tool.ask("types", core, "--limit", "0")
    del document["target"]["path"]
    return document


def check_lives(process):
    """Nobody traces it, it is not stopped, and it takes its next step."""
    with open(f"/proc/{process.pid}/status") as f:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert fields["TracerPid"] == "0" and fields["State"][0] not in "tTZ", fields
    process.go_on()
    process.truth_path()


@each_python()
def test_same_answers_as_gcore(python):
    with tempfile.TemporaryDirectory() as directory:
        ours, packed = (os.path.join(directory, name) for name in ("ours", "packed"))
        with target(directory, python) as process:
            process.truth_path()
            told = tool.ask("capture", str(process.pid), "-o", ours)
            tool.ask("capture", f"pid:{process.pid}", "-o", packed, "--compress")
            theirs = process.core("gcore", os.path.join(directory, "theirs"))
            check_lives(process)
        assert told["file"] == ours and told["method"] == "copy", told
        assert told["threads"] == 1 and 0 < told["pause_seconds"] < 60, told
        for path in (ours, packed):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.path.getsize(packed) < os.path.getsize(ours) / 2
        expected = answer(theirs)
        assert answer(ours) == expected
        assert answer(packed) == expected
        info, of_gcore = tool.ask("info", ours), tool.ask("info", theirs)
        assert info["pause_seconds"] == told["pause_seconds"]
        for key in ("threads", "interpreters", "layout"):
            assert info[key] == of_gcore[key], key
        assert info["target"]["command_line"] == of_gcore["target"]["command_line"]
        build_ids = [{(m["path"], m["build_id"]) for m in d["modules"]} for d in (info, of_gcore)]
        assert build_ids[0] == build_ids[1]


# ---- what it was caught at

STATES = """
import gc, os, sys, threading, time
x = [[i] for i in range(100000)]
def burn():
    while True:
        sum(range(100))
if sys.argv[1] == "burn":
    threading.Thread(target=burn, daemon=True).start()
if sys.argv[1] == "collect":
    def collect():
        while True:
            gc.collect()
    threading.Thread(target=collect, daemon=True).start()
os.write(1, b"ready\\n")
os.read(0, 1)
"""


@each_python()
def test_state_that_is_told(python):
    with tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        for state in ("idle", "burn", "collect"):
            with subprocess.Popen(python.command("-c", STATES, state), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, env=python.environment()) as process:
                assert process.stdout.readline() == b"ready\n"
                threads = {int(task) for task in os.listdir(f"/proc/{process.pid}/task")}
                # A thread that waits for the lock has it to itself for five milliseconds.
                for _ in range(20):
                    told = tool.ask("capture", str(process.pid), "-o", core)
                    if told["gil_held"] == (state != "idle"):
                        break
                process.kill()
            taken = tool.ask("info", core)["taken"]
            assert taken == {key: told[key] for key in taken}
            assert told["gil_held"] == (state != "idle"), (state, told)
            assert 1 <= told["attempts"] <= 5 and told["lost_pages"] == 0, told
            # In mid-update only when there was no other moment.
            assert told["attempts"] == 5 or not (told["collecting"] or told["broken_lists"]), told
            if state == "collect":
                assert told["collecting"] and told["attempts"] == 5, told
            else:
                assert not told["collecting"], told
            if state == "burn":
                assert told["gil_holder"] in threads - {process.pid}, (told, threads)
            if state == "idle":
                assert told["gil_holder"] is None and told["attempts"] == 1, told


# ---- what it has

def test_notes():
    """What the kernel says of the process, word for word."""
    with Worker("threads", "20") as worker, tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        tool.ask("capture", str(worker.pid), "-o", path)
        core = elfcore.Core(path)
        assert core.pids()[0] == worker.pid and set(core.pids()) == set(worker.states())
        with open(f"/proc/{worker.pid}/auxv", "rb") as f:
            assert core.of(elfcore.NT_AUXV) == [f.read()]
        with open(f"/proc/{worker.pid}/maps") as f:
            mapped = [line.split(maxsplit=5) for line in f]
        files = [line for line in mapped if len(line) == 6 and line[5].startswith("/")]
        count, page, *words = struct.unpack_from("<%dQ" % (2 + 3 * len(files)),
                                                 core.of(elfcore.NT_FILE)[0])
        assert (count, page) == (len(files), 4096)
        paths = core.of(elfcore.NT_FILE)[0][16 + 24 * count:].split(b"\0")
        for i, (addresses, _, offset, _, _, name) in enumerate(files):
            start, end = (int(word, 16) for word in addresses.split("-"))
            assert words[3 * i:3 * i + 3] == [start, end, int(offset, 16) // page], name
            assert paths[i].decode() == name.rstrip("\n")
        # Each mapping is there, those without bytes too.
        covered = {}
        for start, size, _, _, _ in core.loads:
            covered[start] = start + size
        for addresses, *_ in mapped:
            start, end = (int(word, 16) for word in addresses.split("-"))
            while start < end:
                assert start in covered, hex(start)
                start = covered[start]
        info, = core.of(elfcore.NT_PRPSINFO)
        with open(f"/proc/{worker.pid}/comm") as f:
            assert info[40:56].rstrip(b"\0").decode() == f.read().strip()
        ids = struct.unpack_from("<IIiiii", info, 16)
        assert ids == (os.getuid(), os.getgid(), worker.pid, os.getpid(),
                       os.getpgid(worker.pid), os.getsid(worker.pid)), ids
        # 20 stacks of 8 MiB that were hardly touched take no disk.
        assert os.path.getsize(path) > 160 << 20 > 4 * elfcore.disk_bytes(path)


SHARED = """
import mmap, os
m = mmap.mmap(-1, 1 << 20)
m.write(b"shared" * 1000)
private = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
private.write(b"private" * 1000)
os.write(1, b"ready\\n")
os.read(0, 1)
"""


def test_full_is_what_gcore_writes():
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    python = interpreters.chosen()[0]
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs, small = (os.path.join(directory, name) for name in ("ours", "theirs", "small"))
        with subprocess.Popen(python.command("-c", SHARED), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=python.environment()) as process:
            assert process.stdout.readline() == b"ready\n"
            tool.ask("capture", str(process.pid), "-o", ours, "--full")
            tool.ask("capture", str(process.pid), "-o", small)
            subprocess.run(["gdb", "-nx", "-batch", "-iex", "set auto-load off",
                            "-p", str(process.pid), "-ex", f"gcore {theirs}"], check=True,
                           capture_output=True, stdin=subprocess.DEVNULL)
            process.kill()
        core, expected = elfcore.Core(ours), elfcore.Core(theirs)
        page = 4096
        for start, _, size, offset, _ in expected.loads:
            for at in range(0, size, page):
                there = core.read(start + at, page)
                if start >= 1 << 63:
                    continue    # the kernel's: gdb cannot read it and writes zeros
                assert there is not None, hex(start + at)
                now = expected.bytes[offset + at:offset + at + page]
                assert there == now or core.is_rseq(start + at, there, now), hex(start + at)
        assert b"shared" * 1000 in core.bytes
        assert b"shared" * 1000 not in elfcore.Core(small).bytes


def test_a_file_that_is_there_is_replaced():
    with Worker("idle") as worker, tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        with open(path, "w") as f:
            f.write("old")
        os.chmod(path, 0o644)
        tool.ask("capture", str(worker.pid), "-o", path)
        assert elfcore.Core(path).pids() == [worker.pid]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.listdir(directory) == ["core"]


def test_gdb_reads_it():
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    worker = os.path.join(cores.HERE, "worker.py")
    python = interpreters.chosen()[-1]
    for how in ((), ("--fork",)):
        check_gdb_reads(python, worker, *how)


def check_gdb_reads(python, worker, *how):
    with tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        with subprocess.Popen(python.command(worker, "threads", "20"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=python.environment()) as process:
            assert process.stdout.readline() == b"ready\n"
            tool.ask("capture", str(process.pid), "-o", core, *how)
            with open(f"/proc/{process.pid}/exe", "rb"):
                exe = os.readlink(f"/proc/{process.pid}/exe")
            process.kill()
        text = subprocess.run(
            ["gdb", "-nx", "-batch", "-iex", "set auto-load off", exe, "-core", core,
             "-ex", "info threads", "-ex", "info proc mappings", "-ex", "thread apply all bt 1"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    assert len(re.findall(r"^\*? +\d+ +(?:Thread|LWP)", text, re.M)) == 21, text
    assert len(re.findall(r"^#0 ", text, re.M)) >= 21, text
    assert exe in text, text


def test_what_cannot_be_written():
    with tempfile.TemporaryDirectory() as directory:
        with target(directory) as process:
            process.truth_path()
            there = os.path.join(directory, "missing", "core")
            done = tool.run("capture", str(process.pid), "-o", there)
            assert done.returncode == 3 and "cannot write the core" in done.stderr, done.stderr
            check_lives(process)


def test_full_disk():
    """Nothing is left behind, and it says so."""
    with tempfile.TemporaryDirectory() as directory:
        small = os.path.join(directory, "small")
        os.mkdir(small)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", small],
                          stderr=subprocess.DEVNULL).returncode:
            raise Skip("no file system may be mounted here")
        try:
            with target(directory) as process:
                process.truth_path()
                for more in ((), ("--compress",)):
                    done = tool.run("capture", str(process.pid), "-o", small + "/core", *more)
                    assert done.returncode == 3, done
                    assert "No space left" in done.stderr and "left behind" in done.stderr, done.stderr
                    assert os.listdir(small) == []
                # That is known before: it is not even stopped.
                done = tool.run("capture", str(process.pid), "-o", small + "/core", "--fork")
                assert done.returncode == 3 and "larger disk" in done.stderr, done
                assert "bytes)" in done.stderr and os.listdir(small) == [], done
                check_lives(process)
        finally:
            subprocess.run(["umount", small], check=True)


def test_usage():
    nobody = os.getpid() + 2 ** 22
    for argument, status, named in (("nobody", 2, "nobody"), ("pid:nobody", 2, "pid:nobody"),
                                    (str(nobody), 3, f"pid:{nobody}")):
        done = tool.run("capture", argument)
        assert done.returncode == status, (argument, done)
        assert not done.stdout and done.stderr.startswith(f"coreanalyze: {named}: "), done
