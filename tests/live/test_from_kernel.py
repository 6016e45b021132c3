# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture --from-kernel`: real cores of the kernel's, by a pipe."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import cores
import interpreters
import tool
from living import ANSWER_WITHIN, setting
from runner import Skip, each_core


def keep(core, folder, *more, name="python3"):
    with open(core, "rb") as stream:
        cat = subprocess.Popen(["cat"], stdin=stream, stdout=subprocess.PIPE)
        done = subprocess.run([tool.path(), "capture", "--from-kernel", "4242", "4243", name,
                               "-o", folder, *more], stdin=cat.stdout, capture_output=True, text=True)
        cat.stdout.close()
        cat.wait()
    assert done.returncode == 0, done
    return max((os.path.join(folder, n) for n in os.listdir(folder)), key=os.path.getmtime)


def answers(core):
    out = [tool.ask("types", core, "--limit", "0"), tool.ask("verify", core)]
    for answer in out:
        del answer["target"]["path"]
    return out


@each_core("instances", "dicts", "sequences", kinds=("kernel",))
def test_same_answers(case):
    expected = answers(case.core)
    with tempfile.TemporaryDirectory() as folder:
        for more in ((), ("--compress",)):
            kept = keep(case.core, folder, *more)
            assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
            assert os.stat(kept).st_blocks <= os.stat(case.core).st_blocks + 16
            assert answers(kept) == expected
        taken = tool.ask("info", kept)["taken"]
        assert (taken["method"], taken["host_pid"], taken["host_lwp"]) == ("kernel", 4242, 4243)


def test_usage():
    with tempfile.TemporaryDirectory() as folder:
        for words in ((), ("1",), ("1", "2"), ("1", "2", "3"), ("1", "2", "3", "-o", folder, "4"),
                      ("1", "2", "3", "-o", folder, "--fork"),
                      ("1", "2", "3", "-o", folder, "--max-disk", "x")):
            done = tool.run("capture", "--from-kernel", *words)
            assert done.returncode == 2 and not done.stdout, (words, done)
        for where in ("/nowhere", "/dev/null"):
            done = tool.run("capture", "--from-kernel", "1", "2", "3", "-o", where)
            assert done.returncode == 3, done
        done = tool.run("capture", "--from-kernel", "1", "2", "3", "-o", folder)
        assert done.returncode == 3 and "nothing came" in done.stderr
        assert not os.listdir(folder)


# What other processes leave meanwhile is put where the kernel would put it.
HANDLER = """#!/bin/sh
umask 077
if [ "$1" = {pid} ]; then
	exec {command} capture --from-kernel "$1" "$2" "$3" -o {folder}
fi
cat > "/proc/$1/cwd/core"
"""


def test_by_the_kernel_itself():
    python = interpreters.chosen()[-1]
    with tempfile.TemporaryDirectory() as directory:
        folder, handler, command = (os.path.join(directory, n) for n in ("kept", "h", "coreanalyze"))
        os.mkdir(folder)
        shutil.copy(tool.path(), command)
        with cores.Target(python, os.path.join(directory, "target"), "instances") as target:
            target.truth_path()
            with open(handler, "w") as f:
                f.write(HANDLER.format(pid=target.pid, command=command, folder=folder))
            os.chmod(handler, 0o700)
            # Whoever wants a core by the usual one waits (cores.py).
            with setting("/proc/sys/kernel/core_pattern", f"|{handler} %P %I %e"):
                target.process.send_signal(signal.SIGABRT)
                assert target.process.wait(ANSWER_WITHIN) == -signal.SIGABRT
                # The kernel does not wait for it to end (kernel.core_pipe_limit).
                end = time.monotonic() + ANSWER_WITHIN
                while time.monotonic() < end:
                    kept = os.listdir(folder)
                    with contextlib.suppress(AssertionError):
                        if kept and tool.ask("info", os.path.join(folder, kept[0])):
                            break
                    time.sleep(0.1)
            if not kept:
                raise Skip("no core came: is this the machine's own PID namespace?")
            kept, = kept
            assert kept.startswith("core.") and kept.endswith(f".{target.pid}"), kept
            info = tool.ask("info", os.path.join(folder, kept))
            assert info["taken"]["host_pid"] == info["target"]["pid"] == target.pid
            assert info["warnings"] == [] and info["target"]["complete"]
