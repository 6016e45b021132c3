# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that stands still, read in place through descriptors of another's."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import tool
from runner import each_python
from serving import Server

PROGRAM = """
import sys
class Session:
    def __init__(self, i): self.number = i
kept = [Session(i) for i in range(500)]
blob = bytearray(64 << 20)
for at in range(0, len(blob), 4096): blob[at] = 1
print(hex(id(kept[7])), flush=True)
for line in sys.stdin:
    kept += [Session(i) for i in range(1000)]
    print("more", flush=True)
"""


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + tool.TIMEOUT
    while time.monotonic() < end:
        with open(f"/proc/{pid}/stat") as f:
            if f.read().rpartition(")")[2].split()[0] == "T":
                return
        time.sleep(0.01)
    raise AssertionError("it does not stop")


@contextlib.contextmanager
def standing(pid: int):
    stop(pid)
    files = [os.open(f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("mem", "maps")]
    try:
        with Server(f"pid:{pid}", "--mem-fd", str(files[0]), "--maps-fd", str(files[1]),
                    pass_fds=files) as server:
            yield server
    finally:
        for file in files:
            os.close(file)


def comparable(info: dict) -> dict:
    """Without what only one who traces the process knows."""
    threads = [{k: v for k, v in t.items() if k != "native_id"} for t in info["threads"]]
    return {k: v for k, v in {**info, "threads": threads}.items() if k != "pause_seconds"}


@each_python()
def test_same_answers_as_a_copy(python):
    with subprocess.Popen(python.command("-c", PROGRAM.replace("64 << 20", "1")), text=True,
                          env=python.environment(), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        address = process.stdout.readline().strip()
        pid = f"pid:{process.pid}"
        wanted = [tool.ask("types", pid), tool.ask("object", pid, address),
                  comparable(tool.ask("info", pid))]
        with standing(process.pid) as server:
            assert [server.ask("types"), server.ask("object", address),
                    comparable(server.ask("info"))] == wanted
        process.kill()


def test_story_of_a_process():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        with standing(process.pid) as server:
            before = server.ask("object", address)["objects"][0]
            assert before["type"] == "__main__.Session", before
            server.ask("types")
            with open(f"/proc/{server.keeper()}/status") as f:
                shared = next(int(line.split()[1]) for line in f if line.startswith("RssShmem:"))
            assert shared < 32 << 10, f"{shared} KiB were copied"
            server.ask("keep", "a")
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "more\n"
            stop(process.pid)
            server.ask("refresh")
            diff = server.ask("diff", "a", ".")
            row, = (r for r in diff["types"] if r["type"] == "__main__.Session")
            assert diff["same_process"] and row["new"] == 1000 and row["count_before"] == 500, row
            assert row["count_after"] == 1500 and row["freed"] == 0, row
            wanted = server.ask("types")
            assert next(r for r in wanted["types"] if r["type"] == "__main__.Session")["count"] == 1500
            process.kill()
            process.wait()
            assert server.ask("types") == wanted
            server.ask("refresh")
            assert server.refused("types", status=3)["why"]
            assert server.ask("diff", "a", "a")["totals"]["delta"]["objects"] == 0
