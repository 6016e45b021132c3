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

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "cli"), os.path.join(HERE, "..", "library")]

import debugger         # noqa: E402
import examples         # noqa: E402
import interpreters     # noqa: E402
import made             # noqa: E402
import test_library     # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory     # noqa: E402
from runner import Skip, each_gdb, each_python      # noqa: E402

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
    """Each command that can be asked, as it is now and as others will be added."""
    core = made.python_core(".", python=python)
    address = tool.ask("retained", core, "--limit", "1")["objects"][0]["address"]
    asked = [made.arguments_of(command, core) for command in made.commands()]
    if python == made.an_interpreter():     # what differs between versions is not their options
        for command in made.commands():
            asked += made.more_arguments_of(command, core, address)
    lines = []
    for name, target, *words in asked:
        words = [target] * (made.table()[name]["targets"] - 1) + words
        lines += ["echo \\n===\\n", f"py-{name} {' '.join(words)} --json", "echo \\n===\\n",
                  f"py-{name} {' '.join(words)}"]
    gdb, *_ = debugger.usable() or [None]
    if not gdb:
        raise Skip("there is no gdb here")
    said = gdb.batch(*lines, args=("-c", core)).split("\n===\n")[1:]
    for words, document, text in zip(asked, said[::2], said[1::2]):
        wanted = tool.run(*words, "--json")
        if wanted.returncode == 0:
            assert json.loads(document) == json.loads(wanted.stdout), words
        if wanted.returncode or len(asked) > len(made.commands()):
            assert text == tool.run(*words).stdout, (words, text)


@each_gdb()
@in_empty_directory
def test_two_cores(gdb):
    python = made.an_interpreter()
    one = made.python_core(".")
    os.mkdir("other")
    two = made.python_core("other", python=python)
    wanted = tool.run("diff", one, two).stdout
    said = gdb.batch(f"py-heap-diff {one} {two}", "py-heap-save a", f"core-file {two}", "echo ===\\n",
                     "py-heap-diff a", args=("-c", one)).split("===\n")
    assert wanted in said[0] and wanted in said[1], said
    for file, options in (("snapshot", ()), ("packed", ("--compress",))):
        tool.ask("save", two, "-o", file, *options)
        assert wanted.replace(two, file) in gdb.batch(f"py-heap-diff {one} {file}", args=("-c", one))
    said = gdb.batch("py-heap-save a", "add-inferior", "inferior 2", f"core-file {two}",
                     "py-heap-diff a", "inferior 1", "py-heap-diff a", args=("-c", one))
    assert wanted in said and tool.run("diff", one, one).stdout in said, said


@each_gdb()
@in_empty_directory
def test_expressions_and_functions(gdb):
    core = made.python_core(".")
    address = made.addresses(core, "builtins.dict")[0]
    row = tool.ask("object", core, address)["objects"][0]
    retained, = tool.ask("retained", core, address)["objects"]
    owner = tool.ask("owners", core, address)["paths"][0]["owner"]
    size = row["bytes"] + row["owned"]
    count = next(r["count"] for r in tool.ask("types", core)["types"] if r["type"] == "builtins.dict")
    said = gdb.batch(
        f"print/x {address}", "py-object $", "py-object (void *) $1", f"py-object {address} {int(address, 16)}",
        "py-object $1 (long)$1", "print $py_type($1)", "print $py_size($1)", "print $py_retained($1)",
        "print $py_owner($1)", 'print $py_count("builtins.dict")', 'print $py_count("no.such.type")',
        "py-object no_such_symbol", "py-object $nothing", "py-object 0x10", "print $py_type(0x10)",
        "print $py_retained(0x10)", "print $py_owner(0x10)", "python import coreanalyze",
        f"python print('API', coreanalyze.objects(gdb.parse_and_eval('$1'), {address})[1]['type'],"
        " coreanalyze.count('builtins.dict'), len(coreanalyze.types('^builtins')) > 20,"
        " coreanalyze.retained('$1')[0]['retained_bytes'], coreanalyze.owners('$1')[0]['owner'],"
        " coreanalyze.ask('gc')['schema'])",
        "py-object --json $1", args=("-c", core))
    assert said.count(f"{address}  builtins.dict") == 6, said
    assert '"builtins.dict"' in said and f"= {size}\n" in said and f"= {count}\n" in said
    assert f"= {retained['retained_bytes']}\n" in said and f'= "{owner}"\n' in said, said
    assert "= 0\n" in said and "no_such_symbol" in said, said
    assert said.count("no object starts") == 4, said
    assert (f"API builtins.dict {count} True {retained['retained_bytes']} {owner} coreanalyze.gc/1\n"
            in said), said
    assert '{"schema": "coreanalyze.object/1"' in said


@in_empty_directory
def test_addresses_that_were_printed():
    """What one command prints, the next one takes."""
    core = made.python_core(".")
    asked = ["py-retained", "py-suspects", "py-cycles", "py-owners --type __main__.Plain"]
    gdb, *_ = debugger.usable()
    said = gdb.batch("echo ===\\n", *asked, args=("-c", core)).partition("===\n")[2]
    printed = sorted(set(re.findall(r"0x[0-9a-f]{6,}", said)))
    assert len(printed) > 20, said
    some = printed[::len(printed) // 8]
    said = gdb.batch(*(f"py-{name} {a}" for a in some for name in ("object --brief", "owners", "retained")),
                     args=("-c", core))
    assert "coreanalyze:" not in said and "no object" not in said, said
    for address in some:
        assert len(re.findall(rf"(?m)^ *{address}  ", said)) >= 2, (address, said)


@in_empty_directory
def test_help_and_errors():
    core = made.python_core(".")
    gdb, *_ = debugger.usable()
    said = gdb.batch("coreanalyze")
    names = said.rpartition("commands: ")[2].strip().split(", ")
    wanted = {f"py-{name}" for name in made.commands()}
    assert set(names) == wanted | {"py-heap", "py-heap-save", "py-heap-diff"}, said
    functions = ["py_type", "py_size", "py_count", "py_retained", "py_owner"]
    said = gdb.batch(*(line for name in names for line in (f"echo === {name}\\n", f"help {name}")),
                     *(f"help function {name}" for name in functions))
    texts = dict(text.split("\n", 1) for text in said.split("=== ")[1:])
    for name in names:
        assert f"\nExample: {name}" in texts[name], texts[name]
        assert not re.search(r"Usage: .*TARGET", texts[name]), texts[name]
    for name in functions:
        assert re.search(rf"(?m)^\${name} \(.*\n\nExample: ", said), said
    said = gdb.batch(
        "py-heap", "py-heap-save", "py-heap-save a b", "py-heap-diff", f"core-file {core}", "py-heap --nope",
        "py-heap (", "py-heap a b", "py-heap-diff", "py-heap-diff nobody", "py-heap-diff a b c", "py-object",
        "py-object --limit", "set coreanalyze-options --no-such", "core-file", f"core-file {core}", "py-heap")
    errors = [line for line in said.splitlines() if line.startswith("coreanalyze: ")]
    for word, error in zip(("no process and no core", "takes a name", "takes a name", "nothing is saved",
                            "--nope", "regular expression", "one regular", "nothing is saved",
                            "'nobody'", "two names", "ADDR"), errors):
        assert word in error, (word, error, said)


@each_gdb()
@in_empty_directory
def test_completion_and_pipe(gdb):
    core = made.python_core(".")
    log = os.path.abspath("log")
    said = gdb.batch("py-heap --limit 1", "complete py-heap builtins.di", "complete py-heap --li",
                     "complete py-owners --type builtins.di", "complete py-heap-diff x", "py-heap-save x1",
                     "complete py-heap-diff x", "complete py-heap-d", "pipe py-heap dict | grep -c builtins",
                     f"set logging file {log}", "set logging enabled on", "py-info", "set logging enabled off",
                     args=("-c", core))
    for line in ("py-heap builtins.dict", "py-heap --limit", "py-owners --type builtins.dict",
                 "py-heap-diff x1", "py-heap-diff"):
        assert line in said.splitlines(), (line, said)
    rows = [r["type"] for r in tool.ask("types", core)["types"] if "dict" in r["type"]]
    assert str(len([r for r in rows if "builtins" in r])) in said.splitlines(), said
    assert open("log").read().startswith("CPython 3.")


def test_other_gdbs():
    """An old one, and one without our command, is told so in a sentence, once."""
    for gdb in debugger.found():
        if gdb.major >= debugger.FIRST:
            continue
        said = gdb.batch("py-heap")
        assert re.search(r"(?m)^coreanalyze: needs gdb 13 or later.*: this is gdb 1\d\.", said), said
        assert said.count("coreanalyze") == 1 and 'Undefined command: "py-heap"' in said, said
    for gdb in debugger.usable():
        said = subprocess.run(gdb.command("-batch", "-ex", f"source {debugger.LOADER}"), text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=tool.TIMEOUT,
                              env={**debugger.environment(), "COREANALYZE": "/no/such/file"})
        assert "/no/such/file does not say which commands" in said.stdout, said


# ---- processes

@each_gdb()
@in_empty_directory
def test_a_process_from_its_start(gdb):
    said = gdb.batch(
        "set may-call-functions off", "py-heap", "starti", "py-heap", *BREAK, "continue", "py-heap Session",
        "py-heap-save a", "continue", "py-heap-diff a --limit 1", 'print $py_count("__main__.Session")',
        "delete", 'break getppid if $py_count("__main__.Session") > 350', "continue", "py-heap Session",
        "delete", "continue", "py-heap", "py-heap-diff a", args=("--args", *python_program()))
    assert "no process and no core" in said and "not a Python process" in said, said
    assert sessions(said) == [101, 101, 401], said
    assert re.search(r"__main__\.Session +101 +201 +\+100 .* 100 +0\n", said) and "= 201\n" in said, said
    assert len(re.findall(r"process \d+ has stood still for \d+\.\d s\n", said)) == 3, said
    assert said.count("no process and no core") == 2 and "nothing is saved as 'a'" in said, said


@each_python()
@in_empty_directory
def test_a_process_attached_to(python):
    """Only gdb opens it: the child has none of the rights to."""
    gdb, *_ = debugger.usable()
    process = subprocess.Popen(
        python.command("-c", PROGRAM.replace("os.getppid()", "sys.stdin.readline()")), text=True,
        env=python.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        address = process.stdout.readline().strip()
        said = gdb.batch("py-heap Session", f"py-object {address}", "detach", "py-heap",
                         args=("-iex", f"set coreanalyze-command {without_rights()}",
                               "-p", str(process.pid)))
        assert sessions(said)[:1] == [101] and f"{address}  __main__.Session" in said, said
        assert "no process and no core" in said
        process.stdin.write("\n" * 4)
        process.stdin.close()
        assert process.wait(tool.TIMEOUT) == 0
    finally:
        process.kill()


def without_rights() -> str:
    """Our command, by a process that may trace nobody else."""
    path = made.written(".", "coreanalyze", f"""#!/bin/sh
drop=$(command -v setpriv) || exec {tool.path()} "$@"
[ "$(id -u)" = 0 ] || exec {tool.path()} "$@"
exec "$drop" --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace {tool.path()} "$@"
""")
    os.chmod(path, 0o755)
    return path


@each_gdb()
@in_empty_directory
def test_several_inferiors(gdb):
    program = python_program()
    arguments = " ".join(program[1:])
    said = gdb.batch(
        *BREAK, "run", "py-heap-save a", f"add-inferior -exec {program[0]}", "inferior 2",
        f"set args {arguments}", "run", "continue", "py-heap Session", "py-heap-diff a", "inferior 1",
        "py-heap Session", "py-heap-diff a", args=("--args", *program))
    assert sessions(said)[:2] == [201, 101], said
    assert "was saved of inferior 1" in said and "types did not change" in said, said
    # The first one has stood for as long as it was told: it did not run since.
    assert len(re.findall(r"has stood still for", said)) == 2, said


@each_gdb()
@in_empty_directory
def test_for_how_long(gdb):
    """By the stops that gdb tells of; what came before them is said to be unknown."""
    with subprocess.Popen([interpreter(), "-c", "while True: pass"]) as process:
        try:
            said = gdb.batch("shell sleep 1.2", "py-gc", "py-gc", "stepi", "py-gc", args=("-p", str(process.pid)))
            times = re.findall(r"has stood still for (\d+\.\d) s(.*)", said)
            assert len(times) == 2 and float(times[0][0]) >= 1.2 and not times[0][1], said
            assert float(times[1][0]) < float(times[0][0]), said
            said = gdb.batch("shell sleep 1.2", f"source {debugger.LOADER}", "py-gc",
                             args=("-p", str(process.pid)), loader="/dev/null")
            assert re.search(r"has stood still for \d+\.\d s or longer\n", said), said
        finally:
            process.kill()


@each_gdb()
@in_empty_directory
def test_another_program_by_exec(gdb):
    program = made.written(".", "again.py", """
import os, sys
class Before: pass
class After: pass
kept = [(After if len(sys.argv) > 1 else Before)() for i in range(100)]
os.getppid()
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, sys.argv[0], "again"])
""")
    said = gdb.batch(*BREAK, "run", "py-heap Before|After", "py-heap-save a", "continue", "py-heap Before|After",
                     "py-heap-diff a", args=("--args", interpreter(), program))
    assert re.findall(r"__main__\.(\w+) +(\d+)", said) == [("Before", "100"), ("After", "100")], said
    assert "what was saved as a is lost" in said and "nothing is saved as 'a'" in said, said


@each_gdb()
@in_empty_directory
def test_frames_of_c(gdb):
    """Arguments of CPython's own functions, beside CPython's own commands and printers."""
    program = made.written(".", "calls.py", """
class Session:
    def __init__(self): self.items = [1, 2, 3]
kept = {"key": Session()}
print(hex(id(kept["key"])), flush=True)
id(kept["key"])
""")
    python, commands = with_symbols()
    more = [f"source {commands}"] if commands else []
    said = gdb.batch(
        *more, "set breakpoint pending on", "break builtin_id if $_streq($py_type(v), \"__main__.Session\")", "run",
        "py-bt", "py-object v", "py-object *v", "print $py_type(v)", "print v",
        "py-object $", "py-object (PyObject *) v", "py-object v v->ob_type", "py-object self", "py-owners v",
        "py-retained v", "print $py_owner(v)", "py-object v->nothing", "py-object 'no.c'::v", "continue",
        "py-object v", args=("--args", python.path, program))
    address = re.search(r"(?m)^(0x[0-9a-f]+)$", said)[1]
    assert said.count(f"\n{address}  __main__.Session") >= 7, said
    assert "  builtins.type  <class '__main__.Session'>" in said, said
    assert "  builtins.module  <module 'builtins'>" in said and '= "__main__.Session"' in said, said
    assert "There is no member named nothing" in said and "'no.c'::v': No " in said, said
    assert not commands or "Traceback (most recent call first)" in said and "calls.py" in said, said


def with_symbols() -> tuple[interpreters.Interpreter, str | None]:
    """An interpreter whose C frames have names and arguments; its commands for gdb, if there are any."""
    out = []
    for python in interpreters.chosen():
        with open(python.path, "rb") as f:
            if python.stripped or f.read(4) != b"\x7fELF":
                continue
        sections = subprocess.run(["readelf", "-SW", python.library or python.path], stdout=subprocess.PIPE)
        if b".debug_info" in sections.stdout:
            out.append((python, debugger.cpython_commands(python.minor)))
    if not out:
        raise Skip("no interpreter here has debugging information")
    return max(out, key=lambda each: (each[1] is not None, each[0].version))


@each_gdb()
@in_empty_directory
def test_a_remote(gdb):
    if not shutil.which("gdbserver"):
        raise Skip("gdbserver is not installed")
    server = subprocess.Popen(["gdbserver", "--once", "localhost:0", *python_program()],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    temporary = os.path.abspath("temporary")
    os.mkdir(temporary)
    try:
        port = None
        for line in server.stderr:
            port = re.search(r"Listening on port (\d+)", line)
            if port:
                break
        if not port:
            raise Skip("gdbserver does not start")
        said = gdb.batch(
            f"python import tempfile; tempfile.tempdir = {temporary!r}",
            "set sysroot /", f"target remote localhost:{port[1]}", *BREAK, "continue", "py-heap Session",
            "py-heap-save a", "continue", "py-heap-diff a", 'print $py_count("__main__.Session")', "kill",
            "py-heap", args=(python_program()[0],))
        assert sessions(said)[:1] == [101] and "= 201\n" in said, said
        assert re.search(r"__main__\.Session +101 +201 +\+100 ", said), said
        assert "no process and no core" in said, said
        assert not os.listdir(temporary)
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


@each_gdb()
@in_empty_directory
def test_beside_others_initialisation(gdb):
    """What pwndbg and its like do to a gdb: hooks, prompts, handlers, their own commands."""
    init = made.written(".", "init.py", """
import gdb, sys

class Command(gdb.Command):
    def __init__(self, name): super().__init__(name, gdb.COMMAND_USER)
    def invoke(self, argument, from_tty): print("context", argument)

Command("context"), Command("heap"), Command("vmmap")
gdb.prompt_hook = lambda current: "\\001\\033[31m\\002mine> \\001\\033[0m\\002"
for line in ("set confirm off", "set pagination off", "set height 0", "set print pretty on",
             "set python print-stack full", "set width 90", "handle SIGALRM nostop print nopass",
             "set history expansion on", "set input-radix 16", "set language c",
             "define hook-stop", "set style enabled off"):
    if line.startswith("define"):
        gdb.execute("define hook-stop\\necho hooked\\\\n\\nend")
    else:
        gdb.execute(line, to_string=True)

def stopped(event):
    gdb.execute("context " + gdb.execute("info registers rip", to_string=True).split()[1])
    gdb.selected_inferior().read_memory(int(gdb.parse_and_eval("$sp")), 64)

gdb.events.stop.connect(stopped)
gdb.events.before_prompt.connect(lambda: gdb.execute("show version", to_string=True))
gdb.events.exited.connect(lambda event: print("gone"))
""")
    said = gdb.batch(*BREAK, "run", "py-heap Session", "py-heap-save a", "continue", "py-heap-diff a --limit 1",
                     'print/d $py_count("__main__.Session")', "delete", "continue", "py-heap",
                     args=("-iex", f"source {init}", "--args", *python_program()))
    assert sessions(said)[:1] == [101] and "= 201\n" in said and "gone" in said, said
    assert said.count("hooked") >= 2 and "context 0x" in said, said
    assert re.search(r"__main__\.Session +101 +201 +\+100 ", said) and "no process and no core" in said, said
    script = made.written(".", "script.gdb", "\n".join(
        [*BREAK, "run", "py-heap Session", "py-heap-save a", "continue", "py-heap-diff a --limit 1"]))
    said = gdb.batch(args=("-iex", f"source {init}", "-x", script, "--args", *python_program()))
    assert re.search(r"__main__\.Session +101 +201 +\+100 ", said), said


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


@each_gdb()
@in_empty_directory
def test_the_child_dies_or_hangs(gdb):
    core = made.python_core(".")
    with gdb.terminal("-c", core) as gdb:
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


@each_gdb()
@in_empty_directory
def test_interrupted_with_ctrl_c(gdb):
    program = made.written(".", "loop.py", "kept = []\nwhile True: kept.append([])\n")
    with gdb.terminal("-ex", "set width 0", "--args", interpreter(), program) as gdb:
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
            gdb.read_until(b"limit 1\r\n")
            time.sleep(pause)
            gdb.send("\x03")
            assert gdb.is_alive(), pause
        assert "builtins.list" in gdb.type("py-heap list$ --limit 1")
        assert "builtins.list" in gdb.type("py-heap-diff a")
        # While it runs there is no answer, and no harm.
        gdb.send("continue &\n")
        gdb.read_until(b"Continuing.")
        assert gdb.is_alive()
        for line in ("py-heap", 'print $py_count("builtins.list")'):
            assert "the process is running: stop it first" in gdb.type(line)
        assert "builtins" not in gdb.type("complete py-heap builtins.li").partition("\n")[2]


@each_gdb()
@in_empty_directory
def test_terminal(gdb):
    core = made.python_core(".")
    bold = re.compile("\x1b\\[(\\d+;)*1[;m]")     # newer gdbs write it in another way
    with gdb.terminal("-c", core, columns=60) as gdb:
        gdb.type("set width 80")
        for command in made.commands():
            words = made.arguments_of(command, core)[1 + made.table()[command]["targets"]:]
            if command == "diff":
                words = [core]
            said = gdb.type(f"py-{command} {' '.join(words)} --limit 5")
            lines = re.sub("\x1b\\[[0-9;]*m", "", said).splitlines()
            wide = [line for line in lines if len(line) > 80 and " " in line.strip()]
            assert lines and not wide, (command, wide)
        assert bold.search(gdb.type("py-heap --limit 5"))
        for way in ("pipe py-heap --limit 5 | cat", "| py-heap --limit 5 | cat", "piped",
                    "python print(gdb.execute('py-heap --limit 5', to_string=True))"):
            if way == "piped":
                gdb.send("define piped\npipe py-heap --limit 5 | cat\nend\n")
                gdb.is_alive()
            said = gdb.type(way)
            assert "builtins.dict" in said and "\x1b[" not in said, (way, said)
        gdb.type(f"set logging file {os.path.abspath('log')}")
        gdb.type("set logging enabled on")
        said = gdb.type("py-heap --limit 5")
        gdb.type("set logging enabled off")
        with open("log") as f:
            logged = f.read()
        assert bold.search(said) and "builtins.dict" in logged and "\x1b" not in logged, logged
        gdb.type("set style enabled off")
        assert "\x1b" not in gdb.type("py-heap --limit 5")
        gdb.type("set height 10")
        for key in ("q\n", "\x03"):
            gdb.send("py-heap --limit 0\n")
            assert "TYPE" in gdb.read_until(b"--Type <RET>")
            gdb.send(key)
            assert gdb.is_alive()
        gdb.type("set height 0")
        for pause in (0, 0.001, 0.01):      # in the middle of its output
            gdb.send("py-retained --all --limit 0\n")
            gdb.read_until(b"ADDRESS")
            time.sleep(pause)
            gdb.send("\x03")
            assert gdb.is_alive(), pause
        gdb.send("py-heap-s\t")
        gdb.send("b\n")
        assert "saved as 'b'" in gdb.read_until(gdb.PROMPT)


# ---- the manual

@each_gdb()
@in_empty_directory
def test_installed(gdb):
    """By the line for .gdbinit that the README gives, from where `make install` puts it."""
    core = made.python_core(".")
    with open(os.path.join(interpreters.ROOT, "README.md")) as f:
        line = re.search(r"(?m)^    (source /usr/local/\S+)$", f.read())[1]
    root = test_library.install()
    os.mkdir("home")
    with open("home/.gdbinit", "w") as f:
        f.write(line.replace("/usr/local", root + test_library.PREFIX) + "\n")
    environment = {key: value for key, value in os.environ.items() if key not in ("COREANALYZE", "CA_BIN")}
    done = subprocess.run(
        [gdb.path, "-iex", "set auto-load no", "-batch", "-ex", "show coreanalyze-command", "-ex", "py-heap", "-c", core],
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=tool.TIMEOUT, env={**environment, "HOME": os.path.abspath("home"), "PATH": "/usr/bin:/bin"})
    assert tool.run("types", core).stdout in done.stdout, done.stdout

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
        first, *_ = debugger.usable()
        with first.terminal("-p", str(worker.process.pid)) as gdb:
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

