# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ELF core has, read without any of our code."""

from __future__ import annotations

import os
import struct

PT_LOAD, PT_NOTE = 1, 4
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 3, 6, 0x46494C45


class Core:
    def __init__(self, path: str):
        with open(path, "rb") as f:
            self.bytes = f.read()
        phoff, = struct.unpack_from("<Q", self.bytes, 32)
        phnum, = struct.unpack_from("<H", self.bytes, 56)
        self.loads = []         # (address, bytes in memory, bytes in the file, place, flags)
        self.notes = []         # (owner, type, description)
        for i in range(phnum):
            kind, flags, offset, address, _, filesz, memsz, _ = struct.unpack_from(
                "<IIQQQQQQ", self.bytes, phoff + 56 * i)
            if kind == PT_LOAD:
                self.loads.append((address, memsz, filesz, offset, flags))
            elif kind == PT_NOTE:
                self._read_notes(offset, filesz)

    def _read_notes(self, at: int, size: int) -> None:
        end = at + size
        while at + 12 <= end:
            name_size, size, kind = struct.unpack_from("<III", self.bytes, at)
            name = self.bytes[at + 12:at + 12 + name_size].rstrip(b"\0").decode()
            at += 12 + (name_size + 3 & ~3)
            self.notes.append((name, kind, self.bytes[at:at + size]))
            at += size + 3 & ~3

    def read(self, address: int, size: int) -> bytes | None:
        """Of one PT_LOAD; None where it has no bytes of it."""
        for start, _, filesz, offset, _ in self.loads:
            if start <= address and address + size <= start + filesz:
                return self.bytes[offset + address - start:offset + address - start + size]
        return None

    def of(self, kind: int) -> list[bytes]:
        return [desc for owner, its, desc in self.notes if owner == "CORE" and its == kind]

    def pids(self) -> list[int]:
        """Of all threads, the main one first."""
        return [struct.unpack_from("<i", desc, 32)[0] for desc in self.of(NT_PRSTATUS)]

    def registers(self, name: str) -> list[int]:
        index = {"rip": 16, "rsp": 19, "orig_rax": 15, "rax": 10, "fs_base": 21}[name]
        return [struct.unpack_from("<Q", desc, 112 + 8 * index)[0] for desc in self.of(NT_PRSTATUS)]

    def is_rseq(self, address: int, then: bytes, now: bytes) -> bool:
        """Whether what differs is a thread's struct rseq alone, where the kernel puts the
        number of the CPU that it runs on: 32 bytes in glibc's descriptor of the thread, or
        from 2.42 on below it."""
        places = [address + i for i, (a, b) in enumerate(zip(then, now)) if a != b]
        return any(base - 0x1000 <= places[0] and places[-1] < base + 0x1000 and
                   places[-1] - places[0] < 32 for base in self.registers("fs_base"))


def disk_bytes(path: str) -> int:
    return os.stat(path).st_blocks * 512
