# SPDX-License-Identifier: GPL-3.0-or-later
"""gdb's commands, made from the table that `coreanalyze serve` gives."""
from __future__ import annotations

import atexit
import json
import re
import subprocess

import gdb

from . import api, function, render, target
from .engine import EngineError
from .settings import Settings

# What is called otherwise in gdb, beside py-NAME.
ALSO = {"types": "py-heap", "diff": "py-heap-diff"}
TIMEOUT = 20


class Prefix(gdb.Command):
    """The Python heap of what is debugged: its objects, by type, and what keeps them.

The commands are py-heap, py-heap-save, py-heap-diff and the others listed by `help user-defined`
or `apropos Python heap`; $py_type, $py_size, $py_count, $py_retained and $py_owner are functions.
Settings: coreanalyze-command, coreanalyze-options, coreanalyze-timeout.

Example: py-heap app"""

    def __init__(self) -> None:
        super().__init__("coreanalyze", gdb.COMMAND_USER)
        self.names: list[str] = []

    def invoke(self, argument: str, from_tty: bool) -> None:
        gdb.write("commands: %s\n" % ", ".join(self.names))


# ---- words

# As gdb.string_to_argv() splits, but with the quotes that an expression may need.
WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|['"\\])+""")


class Words:
    """A command's argument, taken apart: options with their values, and the rest."""

    def __init__(self, row: dict, text: str):
        takes = {"--" + o["name"]: o["arg"] for o in row["options"] if o["name"]}
        self.options: list[str] = []
        self.rest: list[str] = []       # as it was typed
        waiting = iter(WORD.findall(text))
        for word in waiting:
            if not re.match(r"--?[A-Za-z]", word):
                self.rest.append(word)
                continue
            self.options.append(plain(word))
            if takes.get(word):
                value = next(waiting, None)
                if value is not None:
                    self.options.append(plain(value))

    def plain(self) -> list[str]:
        return [plain(word) for word in self.rest]


def plain(word: str) -> str:
    """Without its quotes."""
    return "".join(gdb.string_to_argv(word))


def addresses(rest: list[str]) -> list[str]:
    """Each word is an address, or all of them are one expression.

    Not the other way round: to gdb `$1 ($2)` is a call.
    """
    number = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
    try:
        return [word if number.fullmatch(word) else hex(api.address(word)) for word in rest]
    except api.Error:
        if len(rest) == 1:
            raise
    return [hex(api.address(" ".join(rest)))]


# ---- completion

def complete(row: dict | None, text: str, word: str, names: bool, types: bool):
    """gdb wants what may stand for `word`, the end of the last word of text."""
    tokens = text.split(" ")
    token, before = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    done = token[:len(token) - len(word)] if word and token.endswith(word) else token
    takes = {"--" + o["name"]: o["arg"] for o in (row["options"] if row else []) if o["name"]}
    if token.startswith("-"):
        words = [o for o in takes if o[2:] not in ON_START]
    elif takes.get(before) in ("TYPE", "T", "REGEX") or (types and not takes.get(before)):
        words = target.seat().known_types()
    elif names and not takes.get(before):
        words = api.names()
    elif takes.get(before) in ("FILE", "DIR"):
        return gdb.COMPLETE_FILENAME
    elif row and "ADDR" in row["args"] and not takes.get(before):
        return gdb.COMPLETE_EXPRESSION
    else:
        return gdb.COMPLETE_NONE
    return [w[len(done):] for w in words if w.startswith(token)]


# ---- commands

class Question(gdb.Command):
    """Base of all: help and completion come from the table's row."""

    def __init__(self, name: str, row: dict):
        self.row = row
        self.name = name
        self.__doc__ = self.__class__.__doc__ = help_of(name, row)
        super().__init__(name, gdb.COMMAND_USER)

    def invoke(self, argument: str, from_tty: bool) -> None:
        self.dont_repeat()
        words = Words(self.row, argument)
        text = self.ask(words, render.options())
        if not isinstance(text, str):       # --json
            text = json.dumps(text) + "\n"
        render.show(target.seat().tell() + text)

    def ask(self, words: Words, form: dict) -> str:
        rest = addresses(words.rest) if "ADDR" in self.row["args"] else words.plain()
        return api.ask(self.row["name"], *words.options, *rest, **form)

    def complete(self, text: str, word: str):
        return complete(self.row, text, word, False, False)


class Heap(Question):
    def ask(self, words: Words, form: dict) -> str:
        rest = words.plain()
        if len(rest) > 1:
            raise api.Error(f"coreanalyze: {self.name} takes one regular expression")
        match = ["--match", rest[0]] if rest else []
        return api.ask("types", *words.options, *match, **form)

    def complete(self, text: str, word: str):
        return complete(self.row, text, word, False, True)


class HeapDiff(Question):
    def ask(self, words: Words, form: dict) -> str:
        rest = words.plain()
        if len(rest) > 2:
            raise api.Error(f"coreanalyze: {self.name} takes two names at most")
        before, after = (rest + [None, None])[:2]
        return api.diff(before, after, *words.options, **form)

    def complete(self, text: str, word: str):
        return complete(self.row, text, word, True, False)


class HeapSave(gdb.Command):
    """Keep what is in the Python heap now under a name, for py-heap-diff.

Usage: py-heap-save NAME
The counts and addresses of all objects are kept, not their values.

Example: py-heap-save a"""

    def __init__(self) -> None:
        super().__init__("py-heap-save", gdb.COMMAND_USER)

    def invoke(self, argument: str, from_tty: bool) -> None:
        self.dont_repeat()
        words = gdb.string_to_argv(argument)
        if len(words) != 1:
            raise api.Error("coreanalyze: py-heap-save takes a name, as in `py-heap-save a`")
        api.save(words[0])
        render.show(target.seat().tell() + f"saved as '{words[0]}'; later: py-heap-diff {words[0]}\n")

    def complete(self, text: str, word: str):
        return complete(None, text, word, True, False)


def help_of(name: str, row: dict) -> str:
    """For gdb's own `help`: no target is named, an example is."""
    arguments = {"py-heap": "[TYPE-REGEX]", "py-heap-diff": "[BEFORE [AFTER]]"}.get(
        name, re.sub(r"^\S+\s*", "", row["args"]) if row["targets"] == 1 else row["args"])
    body, _, example = row["help"].rpartition("\n\nExample: ")
    body = re.sub(r"; - reads[^.]*", "", body)   # gdb's terminal is no list of addresses
    words = example.split()
    used = words[2 + row["targets"]:] if len(words) > 2 else []
    if name == "py-heap":
        used = ["app", "--limit", "10"]
    elif name == "py-heap-diff":
        used = ["a"]
        body += ("\n\nBEFORE and AFTER were saved by py-heap-save, or are files of cores; AFTER is now "
                 "where it is left out, BEFORE what was saved last.")
    elif "ADDR" in row["args"]:
        body += "\n\nADDR may be an expression of gdb's: $1, self, frame->f_locals."
    lines = [f"{row['summary'][:1].upper()}{row['summary'][1:]} (Python heap).", "",
             f"Usage: {name} {arguments}".rstrip() + " [OPTION]...", body, "", "Options:"]
    for option in row["options"]:
        if not option["name"] or (option["common"] and option["name"] in ON_START):
            continue
        value = f" {option['arg']}" if option["arg"] else ""
        lines.append(f"  --{option['name']}{value}: {option['summary']}")
    return "\n".join([*lines, "", f"Example: {' '.join([name, *used])}"])


# Said when the child is started, or of no use here.
ON_START = {"exe", "sysroot", "debug-dir", "tmpdir", "color", "progress", "verbose"}


def table(program: str) -> list[dict]:
    try:
        done = subprocess.run([program, "serve", "--commands"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT)
        return json.loads(done.stdout)["commands"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        raise EngineError(f"{program} does not say which commands it has: is it this version's?")


def define(rows: list[dict]) -> list[str]:
    names = []
    for row in rows:
        plain = "py-" + row["name"]
        kind = {"types": Heap, "diff": HeapDiff}.get(row["name"], Question)
        for name in filter(None, (ALSO.get(row["name"]), plain)):
            # A class of its own: gdb takes the help from there.
            type(name, (kind,), {})(name, row)
            names.append(name)
    HeapSave()
    return sorted([*names, "py-heap-save"])


def load(folder: str) -> None:
    if api.settings is not None:
        return
    api.settings = Settings(folder)
    prefix = Prefix()
    try:
        prefix.names = define(table(api.settings.program()))
    except EngineError as e:
        api.settings = None
        gdb.write(f"coreanalyze: {e}; then `source` this file again\n")
        return
    function.define()
    target.listen()
    atexit.register(target.close_all)
