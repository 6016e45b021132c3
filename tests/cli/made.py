# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the command line share: cores of small processes, and what
holds of everything that the command prints."""

from __future__ import annotations

import functools
import json
import os
import re
import resource
import struct
import subprocess
import tempfile
import time

import cores
import interpreters
import tool
from runner import Skip

HERE = os.path.dirname(os.path.abspath(__file__))
SUBJECT = os.path.join(HERE, "..", "fuzz", "subject.py")


def in_empty_directory(test):
    """Runs the test in a directory of its own."""
    @functools.wraps(test)
    def run_there(*arguments):
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            try:
                test(*arguments)
            finally:
                os.chdir("/")
    return run_there


# ---- processes and their cores

class Program(cores.Target):
    """Any program, waiting to be dumped."""

    def __init__(self, directory: str, *command: str):
        self.directory = directory
        self.cwd = os.path.join(directory, "cwd")
        os.makedirs(self.cwd)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=self.cwd, start_new_session=True)
        resource.prlimit(self.process.pid, resource.RLIMIT_CORE,
                         (resource.RLIM_INFINITY,) * 2)
        time.sleep(0.3)

    def truth_path(self) -> str:
        return ""


def an_interpreter(*minors: int) -> interpreters.Interpreter:
    """The newest one here, or the newest of these minor versions."""
    found = [i for i in interpreters.chosen()
             if not i.stripped and (not minors or i.minor[1] in minors)]
    if not found:
        raise Skip(f"no CPython 3.{minors or 'x'} here")
    return found[-1]


def any_core(target: cores.Target, path: str) -> str:
    """By gdb, which leaves the target alive, or else by the kernel."""
    try:
        return target.core("gcore", path)
    except cores.Unavailable:
        return target.core("kernel", path)


def python_core(directory: str, script: str = SUBJECT, python=None, options=("-S", "-E"),
                arguments: tuple[str, ...] = (), env=None) -> str:
    """A core of a script that writes OUT.1 (OUT: its first argument) and waits."""
    python = python or an_interpreter()
    directory = os.path.abspath(directory)
    with cores.Target(python, os.path.join(directory, "target"), *arguments,
                      script=script, options=options, env=env) as target:
        target.truth_path()
        return any_core(target, os.path.join(directory, "core"))


def written(directory: str, name: str, text: str) -> str:
    """A file with this text: a target's script."""
    path = os.path.join(os.path.abspath(directory), name)
    with open(path, "w") as f:
        f.write(text)
    return path


# A script's last lines.
WAIT = """
import sys
with open(sys.argv[1] + ".1", "w"):
    pass
sys.stdin.readline()
"""


@functools.lru_cache(maxsize=None)
def table() -> dict[str, dict]:
    """What the command says of each question that can be asked: name -> args, options, ..."""
    done = subprocess.run([tool.path(), "serve", "--commands"], stdout=subprocess.PIPE, check=True)
    return {row["name"]: row for row in json.loads(done.stdout)["commands"]}


def commands() -> list[str]:
    return list(table())


# Where an address that is none is no sound question.
INSTEAD_OF_ADDRESS = {"owners": ["--type", "builtins.module"]}


def arguments_of(command: str, core: str) -> list[str]:
    """A sound question of each command: what it must have."""
    row = table()[command]
    words = row["args"].split()[row["targets"]:]
    asked = INSTEAD_OF_ADDRESS.get(command, ["0x10"]) if "ADDR..." in words else []
    unknown = [word for word in words if word != "ADDR..." and not word.startswith("[")]
    assert not unknown, f"{command} takes {unknown}: what is a sound question?"
    return [command, *[core] * row["targets"], *asked]


def more_arguments_of(command: str, core: str, address: str) -> list[list[str]]:
    """Its other questions: an object, each option of its own that has no value."""
    row = table()[command]
    plain = arguments_of(command, core)
    out = [[command, core, address]] if "ADDR" in row["args"] else []
    return out + [[*plain, "--" + option["name"]] for option in row["options"]
                  if option["name"] and not option["common"] and not option["arg"]]


def addresses(core: str, type_name: str) -> list[str]:
    """Some addresses of a type's objects: what the words in writable memory point at."""
    document = tool.ask("info", core)
    words = set()
    with open(core, "rb") as f:
        data = f.read()
    for word, in struct.iter_unpack("<Q", data[:len(data) // 8 * 8]):
        if word and word % 16 == 0 and word >> 47 == 0:
            words.add(word)
    spans = [(int(m["start"], 16), int(m["end"], 16)) for m in document["mappings"]
             if m["dumped"]]
    asked = [hex(w) for w in words if any(a <= w < b for a, b in spans)]
    answer = tool.ask("object", core, "-", "--brief", stdin="\n".join(asked))
    return [o["address"] for o in answer["objects"] if o.get("type") == type_name]


# ---- files

def elf_header(bits: int = 64, machine: int = 62, kind: int = 4, big_endian: bool = False,
               phnum: int = 1, phoff: int | None = None) -> bytes:
    """An ELF header, of a core by default. 62: x86-64."""
    order = ">" if big_endian else "<"
    ident = b"\x7fELF" + bytes([bits // 32, 2 if big_endian else 1, 1]) + bytes(9)
    if bits == 64:
        return ident + struct.pack(order + "HHIQQQIHHHHHH", kind, machine, 1, 0,
                                   64 if phoff is None else phoff, 0, 0, 64, 56, phnum, 0, 0, 0)
    return ident + struct.pack(order + "HHIIIIIHHHHHH", kind, machine, 1, 0,
                               52 if phoff is None else phoff, 0, 0, 52, 32, phnum, 0, 0, 0)


def program_headers(core: bytes):
    """(offset of the header, p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz)"""
    phoff, = struct.unpack_from("<Q", core, 32)
    phnum, = struct.unpack_from("<H", core, 56)
    for i in range(phnum):
        at = phoff + 56 * i
        kind, flags, offset, vaddr, _, filesz, memsz = struct.unpack_from("<IIQQQQQ", core, at)
        yield at, kind, flags, offset, vaddr, filesz, memsz


# ---- what holds of the command's output

def is_clean(text: bytes) -> bool:
    """Nothing in it steers a terminal: UTF-8, no controls but the line's end."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return False
    return not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", decoded)


def run(*arguments: str, timeout: float = 60, **keywords) -> subprocess.CompletedProcess:
    """The finished command, output as bytes."""
    keywords.setdefault("stdin", subprocess.DEVNULL)
    keywords.setdefault("stdout", subprocess.PIPE)
    if "input" in keywords:
        del keywords["stdin"]
    return subprocess.run([tool.path(), *arguments], stderr=subprocess.PIPE, timeout=timeout,
                          **keywords)


def said(done: subprocess.CompletedProcess) -> str:
    return (f"{' '.join(done.args)}: status {done.returncode}\n"
            f"stdout: {(done.stdout or b'')[:300]!r}\nstderr: {done.stderr[:600]!r}")


def check_refused(done: subprocess.CompletedProcess, target: str, *words: str,
                  status: int = 3) -> None:
    """`coreanalyze: TARGET: what: why: what to try`, one line, and nothing else."""
    text = done.stderr.decode(errors="replace")
    assert done.returncode == status, said(done)
    assert done.stdout == b"", said(done)
    assert is_clean(done.stderr), said(done)
    assert text.endswith("\n") and text.count("\n") == 1, said(done)
    prefix = f"coreanalyze: {target}: " if target else "coreanalyze: "
    assert text.startswith(prefix), said(done)
    parts = text[len(prefix):].rstrip("\n").split(": ")
    assert len(parts) >= 3 and all(parts), "no `what: why: what to try`\n" + said(done)
    for word in words:
        assert word in text, f"{word!r} is not said\n{said(done)}"


def check_usage(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 2 and done.stdout == b"" and done.stderr, said(done)
    assert is_clean(done.stderr), said(done)
    assert done.stderr.startswith(b"coreanalyze") or done.stderr.startswith(b"Usage"), said(done)
    for word in words:
        assert word.encode() in done.stderr, f"{word!r} is not said\n{said(done)}"


def document_of(done: subprocess.CompletedProcess) -> dict:
    """The one JSON document on stdout."""
    assert done.returncode in (0, 1), said(done)
    assert is_clean(done.stdout), said(done)

    def no_duplicates(pairs):
        out = dict(pairs)
        assert len(out) == len(pairs), f"a key twice in {[k for k, _ in pairs]}"
        return out

    def no_constants(name):
        raise AssertionError(f"{name} is no JSON")

    try:
        return json.loads(done.stdout, object_pairs_hook=no_duplicates,
                          parse_constant=no_constants)
    except ValueError as e:
        raise AssertionError(f"no JSON: {e}\n{said(done)}")


def check_answer(done: subprocess.CompletedProcess) -> dict:
    """A partial answer has warnings that say what, and what it does to the figures."""
    document = document_of(done)
    assert document["schema"].startswith("coreanalyze."), said(done)
    for warning in document["warnings"]:
        assert warning["text"] and warning["effect"] and warning["kind"], warning
        assert warning["count"] >= 1, warning
    return document
