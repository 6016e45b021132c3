# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside real gdb: the same answers, whatever the target is and whatever happens to it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))

import debugger         # noqa: E402
import examples         # noqa: E402
import interpreters     # noqa: E402
import made             # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory     # noqa: E402
from runner import Skip, each_python    # noqa: E402

PROGRAM = """
import os, sys
class Session:
    def __init__(self, i): self.number = i
kept = [Session(0)]
print(hex(id(kept[0])), flush=True)
for step in range(4):
    kept += [Session(i) for i in range(100)]
    os.getppid()
"""
BREAK = ("set breakpoint pending on", "break getppid")


def interpreter() -> str:
    """One that gdb can start: no script."""
    for python in reversed(interpreters.chosen()):
        with open(python.path, "rb") as f:
            if not python.stripped and f.read(4) == b"\x7fELF":
                return python.path
    raise Skip("no interpreter here is an ELF file")


def python_program(directory: str = ".") -> list[str]:
    return [interpreter(), made.written(directory, "program.py", PROGRAM)]


def sessions(said: str) -> list[int]:
    return [int(n) for n in re.findall(r"__main__\.Session +(\d+)", said)]


# ---- cores

@each_python()
@in_empty_directory
def test_answers_of_the_command_line(python):
    core = made.python_core(".", python=python)
    lines = ["python import coreanalyze, json"]
    questions = [made.arguments_of(command, core) for command in made.ALL if command != "diff"]
    for name, _, *words in questions:
        lines.append("python print(json.dumps(coreanalyze.ask(%r, *%r)))" % (name, words))
        lines.append(f"py-{name} {' '.join(words)}")
    said = debugger.batch(*lines, args=("-c", core))
    for name, _, *words in questions:
        documents = [line for line in said.splitlines() if line.startswith('{"schema"')
                     and f'"coreanalyze.{name}/1"' in line]
        assert json.loads(documents[0]) == tool.ask(name, core, *words), name
        assert tool.run(name, core, *words).stdout in said, (name, said)


@in_empty_directory
def test_two_cores():
    python = made.an_interpreter()
    one = made.python_core(".")
    os.mkdir("other")
    two = made.python_core("other", python=python)
    wanted = tool.run("diff", one, two).stdout
    said = debugger.batch(f"py-heap-diff {one} {two}", args=("-c", one))
    assert wanted in said, said
    said = debugger.batch("py-heap-save a", f"core-file {two}", "py-heap-diff a", args=("-c", one))
    assert wanted in said, said
    said = debugger.batch("py-heap-save a", "add-inferior", "inferior 2", f"core-file {two}",
                          "py-heap-diff a", "inferior 1", "py-heap-diff a", args=("-c", one))
    assert wanted in said and tool.run("diff", one, one).stdout in said, said


@in_empty_directory
def test_expressions_and_functions():
    core = made.python_core(".")
    address = made.addresses(core, "builtins.dict")[0]
    row = tool.ask("object", core, address)["objects"][0]
    size = row["bytes"] + row["owned"]
    count = next(r["count"] for r in tool.ask("types", core)["types"] if r["type"] == "builtins.dict")
    said = debugger.batch(
        f"print/x {address}", "py-object $", "py-object (void *) $1", f"py-object {address} {int(address, 16)}",
        "print $py_type($1)", "print $py_size($1)", 'print $py_count("builtins.dict")',
        'print $py_count("no.such.type")', "py-object no_such_symbol", "py-object $nothing", "py-object 0x10",
        "print $py_type(0x10)", "python import coreanalyze",
        f"python print('API', coreanalyze.objects(gdb.parse_and_eval('$1'), {address})[1]['type'],"
        " coreanalyze.count('builtins.dict'), len(coreanalyze.types('^builtins')) > 20)",
        "py-object --json $1", args=("-c", core))
    assert said.count(f"{address}  builtins.dict") == 4, said
    assert '"builtins.dict"' in said and f"= {size}\n" in said and f"= {count}\n" in said
    assert "= 0\n" in said and "no_such_symbol" in said and "no object starts here" in said, said
    assert f"API builtins.dict {count} True" in said, said
    assert '{"schema": "coreanalyze.object/1"' in said


@in_empty_directory
def test_help_and_errors():
    core = made.python_core(".")
    said = debugger.batch("coreanalyze")
    names = said.rpartition("commands: ")[2].strip().split(", ")
    assert {"py-heap", "py-heap-save", "py-heap-diff", "py-object", "py-info"} <= set(names), said
    for name in names:
        text = debugger.batch(f"help {name}")
        assert f"\nExample: {name}" in text, text
        assert not re.search(r"Usage: .*TARGET", text), text
    said = debugger.batch(
        "py-heap", "py-heap-save", "py-heap-save a b", "py-heap-diff", f"core-file {core}", "py-heap --nope",
        "py-heap (", "py-heap a b", "py-heap-diff", "py-heap-diff nobody", "py-heap-diff a b c", "py-object",
        "py-object --limit", "set coreanalyze-options --no-such", "core-file", f"core-file {core}", "py-heap")
    errors = [line for line in said.splitlines() if line.startswith("coreanalyze: ")]
    for word, error in zip(("no process and no core", "takes a name", "takes a name", "nothing is saved",
                            "--nope", "regular expression", "one regular", "nothing is saved",
                            "'nobody'", "two names", "ADDR"), errors):
        assert word in error, (word, error, said)


@in_empty_directory
def test_completion_and_pipe():
    core = made.python_core(".")
    said = debugger.batch("py-heap --limit 1", "complete py-heap builtins.di", "complete py-heap --li",
                          "complete py-heap-diff x", "py-heap-save x1", "complete py-heap-diff x",
                          "complete py-heap-d", "pipe py-heap dict | grep -c builtins",
                          f"set logging file {os.path.abspath('log')}", "set logging enabled on",
                          "py-info", "set logging enabled off", args=("-c", core))
    for line in ("py-heap builtins.dict", "py-heap --limit", "py-heap-diff x1", "py-heap-diff"):
        assert line in said.splitlines(), (line, said)
    rows = [r["type"] for r in tool.ask("types", core)["types"] if "dict" in r["type"]]
    assert str(len([r for r in rows if "builtins" in r])) in said.splitlines(), said
    assert open("log").read().startswith("CPython 3.")


def test_other_gdbs():
    """An old one, and one without our command, is told so in a sentence."""
    said = debugger.batch("python gdb.VERSION = '12.1'", f"source {debugger.LOADER}", "py-heap",
                          loader="/dev/null")
    assert "needs gdb 13" in said and 'Undefined command: "py-heap"' in said, said
    said = debugger.batch("set coreanalyze-command /no/such/file", "core-file", "py-heap", loader="/dev/null")
    said = subprocess.run(debugger.command("-batch", "-ex", f"source {debugger.LOADER}"), text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=tool.TIMEOUT,
                          env={**debugger.environment(), "COREANALYZE": "/no/such/file"})
    assert "coreanalyze-command" in said.stdout or "which commands" in said.stdout, said


# ---- processes

@in_empty_directory
def test_a_process_from_its_start():
    said = debugger.batch(
        "py-heap", "starti", "py-heap", *BREAK, "continue", "py-heap Session", "py-heap-save a", "continue",
        "py-heap-diff a --limit 1", 'print $py_count("__main__.Session")', "delete",
        'break getppid if $py_count("__main__.Session") > 350', "continue", "py-heap Session",
        "delete", "continue", "py-heap", "py-heap-diff a", args=("--args", *python_program()))
    assert "no process and no core" in said and "not a Python process" in said, said
    assert sessions(said) == [101, 101, 401], said
    assert re.search(r"__main__\.Session +101 +201 +\+100 .* 100 +0\n", said) and "= 201\n" in said, said
    assert len(re.findall(r"process \d+ has stood still for \d", said)) == 3, said
    assert said.count("no process and no core") == 2 and "nothing is saved as 'a'" in said, said


@each_python()
def test_a_process_attached_to(python):
    process = subprocess.Popen(
        python.command("-c", PROGRAM.replace("os.getppid()", "sys.stdin.readline()")), text=True,
        env=python.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        address = process.stdout.readline().strip()
        said = debugger.batch("py-heap Session", f"py-object {address}", "detach", "py-heap",
                              args=("-p", str(process.pid)))
        assert sessions(said)[:1] == [101] and f"{address}  __main__.Session" in said, said
        assert "no process and no core" in said
        process.stdin.write("\n" * 4)
        process.stdin.close()
        assert process.wait(tool.TIMEOUT) == 0
    finally:
        process.kill()


@in_empty_directory
def test_several_inferiors():
    program = python_program()
    arguments = " ".join(program[1:])
    said = debugger.batch(
        *BREAK, "run", "py-heap-save a", f"add-inferior -exec {program[0]}", "inferior 2",
        f"set args {arguments}", "run", "continue", "py-heap Session", "py-heap-diff a", "inferior 1",
        "py-heap Session", "py-heap-diff a", args=("--args", *program))
    assert sessions(said)[:2] == [201, 101], said
    assert "was saved of inferior 1" in said and "types did not change" in said, said


@in_empty_directory
def test_a_remote():
    if not shutil.which("gdbserver"):
        raise Skip("gdbserver is not installed")
    server = subprocess.Popen(["gdbserver", "--once", "localhost:0", *python_program()],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        port = None
        for line in server.stderr:
            port = re.search(r"Listening on port (\d+)", line)
            if port:
                break
        if not port:
            raise Skip("gdbserver does not start")
        before = set(os.listdir("/tmp"))
        said = debugger.batch(
            "set sysroot /", f"target remote localhost:{port[1]}", *BREAK, "continue", "py-heap Session",
            "py-heap-save a", "continue", "py-heap-diff a", 'print $py_count("__main__.Session")', "kill",
            args=(python_program()[0],))
        left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("coreanalyze-")}
        assert sessions(said)[:1] == [101] and "= 201\n" in said, said
        assert re.search(r"__main__\.Session +101 +201 +\+100 ", said), said
        assert not left
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


# ---- at a terminal

def engine_of(pid: int) -> int:
    """The serve process that gdb has started."""
    end = time.monotonic() + tool.TIMEOUT
    while time.monotonic() < end:
        for word in open(f"/proc/{pid}/task/{pid}/children").read().split():
            with open(f"/proc/{word}/cmdline", "rb") as f:
                if b"serve" in f.read().split(b"\0"):
                    return int(word)
        time.sleep(0.01)
    raise AssertionError("gdb has no analysing child")


@in_empty_directory
def test_the_child_dies_or_hangs():
    core = made.python_core(".")
    with debugger.Terminal("-c", core) as gdb:
        wanted = gdb.type("py-heap --limit 3")
        assert "builtins.dict" in wanted
        gdb.type("py-heap-save a")
        os.kill(engine_of(gdb.pid), signal.SIGKILL)
        assert "coreanalyze: the analysis has ended unexpectedly" in gdb.type("py-heap --limit 3")
        assert wanted == gdb.type("py-heap --limit 3")
        assert "did not change" in gdb.type("py-heap-diff a")   # the core is opened again
        # Hangs: Ctrl-C, and a limit.
        os.kill(engine_of(gdb.pid), signal.SIGSTOP)
        gdb.send("py-heap\n")
        time.sleep(1)
        gdb.send("\x03")
        assert "Quit" in gdb.read_until(gdb.PROMPT)
        assert wanted == gdb.type("py-heap --limit 3")
        gdb.type("set coreanalyze-timeout 1")
        os.kill(engine_of(gdb.pid), signal.SIGSTOP)
        assert "no answer within 1 s" in gdb.type("py-heap")
        gdb.type("set coreanalyze-timeout 100")
        assert wanted == gdb.type("py-heap --limit 3")


@in_empty_directory
def test_interrupted_with_ctrl_c():
    program = made.written(".", "loop.py", "kept = []\nwhile True: kept.append([])\n")
    with debugger.Terminal("-ex", "set width 0", "--args", interpreter(), program) as gdb:
        said = ""
        for attempt in range(20):    # it may take its time to start
            gdb.send("continue\n" if attempt else "run\n")
            time.sleep(1)
            gdb.send("\x03")
            assert "SIGINT" in gdb.read_until(gdb.PROMPT)
            said = gdb.type("py-heap-save a")
            if "saved as" in said:
                break
        assert "has stood still" in said and "saved as 'a'" in said, said
        assert "has stood still" not in gdb.type("py-heap")
        gdb.send("continue\n")
        time.sleep(0.5)
        gdb.send("\x03")
        gdb.read_until(gdb.PROMPT)
        said = gdb.type("py-heap-diff a --limit 1")
        assert re.search(r"builtins\.list .* \+[\d,]+ ", said), said
        # At any moment of a question: gdb and the process go on.
        for pause in (0, 0.01, 0.03, 0.1):
            gdb.type("stepi")
            gdb.send("py-heap --limit 1\n")
            time.sleep(pause)
            gdb.send("\x03")
            gdb.read_until(gdb.PROMPT)
            gdb.send("echo again\\n\n")
            gdb.read_until(b"again\r\n")
            gdb.read_until(gdb.PROMPT)
        assert "builtins.list" in gdb.type("py-heap list$ --limit 1")
        assert "builtins.list" in gdb.type("py-heap-diff a")


@in_empty_directory
def test_terminal():
    core = made.python_core(".")
    with debugger.Terminal("-c", core, columns=60) as gdb:
        gdb.type("set width 60")
        said = gdb.type("py-heap --limit 5")
        assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in said.splitlines()[1:6]) <= 60, said
        assert "\x1b[1m" in said
        gdb.type("set style enabled off")
        assert "\x1b" not in gdb.type("py-heap --limit 5")
        assert "\x1b" not in gdb.type("pipe py-heap | cat")
        gdb.type("set height 10")
        gdb.send("py-heap\n")
        assert "TYPE" in gdb.read_until(b"--Type <RET>")
        gdb.send("q\n")
        gdb.read_until(gdb.PROMPT)
        gdb.type("set height 0")
        gdb.send("py-heap-s\t")
        gdb.send("b\n")
        assert "saved as 'b'" in gdb.read_until(gdb.PROMPT)


# ---- the manual

def mask(text: str) -> list[str]:
    """Lines of output without what differs from run to run."""
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text))
    text = re.sub(r"process \d+|[-+]?\d[\d,.]*( [KMGT]?i?B\b)?", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def transcript() -> list[tuple[str, str]]:
    """What the README shows: (command, what gdb says)."""
    block = re.search(r"(?m)^    \$ gdb -p 1234\n((?:    .*\n)+)", open(os.path.join(
        interpreters.ROOT, "README.md")).read())[1].replace("\n    ", "\n")[4:]
    parts = re.split(r"(?m)^\(gdb\) (.*)\n", block)
    return list(zip(parts[1::2], parts[2::2]))


@in_empty_directory
def test_transcript_of_the_readme():
    python, = [p for p in interpreters.chosen() if p.name.startswith(examples.MADE_ON)][:1] or [None]
    if not python:
        raise Skip(f"no {examples.MADE_ON} here, which wrote the transcript")
    with examples.Worker(python, ".", "sessions") as worker:
        with debugger.Terminal("-p", str(worker.process.pid)) as gdb:
            gdb.type("set style enabled off")
            for command, wanted in transcript():
                if command.startswith("continue"):
                    gdb.send("continue\n")
                    worker.grow()
                    gdb.send("\x03")
                    gdb.read_until(gdb.PROMPT)
                else:
                    # Owners have paths of this machine; they are shown further up.
                    said = gdb.type(command).split("\n\nWho holds them")[0]
                    assert mask(said) == mask(wanted), f"{command}\n{said}"

