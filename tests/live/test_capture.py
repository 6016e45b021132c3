# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture`: cores that we take, against gcore's of the same moment."""

import os
import re
import shutil
import stat
import subprocess
import tempfile

import cores
import interpreters
import tool
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


def test_gdb_reads_it():
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    worker = os.path.join(cores.HERE, "worker.py")
    python = interpreters.chosen()[-1]
    with tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        with subprocess.Popen(python.command(worker, "threads", "20"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=python.environment()) as process:
            assert process.stdout.readline() == b"ready\n"
            tool.ask("capture", str(process.pid), "-o", core)
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
                check_lives(process)
        finally:
            subprocess.run(["umount", small], check=True)


def test_usage():
    for argument, status in (("nobody", 2), ("pid:nobody", 2), (str(os.getpid() + 2 ** 22), 3)):
        done = tool.run("capture", argument)
        assert done.returncode == status, (argument, done)
        assert not done.stdout and done.stderr, done
