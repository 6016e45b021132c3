# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPython interpreters of this machine that tests can run targets on.

CA_PYTHON=TEXT[,TEXT...]  only those with TEXT in their name
CA_PYTHONS=DIR            where tools/pythons.sh has unpacked others; without it
                          they are got, into build/pythons
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import json
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WANTED = [(3, minor) for minor in range(8, 16)]

# The library is told from the mappings: Debian builds one, but its programs do
# not use it.
PROBE = """
import ctypes, json, sys, sysconfig
with open("/proc/self/maps") as f:
    libraries = {line.split()[-1] for line in f if "/libpython3." in line}
print(json.dumps([list(sys.version_info[:3]), max(libraries, default=None),
    hasattr(sys, "gettotalrefcount"),
    bool(sysconfig.get_config_var("Py_GIL_DISABLED"))]))
"""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    name: str               # "pyenv-3.8.18", "system-3.11.2", "sid-3.15.2"
    path: str
    version: tuple[int, int, int]
    library: str | None     # the libpython it runs, None when it is static
    stripped: bool = False  # runs a stripped copy of that library

    @property
    def minor(self) -> tuple[int, int]:
        return self.version[:2]

    def command(self, *args: str) -> list[str]:
        return [self.path, "-B", *args]

    def environment(self) -> dict[str, str]:
        """One that no setting of the user's shell leaks into."""
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
        out = {k: os.environ[k] for k in kept if k in os.environ}
        if self.stripped:
            out["LD_LIBRARY_PATH"] = os.path.dirname(strip(self.library))
        return out


def unpacked_directory() -> str:
    """Where other distributions' interpreters are; gets them at first use."""
    given = os.environ.get("CA_PYTHONS")
    if given:
        return given
    directory = os.path.join(ROOT, "build", "pythons")
    subprocess.run([os.path.join(ROOT, "tools", "pythons.sh"), directory])
    return directory


def _candidates():
    for minor in WANTED:
        text = "%d.%d" % minor
        for path in sorted(glob.glob(os.path.expanduser(
                f"~/.pyenv/versions/{text}.*/bin/python3"))):
            yield "pyenv", path
        for path in (f"/usr/bin/python{text}", f"/usr/local/bin/python{text}"):
            yield "system" if path.startswith("/usr/bin") else "local", path
    for path in sorted(glob.glob(os.path.join(unpacked_directory(), "*/python"))):
        # DIR/SUITE-VERSION/python
        yield os.path.basename(os.path.dirname(path)).rsplit("-", 1)[0], path


def strip(library: str) -> str:
    """A stripped copy of a library, made once for each state of the file."""
    state = os.stat(library)
    directory = os.path.join(ROOT, "build", "stripped", "%x-%x-%x" % (
        state.st_ino, state.st_mtime_ns, state.st_size))
    copy = os.path.join(directory, os.path.basename(library))
    if not os.path.exists(copy):
        os.makedirs(directory, exist_ok=True)
        new = f"{copy}.{os.getpid()}"
        subprocess.run(["strip", "-o", new, library], check=True)
        os.rename(new, copy)
    return copy


def _probe(family: str, path: str) -> Interpreter | None:
    """None when it does not run, has no ctypes, or is not a default build."""
    if not os.access(path, os.X_OK):
        return None
    plain = Interpreter("", path, (0, 0, 0), None)
    try:
        done = subprocess.run(plain.command("-c", PROBE), capture_output=True,
                              env=plain.environment(), timeout=120, check=True)
        version, library, debug, free_threaded = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if debug or free_threaded or tuple(version[:2]) not in WANTED:
        return None
    return Interpreter("%s-%d.%d.%d" % (family, *version), path, tuple(version), library)


@functools.lru_cache(maxsize=None)
def found() -> tuple[Interpreter, ...]:
    """Every usable one, oldest first, each real file once."""
    known, result = set(), []
    for family, path in _candidates():
        interpreter = _probe(family, path)
        real = os.path.realpath(path)
        if interpreter and real not in known:
            known.add(real)
            result.append(interpreter)
            if interpreter.library and shutil.which("strip"):
                result.append(dataclasses.replace(
                    interpreter, name=interpreter.name + "-stripped", stripped=True))
    return tuple(sorted(result, key=lambda i: (i.version, i.name)))


def chosen() -> tuple[Interpreter, ...]:
    """Those that CA_PYTHON lets through."""
    wanted = [t for t in os.environ.get("CA_PYTHON", "").split(",") if t]
    return tuple(i for i in found()
                 if not wanted or any(t in i.name for t in wanted))


def missing() -> list[str]:
    """The minor versions that no interpreter here has: "3.14"."""
    have = {i.minor for i in found()}
    return ["%d.%d" % m for m in WANTED if m not in have]


def by_name(name: str) -> Interpreter:
    matches = [i for i in found() if i.name == name] or [
        i for i in found() if name in i.name and not i.stripped]
    if len(matches) != 1:
        known = ", ".join(i.name for i in matches or found())
        raise SystemExit(f"{name}: {len(matches)} interpreters match of {known}")
    return matches[0]


if __name__ == "__main__":
    for each in found():
        print(each.name, each.library or "static", each.path)
    for each in missing():
        print(each, "missing")
