# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed cores: the answers of the plain core, and what stops them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import tempfile

import cores
import interpreters
import tool
from runner import Skip


def with_tool(name: str, *options: str):
    def compress(plain: str, packed: str) -> None:
        if not shutil.which(name):
            raise Skip(f"{name} is not installed")
        with open(packed, "wb") as out:
            subprocess.run([name, "-q", "-c", *options, plain], check=True, stdout=out)
    return compress


def with_module(opener):
    def compress(plain: str, packed: str) -> None:
        with open(plain, "rb") as source, opener(packed, "wb") as out:
            shutil.copyfileobj(source, out)
    return compress


FORMATS = {
    "gz": with_module(lambda path, mode: gzip.open(path, mode, 1)),
    "xz": with_module(lambda path, mode: lzma.open(path, mode, preset=0)),
    "bz2": with_module(lambda path, mode: bz2.open(path, mode, 1)),
    "zst": with_tool("zstd"),
    "lz4": with_tool("lz4", "-B4", "--content-size"),     # blocks of 64 KiB
}


def make_core(directory: str) -> str:
    python = interpreters.chosen()[-1]
    with cores.Target(python, directory, "nodes=1000", "strings=1000") as target:
        core = target.core("gcore", os.path.join(directory, "core"))
    move_last(core)
    return core


def move_last(core: str) -> None:
    """Its last segment comes behind what nobody needs: before may be the data of a library,
    without which no part of it is of use."""
    with open(core, "rb") as f:
        data = bytearray(f.read())
    table, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    last = max(range(table, table + size * count, size),
               key=lambda at: struct.unpack_from("<Q", data, at + 8))
    offset, length = (struct.unpack_from("<Q", data, last + field)[0] for field in (8, 32))
    segment = data[offset:offset + length]
    data = data.ljust(-(-len(data) // 4096) * 4096, b"\0") + os.urandom(2 << 20)
    struct.pack_into("<Q", data, last + 8, len(data))
    with open(core, "wb") as f:
        f.write(data + segment)


def answer(core: str, *args: str) -> dict:
    document = tool.ask("types", core, "--limit", "0", *args)
    del document["target"]["path"]
    return document


def check_format(suffix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        plain = make_core(directory)
        packed = f"{plain}.{suffix}"
        FORMATS[suffix](plain, packed)
        spool = os.path.join(directory, "spool")
        os.mkdir(spool)
        assert answer(packed, "--tmpdir", spool) == answer(plain)
        assert not os.listdir(spool)
        check_cuts(packed, os.path.join(directory, "cut"))


def check_cuts(packed: str, cut: str) -> None:
    """A part of the stream: a warning that says so, or the contract's error."""
    size = os.path.getsize(packed)
    answered = 0
    for twentieth in (0, 1, 3, 5, 10, 15, 19):
        with open(packed, "rb") as source, open(cut, "wb") as out:
            out.write(source.read(max(20, size * twentieth // 20)))
        done = tool.run("info", cut, "--json")
        assert done.returncode in (0, 3), (twentieth, done.returncode, done.stderr)
        if done.returncode == 0:
            answered += 1
            document = tool.ask("info", cut)
            kinds = {w["kind"] for w in document["warnings"]}
            assert "damaged-compression" in kinds, (twentieth, kinds)
            assert document["target"]["complete"] is False
        else:
            assert done.stderr.count("\n") == 1, done.stderr
    assert answered, "no part of it was of any use"


def test_gzip():
    check_format("gz")


def test_xz():
    check_format("xz")


def test_bzip2():
    check_format("bz2")


def test_zstd():
    check_format("zst")


def test_lz4():
    check_format("lz4")


def refused(path: str, *args: str) -> str:
    done = tool.run("types", path, *args)
    assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def test_what_is_packed_is_no_core():
    with tempfile.TemporaryDirectory() as directory:
        for name, content in (("text", b"no core\n"), ("zeros", bytes(64 << 20)),
                              ("twice", gzip.compress(bytes(100)))):
            packed = os.path.join(directory, name)
            with gzip.open(packed, "wb") as out:
                out.write(content)
            assert "ELF file" in refused(packed), name


def test_folder_for_it():
    with tempfile.TemporaryDirectory() as directory:
        packed = os.path.join(directory, "core.gz")
        with gzip.open(packed, "wb") as out:
            out.write(bytes(1000))
        said = refused(packed, "--tmpdir", os.path.join(directory, "absent"))
        assert "--tmpdir" in said and "absent" in said, said


def test_disk_too_small():
    """A disk of 4 MiB: by the size that a format tells, or when it is full."""
    if os.geteuid():
        raise Skip("only root can mount a small disk")
    with tempfile.TemporaryDirectory() as directory:
        plain = make_core(directory)
        disk = os.path.join(directory, "disk")
        os.mkdir(disk)
        for suffix in ("xz", "zst", "lz4", "gz"):
            packed = f"{plain}.{suffix}"
            FORMATS[suffix](plain, packed)
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c",
                 'mount -t tmpfs -o size=4m none "$1" && exec "$2" types "$3" --tmpdir "$1"',
                 "sh", disk, tool.path(), packed], capture_output=True, text=True)
            if "unshare" in done.stderr or "mount" in done.stderr:
                raise Skip(done.stderr.strip())
            assert done.returncode == 3, (suffix, done)
            assert "--tmpdir" in done.stderr and done.stderr.count(" bytes)") == 2, done.stderr
            assert ("more than" in done.stderr) == (suffix == "gz"), done.stderr
