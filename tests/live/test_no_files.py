# SPDX-License-Identifier: GPL-3.0-or-later
"""A core that was copied off its host: the mapped ELF files are not at hand, or are others."""

from __future__ import annotations

import os
import re
import shutil
import tempfile

import cores
import interpreters
import tool
from runner import Skip, each_core, each_python, oldest_and_newest

UNNAMED = "<static type at "


def types(core: str, *options: str) -> tuple[dict, dict]:
    document = tool.ask("types", core, "--limit", "0", *options)
    return document, {row["type"]: row for row in document["types"]}


def check_same(whole: tuple[dict, dict], part: tuple[dict, dict]) -> int:
    """Every name that is given is right, with the same figures; returns how many
    objects have a type without name."""
    assert part[0]["totals"]["objects"] == whole[0]["totals"]["objects"]
    warned = {w["kind"] for w in part[0]["warnings"]}
    unnamed = 0
    for name, row in part[1].items():
        if name.startswith(UNNAMED):
            unnamed += row["count"]
            continue
        assert name in whole[1], name
        same = [key for key in row if row[key] != whole[1][name][key]]
        # The size of an array's items is in the binary.
        assert not same or (name == "array.array" and "array-items" in warned), (
            name, row, whole[1][name])
    missing = sum(whole[0]["totals"][key] - part[0]["totals"][key] for key in ("bytes", "owned"))
    assert 0 <= missing <= sum(w["bytes"] for w in part[0]["warnings"]), (missing, part[0]["warnings"])
    said = [w["text"] for w in part[0]["warnings"] if w["kind"] == "unnamed-types"]
    assert [int(text.split()[0]) for text in said] == ([unnamed] if unnamed else []), (unnamed, said)
    lost = [row for name, row in whole[1].items() if name not in part[1]]
    assert unnamed == sum(row["count"] for row in lost), (unnamed, lost)
    return unnamed


def modules(core: str, *options: str) -> list[dict]:
    return tool.ask("info", core, *options)["modules"]


@each_core("instances", "dicts", "sequences", "numbers", "sets", "strings",
           kinds=("gcore", "kernel"))
def test_no_file_at_all(case):
    whole = types(case.core)
    with tempfile.TemporaryDirectory() as empty:
        states = {m["state"] for m in modules(case.core, "--sysroot", empty)}
        assert states == {"missing"}, states
        part = types(case.core, "--sysroot", empty)
        unnamed = check_same(whole, part)
        assert unnamed < whole[0]["totals"]["objects"] / 500, unnamed
        kept, lost = (tool.ask("info", case.core, *o) for o in ((), ("--sysroot", empty)))
    assert {"missing-file"} <= {w["kind"] for w in part[0]["warnings"]}
    for key in ("interpreters", "threads"):
        assert kept[key] == lost[key], key
    assert kept["target"]["python"] == lost["target"]["python"]
    found = {s["structure"] for s in lost["layout"]["searched"]}
    assert found <= {"_PyRuntime"}, found


def place(root: str, module: dict, source: str) -> None:
    path = root + module["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


@each_core("instances", "dicts", "sequences", kinds=("kernel",), among=oldest_and_newest)
def test_one_file_missing_or_another(case):
    whole = types(case.core)
    files = [m for m in modules(case.core) if m["state"] == "used"]
    with tempfile.TemporaryDirectory(dir=case.directory) as root:
        for module in files:
            place(root, module, module["file"])
        assert check_same(whole, types(case.core, "--sysroot", root)) == 0
        for module in files:
            for other in (None, tool.path()):
                os.unlink(root + module["path"])
                if other:
                    place(root, module, other)
                check_module(case.core, root, module, "mismatch" if other else "missing")
                check_same(whole, types(case.core, "--sysroot", root))
                place(root, module, module["file"])


def check_module(core: str, root: str, module: dict, state: str) -> None:
    states = {m["path"]: m["state"] for m in modules(core, "--sysroot", root)}
    assert states.pop(module["path"]) == state, (module["path"], state)
    assert set(states.values()) == {"used"}, states


# chroot goes to the root; a core goes where the process is.
IDLE = """
import glob, os, sys
os.chdir(glob.glob(os.path.dirname(sys.argv[1]) + "/cwd-*")[0])
class Node: pass
kept = [Node() for _ in range(1000)]
with open(sys.argv[1] + ".1", "w") as f:
    f.write('{}')
sys.stdin.read()
"""


class Inside(interpreters.Interpreter):
    """An interpreter of another suite, run with that suite's tree as its root."""

    @property
    def root(self) -> str:
        return os.path.realpath(os.path.join(os.path.dirname(self.path), "root"))

    def command(self, *args: str) -> list[str]:
        with open(self.path) as f:
            loader = re.search(r'exec "([^"]+)"', f.read())[1]
        words = [loader, "--library-path", "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu",
                 "/usr/bin/python%d.%d" % self.minor, "-B", *args]
        # All of it lies in the root; the wrapper may call that by another path.
        inside = [re.sub(r"^/.*?/root(?=/)", "", os.path.realpath(w)) if w.startswith(
            (os.path.dirname(self.path), self.root)) or w == loader else w for w in words]
        return ["chroot", self.root, *inside]


@each_python()
def test_a_container(python):
    """Paths are as the process saw them; its files are inside its root."""
    inside = Inside(python.name, python.path, python.version, python.library)
    root = inside.root
    if not os.path.isdir(os.path.join(root, "usr", "lib")):
        raise Skip("not of another suite")
    if os.geteuid() != 0:
        raise Skip("only root may change the root")
    with tempfile.TemporaryDirectory(prefix="coreanalyze-test-", dir=root) as directory:
        script = os.path.join(directory, "idle.py")
        with open(script, "w") as f:
            f.write(IDLE)
        with cores.Target(inside, directory, script=script) as target:
            target.truth_path()
            # pid:N looks inside /proc/N/root by itself.
            live = types(f"pid:{target.pid}")
            # The kernel writes the paths as the process sees them.
            core = target.core("kernel", os.path.join(directory, "core"))
        whole = types(core, "--sysroot", root)
        assert not whole[0]["warnings"] and not live[0]["warnings"], (whole[0]["warnings"],
                                                                      live[0]["warnings"])
        assert whole[1]["__main__.Node"]["count"] == live[1]["__main__.Node"]["count"] == 1000
        assert {m["state"] for m in modules(core, "--sysroot", root)} == {"used"}
        # On this machine such paths are nobody's, or another build's.
        for module in modules(core):
            assert module["state"] != "used" or module["file"] is None, module
            assert re.match(r"/(usr/|lib)", module["path"]), module
        check_same(whole, types(core))
