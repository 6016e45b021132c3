# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots that somebody made to harm: refused, or answered, never a crash or a hang.

CA_BIN=FILE     a command built with the sanitizers finds more
"""

import os
import random
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

import made             # noqa: E402
import snapshot         # noqa: E402
from runner import times    # noqa: E402

COMMANDS = ("info", "types", "verify", "suspects", "cycles", "gc")
WORDS = (0, 1, 2, 3, 7, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1 << 40, 1 << 47,
         (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)
SMALL = 1 << 20     # a checksum of more takes this test too long
CRASHED = range(-64, 0)


def saved(directory):
    core = made.python_core(directory)
    path = os.path.join(directory, "snapshot")
    done = made.run("save", core, "-o", path)
    assert done.returncode == 0, made.said(done)
    return core, path


def check(path, command, what):
    done = made.run(*made.arguments_of(command, path), "--json", timeout=120)
    assert done.returncode in (0, 1, 3), f"{what}: {command}: {made.said(done)}"
    assert b"Sanitizer" not in done.stderr, f"{what}: {command}: {made.said(done)}"
    return done


def small_sections(file):
    return [id_ for id_, (_, _, _, size, _) in file.sections.items()
            if id_ != snapshot.MEMORY and 0 < size <= SMALL]


def test_numbers_that_lead_elsewhere():
    """With checksums that are right: only what is checked of the numbers themselves helps."""
    with tempfile.TemporaryDirectory() as directory:
        _, path = saved(directory)
        for seed in range(times(60, 5000)):
            rng = random.Random(seed)
            file = snapshot.Snapshot(path)
            what = [f"seed {seed}"]
            for _ in range(rng.choice((1, 1, 1, 4))):
                id_ = rng.choice(small_sections(file))
                item, size = file.sections[id_][1], file.sections[id_][3]
                width = min(8, item) if item > 1 else rng.choice((1, 8))
                offset = rng.randrange(0, max(1, size - width + 1))
                offset -= offset % width
                value = rng.choice((rng.choice(WORDS), rng.getrandbits(64), rng.randrange(1 << 20)))
                file.change(id_, offset, struct.pack("<Q", value % (1 << 64))[:width])
                what.append(f"section {id_} at {offset}: {value:#x}")
            bad = os.path.join(directory, "bad")
            file.write(bad)
            check(bad, rng.choice(COMMANDS), ", ".join(what))


def test_damage_is_seen():
    """Without: each section's checksum is looked at before anything of it is believed."""
    with tempfile.TemporaryDirectory() as directory:
        _, path = saved(directory)
        with open(path, "rb") as f:
            whole = f.read()
        bad = os.path.join(directory, "bad")
        file = snapshot.Snapshot(path)
        for id_, (_, _, offset, size, _) in file.sections.items():
            if id_ == snapshot.MEMORY or not size:
                continue
            data = bytearray(whole)
            data[offset + size // 2] ^= 0x10
            with open(bad, "wb") as f:
                f.write(data)
            done = check(bad, "verify", f"section {id_}")
            assert done.returncode == 3 and b"damaged" in done.stderr, (id_, made.said(done))
        for size in (0, 1, 7, 8, 15, 16, 17, 48, 100, len(whole) // 2, len(whole) - 1):
            with open(bad, "wb") as f:
                f.write(whole[:size])
            assert check(bad, "types", f"cut to {size}").returncode == 3
        own, = struct.unpack_from("<I", whole, 8)
        for version in (0, own - 1, own + 1, 0xffffffff):
            with open(bad, "wb") as f:
                f.write(whole[:8] + struct.pack("<I", version) + whole[12:])
            done = check(bad, "types", f"version {version}")
            assert done.returncode == 3 and b"version" in done.stderr, made.said(done)


def test_damaged_memory():
    """It is unpacked when it is asked for: a warning says what became of it."""
    with tempfile.TemporaryDirectory() as directory:
        _, path = saved(directory)
        bad = os.path.join(directory, "bad")
        warned = 0
        for seed in range(times(10, 500)):
            rng = random.Random(seed)
            file = snapshot.Snapshot(path)
            size = file.sections[snapshot.MEMORY][3]
            for _ in range(rng.choice((1, 10, 200))):
                file.change(snapshot.MEMORY, rng.randrange(size), bytes([rng.randrange(256)]))
            file.write(bad)
            done = check(bad, rng.choice(COMMANDS), f"seed {seed}")
            warned += b"damaged-snapshot" in done.stdout or done.returncode == 3
        assert warned, "no damage was seen"
