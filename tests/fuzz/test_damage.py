# SPDX-License-Identifier: GPL-3.0-or-later
"""Random damage: no crash, no hang, an answer or the contract's refusal.

CA_FUZZ=FILE      the driver (tests/fuzz in build-asan)
CA_SEEDS=FIRST-LAST
                  other seeds than the fixed ones, as 1000-9999
"""

import os
import random
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

import made             # noqa: E402
from interpreters import ROOT    # noqa: E402
from made import in_empty_directory     # noqa: E402
from runner import Skip, each_python    # noqa: E402

COMMANDS = ("report", "info", "types", "diff", "object")


def seeds(usual):
    text = os.environ.get("CA_SEEDS")
    if not text:
        return 1, usual
    first, last = text.split("-")
    return int(first), int(last)


@each_python()
@in_empty_directory
def test_memory(python):
    """By the driver, which is built with the sanitizers: hundreds of seeds in seconds."""
    driver = os.environ.get("CA_FUZZ") or os.path.join(ROOT, "build-asan", "tests", "fuzz")
    if not os.access(driver, os.X_OK):
        raise Skip(f"{driver} is not there: make check builds it")
    core = made.python_core(".", python=python)
    first, last = seeds(100)
    done = subprocess.run([driver, "--seeds", f"{first}-{last}", core], capture_output=True,
                          text=True, errors="replace", stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and f"{last - first + 1} seeds" in done.stdout, (
        f"status {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-3000:]}")


# ---- the file as a whole, by the command itself

def interesting_offsets(data):
    """The headers, the notes, and the first words of each segment."""
    out = list(range(0, 64, 2))
    for at, kind, _, offset, _, filesz, _ in made.program_headers(data):
        out += range(at, at + 56, 4)
        if kind == 4:
            out += range(offset, offset + min(filesz, 1 << 16), 4)
        elif kind == 1 and filesz:
            out += range(offset, offset + min(filesz, 256), 8)
    return out


def choose_word(dice, data, at):
    old, = struct.unpack_from("<Q", data, at)
    return dice.choice((
        0, 2 ** 64 - 1, 1 << dice.randrange(64), (1 << dice.randrange(64)) - 1,
        old ^ 1 << dice.randrange(64), (old + dice.randrange(-32, 33)) % 2 ** 64,
        dice.randrange(2 ** 64), dice.randrange(4096),
        struct.unpack_from("<Q", data, dice.choice(range(0, len(data) - 8, 8)))[0]))


def damages(dice, data, offsets):
    """[(offset, bytes)]: mostly of headers and notes, sometimes anywhere."""
    out = []
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        at = dice.choice(offsets) if dice.random() < 0.8 else dice.randrange(len(data) - 8)
        word = struct.pack("<Q", choose_word(dice, data, min(at, len(data) - 8)))
        out.append((at, word[:dice.choice((1, 2, 4, 8, 8))]))
    return out


def ask_all(core, seed):
    for command in COMMANDS:
        words = made.arguments_of(command, core)
        for form in (["--json"], []):
            try:
                done = made.run(*words, *form)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"seed {seed}: {command} hangs")
            if done.returncode == 3:
                made.check_refused(done, core)
            elif form:
                made.check_answer(done)
            else:
                assert done.returncode == 0, f"seed {seed}: {made.said(done)}"
            assert made.is_clean(done.stdout), f"seed {seed}: {command}: controls in the output"


@in_empty_directory
def test_files():
    for python in (made.an_interpreter(8, 9, 10, 11), made.an_interpreter(13, 14, 15)):
        directory = python.name
        os.mkdir(directory)
        core = made.python_core(directory, python=python)
        with open(core, "rb") as f:
            data = f.read()
        offsets = interesting_offsets(data)
        first, last = seeds(40)
        with open(core, "r+b", buffering=0) as f:
            for seed in range(first, last + 1):
                done = damages(random.Random(seed), data, offsets)
                for at, text in done:
                    os.pwrite(f.fileno(), text, at)
                os.ftruncate(f.fileno(), len(data))
                try:
                    ask_all(core, seed)
                except AssertionError as e:
                    raise AssertionError(f"{python.name}, seed {seed}: {e}")
                for at, text in done:
                    os.pwrite(f.fileno(), data[at:at + len(text)], at)


# ---- the ELF files that the process had mapped

def elf_offsets(data):
    """The file's headers, its section headers, and the beginning of each section."""
    shoff, = struct.unpack_from("<Q", data, 40)
    shnum, = struct.unpack_from("<H", data, 60)
    out = list(range(0, 64 + 56 * 14, 2))
    for i in range(shnum):
        at = shoff + 64 * i
        out += range(at, at + 64, 4)
        offset, size = struct.unpack_from("<QQ", data, at + 24)
        kind, = struct.unpack_from("<I", data, at + 4)
        if kind != 8 and offset + size <= len(data):   # SHT_NOBITS has none
            out += range(offset, offset + min(size, 512), 4)
    return out


@in_empty_directory
def test_mapped_files():
    """libbfd reads them too: it must be kept from what it does not bear."""
    python = made.an_interpreter(8, 9, 10, 11)
    core = made.python_core(".", python=python)
    source = python.library or os.path.realpath(python.path)
    with open(source, "rb") as f:
        data = f.read()
    os.mkdir("debug")
    copy = os.path.join("debug", os.path.basename(source))
    options = ["--debug-dir", "debug", "--sysroot", "debug"]
    with open(copy, "wb") as f:
        f.write(data)
    offsets = elf_offsets(data)
    first, last = seeds(60)
    with open(copy, "r+b", buffering=0) as f:
        for seed in range(first, last + 1):
            done = damages(random.Random(seed), data, offsets)
            for at, text in done:
                os.pwrite(f.fileno(), text, at)
            if seed % 10 == 0:
                os.ftruncate(f.fileno(), random.Random(seed).randrange(len(data)))
            answer = made.run("types", core, "--json", *options)
            if answer.returncode == 3:
                made.check_refused(answer, core)
            else:
                made.check_answer(answer)
            assert made.is_clean(answer.stderr), f"seed {seed}: {made.said(answer)}"
            assert answer.returncode == 3 or not answer.stderr, f"seed {seed}: {made.said(answer)}"
            if seed % 10 == 0:
                os.ftruncate(f.fileno(), 0)
                os.pwrite(f.fileno(), data, 0)
            for at, text in done:
                os.pwrite(f.fileno(), data[at:at + len(text)], at)
