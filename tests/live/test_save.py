# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: each answer is the core's, values are gone where they must be, a full disk leaves nothing."""

import datetime
import hashlib
import json
import os
import stat
import struct
import subprocess
import tempfile

import cores
import interpreters
import serving
import tool
from runner import Skip, each_python, one_of_each_minor
from snapshot import Snapshot

WAIT = """
import sys
with open(sys.argv[1] + ".1", "w"):
    pass
sys.stdin.readline()
"""

PARTS = """
import sys, warnings
sys.path.insert(0, %r)
warnings.simplefilter("ignore")
import heap_builtin, heap_library, heap_objects, heap_programs, heap_rare
from parts import USUAL
keep = {name: make() for name, make in USUAL.items() if name != "compressors"}

class Node:
    def __init__(self):
        self.me = self
    def __del__(self):
        pass

import gc
gc.collect()
gc.disable()
for i in range(50):
    Node()
""" % cores.HERE + WAIT

# What must not be in a redacted file. The names of attributes are known to the code, the keys are not.
SECRETS = """
import array, datetime, decimal, hashlib, struct

def digest(name):
    return hashlib.sha256(name.encode()).digest()

class Person:
    pass

class Slotted:
    __slots__ = ("pin",)

person, slotted = Person(), Slotted()
person.surname = digest("surname").hex()
person.letter = digest("letter").hex() * 20
person.born = datetime.datetime(1961, 7, 29, 13, 47, 11, 654321, datetime.timezone.utc)
person.height = struct.unpack("<d", b"\\1" + digest("height")[:6] + b"\\x40")[0]
slotted.pin = int.from_bytes(digest("pin")[:7], "little")
person.key = {digest("key").hex(): None, int.from_bytes(digest("number")[:7], "little"): None}
person.some = {int.from_bytes(digest("member")[:7], "little")}
person.bytes = [digest("bytes"), bytearray(digest("bytearray"))]
person.array = array.array("B", digest("array"))
person.decimal = decimal.Decimal(int.from_bytes(digest("decimal")[:7], "little"))
person.error = ValueError(digest("error").hex())
person.later = (lambda secret: lambda: secret)(digest("later").hex())
""" + WAIT

MOST_ASKED = 360


def digest(name):
    return hashlib.sha256(name.encode()).digest()


def secrets(python):
    """Bytes that memory has of them."""
    out = {name: digest(name).hex().encode() for name in ("surname", "letter", "key", "error", "later")}
    out.update({name: digest(name) for name in ("bytes", "bytearray", "array")})
    out["height"] = b"\1" + digest("height")[:6] + b"\x40"
    out["born"] = bytes((1961 >> 8, 1961 & 255, 7, 29, 13, 47, 11)) + (654321).to_bytes(3, "big")
    for name in ("pin", "number", "member"):
        number = int.from_bytes(digest(name)[:7], "little")
        out[name] = struct.pack("<2I", number % (1 << 30), number >> 30)
        out[name + "'s hash"] = struct.pack("<q", number)
    return out


def dumped(python, directory, text):
    script = os.path.join(directory, "subject.py")
    with open(script, "w") as f:
        f.write(text)
    with cores.Target(python, directory, script=script) as target:
        return target.core("gcore", os.path.join(directory, "core"))


def save(target, file, *options):
    return tool.ask("save", target, "-o", file, *options)


# ---- the same questions to both

QUESTIONS = (
    ["report"], ["info"], ["types", "--limit", "0"], ["suspects"], ["gc"],
    ["retained", "--limit", "300"], ["retained", "--by", "type"], ["retained", "--by", "owner"],
    ["cycles", "--limit", "0"], ["cycles", "--all-edges"], ["cycles", "--finalizers"],
    ["cycles", "--unreachable"], ["verify", "--limit", "0"],
    ["owners", "--type", "builtins.dict", "--limit", "200"],
    ["owners", "--type", "builtins.str", "--where", "length > 3", "--limit", "100"],
    ["owners", "--type", "__main__.Node"],
)


def same(document):
    """Without what is about the file itself."""
    document.get("target", {}).pop("path", None)
    document.pop("snapshot", None)
    return document


def first_difference(a, b, at=""):
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        pairs = ((a[k], b[k], f"{at}.{k}") for k in a)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = ((x, y, f"{at}[{i}]") for i, (x, y) in enumerate(zip(a, b)))
    else:
        return None if a == b else f"{at}: {str(a)[:300]} | {str(b)[:300]}"
    return next(filter(None, (first_difference(*p) for p in pairs)), None)


def ask_both(core, snapshot, command, *args):
    a, b = (same(server.ask(command, *args)) for server in (core, snapshot))
    assert a == b, f"{command} {' '.join(args)[:200]}: {first_difference(a, b)}"
    return a


def addresses(document, out):
    if isinstance(document, list):
        for item in document:
            addresses(item, out)
    elif isinstance(document, dict):
        if isinstance(document.get("type"), str) and isinstance(document.get("address"), str):
            out.setdefault(document["type"], []).append(document["address"])
        for value in document.values():
            addresses(value, out)


def check_answers(core_server, snapshot_server, redact):
    """All commands; then objects of every type that these, and these objects, tell of."""
    options = ["--redact"] if redact else []
    known, asked = {}, set()
    for command, *args in QUESTIONS:
        addresses(ask_both(core_server, snapshot_server, command, *args, *options), known)
    while len(asked) < MOST_ASKED:
        batch = [a for of_type in known.values() for a in of_type[:3] if a not in asked][:120]
        if not batch:
            break
        asked.update(batch)
        addresses(ask_both(core_server, snapshot_server, "object", *batch, *options), known)
    assert len(asked) > 200 and len(known) > 50, (len(asked), len(known))
    return asked


@each_python(among=one_of_each_minor)
def test_answers(python):
    """Of a snapshot, and of one without values, they are those of the core."""
    with tempfile.TemporaryDirectory() as directory:
        core = dumped(python, directory, PARTS)
        plain, redacted = (os.path.join(directory, name) for name in ("plain", "redacted"))
        said = save(core, plain)
        assert said["bytes"] == os.path.getsize(plain), said
        assert said["bytes"] <= 0.6 * said["core_bytes"] == 0.6 * os.path.getsize(core), said
        assert stat.S_IMODE(os.stat(plain).st_mode) == 0o600
        save(core, redacted, "--redact")
        with serving.Server(core) as a, serving.Server(plain) as b, serving.Server(redacted) as c:
            check_answers(a, b, False)
            check_answers(a, c, True)
        check_diff(core, plain)
        info = tool.ask("info", plain)["snapshot"]
        assert info["from"] == core and not info["redacted"], info
        assert tool.ask("info", redacted)["snapshot"]["redacted"]


def check_diff(core, snapshot):
    wanted = tool.ask("diff", core, core, "--limit", "0")
    for pair in ((core, snapshot), (snapshot, core), (snapshot, snapshot)):
        found = tool.ask("diff", *pair, "--limit", "0")
        for document in (found, wanted):
            for side in ("target", "before", "after"):
                same({"target": document.get(side) or {}})
        assert found == wanted, first_difference(wanted, found)


# ---- without values

@each_python()
def test_redacted(python):
    with tempfile.TemporaryDirectory() as directory:
        core = dumped(python, directory, SECRETS)
        files = {}
        for name, options in (("plain", ()), ("redacted", ("--redact",))):
            files[name] = os.path.join(directory, name)
            save(core, files[name], *options)
        again = os.path.join(directory, "again")
        save(files["plain"], again, "--redact")
        plain = Snapshot(files["plain"]).memory()
        for name in ("redacted", "again"):
            snapshot = Snapshot(again if name == "again" else files[name])
            memory = snapshot.memory() + bytes(snapshot.data)
            for what, value in secrets(python).items():
                assert value not in memory, f"{what} is in a redacted snapshot ({name})"
            assert b"surname" in memory and b"subject.py" in memory
        # What is looked for can be found: all but buffers and hashes, which no answer shows.
        missing = [what for what, value in secrets(python).items() if value not in plain
                   and what not in ("bytearray", "array") and "hash" not in what]
        assert not missing, missing


# ---- packed, and packed again

def test_compressed():
    python = interpreters.found()[-1]
    with tempfile.TemporaryDirectory() as directory:
        core = dumped(python, directory, PARTS)
        plain, packed, again, twice = (os.path.join(directory, n) for n in
                                       ("plain", "packed", "again", "twice"))
        save(core, plain)
        said = save(core, packed, "--compress")
        assert said["compressed"] and said["bytes"] <= 0.2 * os.path.getsize(core), said
        with open(packed, "rb") as f:
            assert f.read(4) == b"\x28\xb5\x2f\xfd"
        # A snapshot of a snapshot is what a core's is.
        save(packed, again)
        save(plain, twice)
        with serving.Server(core) as a, serving.Server(packed) as b:
            check_answers(a, b, False)
        with serving.Server(core) as a, serving.Server(again) as b:
            check_answers(a, b, False)
        assert Snapshot(again).memory() == Snapshot(twice).memory() == Snapshot(plain).memory()
        refused = tool.run("verify", plain, "--deep")
        assert refused.returncode == 3 and "--deep" in refused.stderr, refused


# ---- files

def test_a_full_disk_leaves_nothing():
    if os.geteuid() != 0:
        raise Skip("mounting takes root")
    python = interpreters.found()[-1]
    with tempfile.TemporaryDirectory() as directory:
        core = dumped(python, directory, SECRETS)
        disk = os.path.join(directory, "disk")
        os.mkdir(disk)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk],
                              capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
        try:
            for options in ((), ("--compress",)):
                kept = os.path.join(disk, "snapshot")
                with open(kept, "w") as f:
                    f.write("an older one")
                failed = tool.run("save", core, "-o", kept, *options)
                assert failed.returncode == 3, failed
                assert "No space left on device" in failed.stderr and "left behind" in failed.stderr, failed
                assert os.listdir(disk) == ["snapshot"]
                with open(kept) as f:
                    assert f.read() == "an older one"
        finally:
            subprocess.run(["umount", disk], check=True)
