# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and rewrites a snapshot's file, by what coreanalyze/store/store.h says of it."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct

MAGIC = b"\x89CASNAP\n"
HEAD, SECTION, TAIL = struct.Struct("<8sII"), struct.Struct("<IIQQQ"), struct.Struct("<QQII8s")
BLOCK, MASK = 1 << 20, (1 << 64) - 1
(IMAGE, RUNTIME, OBJECTS, GRAPH, MEMORY, MEMORY_INDEX, BITS, MOLD, MOLDS, FIRST, TO, FLAGS,
 MISMATCHES) = range(1, 14)


def mix(number: int, word: int) -> int:
    number ^= word
    return (number << 29 | number >> 35) % (1 << 64) * 0x9e3779b97f4a7c15 & MASK


def hash_words(number: int, words) -> int:
    for word in words:
        number = mix(number, word)
    return number


def hash_block(block: bytes) -> int:
    lanes = [1, 2, 3, 4]
    padded = block + bytes(-len(block) % 32)
    for four in struct.iter_unpack("<4Q", padded):
        lanes = [mix(lane, word) for lane, word in zip(lanes, four)]
    return hash_words(len(block), lanes)


def checksum(data: bytes) -> int:
    return hash_words(len(data), (hash_block(data[at:at + BLOCK])
                                  for at in range(0, len(data), BLOCK)))


class Snapshot:
    def __init__(self, path: str):
        with open(path, "rb") as f:
            self.data = bytearray(f.read())
        magic, self.version, zero = HEAD.unpack_from(self.data)
        total, self.table, count, version, end = TAIL.unpack_from(self.data, len(self.data) - TAIL.size)
        assert magic == end == MAGIC and zero == 0 and version == self.version
        assert self.table + count * SECTION.size + TAIL.size == len(self.data)
        assert checksum(bytes(self.data[self.table:-TAIL.size])) == total
        self.sections = {}      # id: (place in the table, size of an item, offset, bytes, checksum)
        for at in range(self.table, len(self.data) - TAIL.size, SECTION.size):
            id_, *rest = SECTION.unpack_from(self.data, at)
            self.sections[id_] = (at, *rest)

    def section(self, id_: int) -> bytes:
        _, _, offset, size, _ = self.sections[id_]
        return bytes(self.data[offset:offset + size])

    def frames(self):
        """The zstd frame of each chunk, b"" where it is all zeros."""
        index = struct.unpack("<%dQ" % (len(self.section(MEMORY_INDEX)) // 8),
                              self.section(MEMORY_INDEX))
        memory = self.section(MEMORY)
        assert index[-1] == len(memory)
        for start, end in zip(index, index[1:]):
            yield memory[start:end]

    def memory(self) -> bytes:
        """All that is kept of it, chunk after chunk; what is zero is left out."""
        return b"".join(unpacked(frame) for frame in self.frames() if frame)

    def change(self, id_: int, offset: int, new: bytes) -> None:
        """Of a section, with a checksum that is right again."""
        at, item, start, size, _ = self.sections[id_]
        self.data[start + offset:start + offset + len(new)] = new
        if id_ != MEMORY:
            self.set(id_, item, start, size, checksum(self.section(id_)))

    def set(self, id_: int, item: int, offset: int, size: int, sum_: int) -> None:
        at = self.sections[id_][0]
        self.sections[id_] = (at, item, offset, size, sum_)
        SECTION.pack_into(self.data, at, id_, item, offset, size, sum_)
        table = bytes(self.data[self.table:-TAIL.size])
        struct.pack_into("<Q", self.data, len(self.data) - TAIL.size, checksum(table))

    def write(self, path: str) -> None:
        with open(path, "wb") as f:
            f.write(self.data)


def unpacked(frame: bytes) -> bytes:
    zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    size = zstd.ZSTD_getFrameContentSize(frame, ctypes.c_size_t(len(frame)))
    out = ctypes.create_string_buffer(size)
    got = zstd.ZSTD_decompress(out, ctypes.c_size_t(size), frame, ctypes.c_size_t(len(frame)))
    assert got == size, (got, size)
    return out.raw
