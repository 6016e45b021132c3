# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make install` installs: a program built against it with pkg-config."""

import fcntl
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

import made             # noqa: E402
import tool             # noqa: E402
from interpreters import ROOT    # noqa: E402
from made import in_empty_directory     # noqa: E402
from runner import Skip          # noqa: E402

PREFIX = "/opt/mine"
STRICT = ["-std=c11", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror"]


def output(*words, **keywords):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          **keywords)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


def install():
    """The root of an installed tree."""
    for program in ("make", "cc", "pkg-config"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    root = os.path.abspath("root")
    build = os.environ.get("BUILD") or os.path.dirname(tool.path())
    with open(os.path.join(build, "install.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)    # with other flags than the build's it builds anew
        output("make", "-s", "-C", ROOT, "install", f"BUILD={build}", f"PREFIX={PREFIX}",
               f"DESTDIR={root}")
    return root


def pkg_config(root, *words):
    environment = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": root,
                   "PKG_CONFIG_LIBDIR": f"{root}{PREFIX}/lib/pkgconfig"}
    return output("pkg-config", *words, "coreanalyze", env=environment).split()


def build(root, static):
    flags = pkg_config(root, "--cflags")
    libraries = pkg_config(root, *(["--static"] if static else []), "--libs")
    if static:
        libraries = ["-l:libcoreanalyze.a" if w == "-lcoreanalyze" else w for w in libraries]
    program = os.path.abspath("user-static" if static else "user")
    output("cc", *STRICT, *flags, "-o", program, os.path.join(HERE, "user.c"), *libraries)
    return program


def rows(text, kind):
    return [line.split("\t")[1:] for line in text.splitlines() if line.startswith(kind + "\t")]


def check_program(program, core, environment):
    document = tool.ask("types", core, "--limit", "0", "--sort", "type")
    addresses = made.addresses(core, "__main__.Plain")[:5] + ["0x10", "0xffffffffffffffff"]
    text = output(program, core, *addresses, env=environment)
    assert rows(text, "python") == [[document["target"]["python"],
                                     str(document["target"]["pid"])]]
    assert rows(text, "warning") == []
    wanted = [[r["type"], *(str(int(r[k])) for k in (
        "count", "bytes", "owned", "gc_tracked", "type_objects", "bytes_exact"))]
        for r in document["types"]]
    assert rows(text, "type") == wanted
    assert "too many" not in text
    objects = tool.ask("object", core, *addresses)["objects"]
    assert rows(text, "none") == [[a] for a in addresses[-2:]]
    assert [r[:4] for r in rows(text, "object")] == [
        [o["address"], o["type"], str(o["bytes"]), str(o["owned"])]
        for o in objects if "type" in o]
    totals = document["totals"]
    assert output(program, "--walk", core, env=environment).split() == [
        str(totals["objects"]), str(totals["bytes"] + totals["owned"]), str(totals["gc_tracked"])]
    check_collector(program, core, environment)
    check_owners(program, core, environment)
    check_snapshot(program, core, addresses, environment)
    for target in ("missing", ".", program, "/dev/null"):
        command = made.run("types", target)
        done = subprocess.run([program, "--refuse", target], capture_output=True, text=True,
                              env=environment, stdin=subprocess.DEVNULL)
        assert done.returncode == 3, done
        status, *parts = done.stdout.rstrip("\n").split("\t")
        assert status == "3"
        assert f"coreanalyze: {target}: {': '.join(parts)}\n" == command.stderr.decode()


def check_collector(program, core, environment):
    gc, cycles = tool.ask("gc", core), tool.ask("cycles", core)
    figures = [int(gc["enabled"]), int(gc["collecting"]), gc["frozen"]]
    for generation in gc["generations"]:
        figures += [generation[k] for k in ("threshold", "count", "objects", "collections")]
    figures += [cycles["totals"][k] for k in ("cycles", "objects", "bytes", "with_finalizers",
                                              "unreachable_objects")]
    assert output(program, "--collector", core, env=environment).split() == list(map(str, figures))


def check_snapshot(program, core, addresses, environment):
    """All that the library tells of a core it tells of its snapshot, in the same process too."""
    for file, options in (("snapshot", ()), ("packed", ("--compress",))):
        tool.ask("save", core, "-o", file, *options)
        for words in ((), ("--walk",), ("--collector",), ("--owners",)):
            asked = addresses if not words else ()
            assert output(program, *words, file, *asked, env=environment) == output(
                program, *words, core, *asked, env=environment), (file, words)
        once = output(program, "--walk", core, env=environment).splitlines()
        assert output(program, "--threads", file, env=environment).splitlines() == once * 20, file


def check_owners(program, core, environment):
    """The same as the command says."""
    text = output(program, "--owners", core, env=environment)
    suspects = tool.ask("suspects", core)["suspects"]
    assert rows(text, "suspect") == [
        [s["owner"], s["address"] or "0x0", str(s["retained_bytes"]), f"{s['share']:.4f}",
         *(str(s["accumulates"][k]) for k in ("type", "count", "bytes"))] for s in suspects]
    top = tool.ask("retained", core, "--top", "--limit", "20")["objects"]
    inside = tool.ask("retained", core, "--under", top[0]["address"], "--limit", "3")["objects"]
    for kind, wanted in (("top", top), ("inside", inside)):
        assert [r[:5] for r in rows(text, kind)] == [
            [o["address"], o["name"], str(o["retained_bytes"]), str(o["retained_objects"]),
             (o["dominator"] or "0x0")[2:]] for o in wanted], text
    for address, *_, holder in rows(text, "top"):
        steps = tool.ask("owners", core, address)["paths"][0]["steps"]
        assert int(holder, 16) == (int(steps[0]["address"], 16) if steps else 0), address
    assert rows(text, "none") == [["2", "none starts at 0x10"]]


@in_empty_directory
def test_a_program_with_the_installed_library():
    root = install()
    core = made.python_core(".")
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{root}{PREFIX}/lib"}
    check_program(build(root, static=False), core, environment)
    check_program(build(root, static=True), core, os.environ)


@in_empty_directory
def test_what_is_installed():
    root = install()
    found = sorted(os.path.relpath(os.path.join(folder, name), root + PREFIX)
                   for folder, _, names in os.walk(root) for name in names)
    version = pkg_config(root, "--modversion")[0]
    in_gdb = [name for name in found if name.startswith("share/coreanalyze/gdb/")]
    assert "share/coreanalyze/gdb/coreanalyze-gdb.py" in in_gdb, found
    assert [name for name in found if name not in in_gdb] == sorted([
        "bin/coreanalyze", "include/coreanalyze.h", "lib/libcoreanalyze.a",
        "lib/libcoreanalyze.so", f"lib/libcoreanalyze.so.{version}",
        "lib/libcoreanalyze.so.0", "lib/pkgconfig/coreanalyze.pc"]), found
    assert output(f"{root}{PREFIX}/bin/coreanalyze", "--version") == f"coreanalyze {version}\n"
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            assert os.path.exists(path), f"{path} leads nowhere"
            with open(path, "rb") as f:
                assert root.encode() not in f.read(), f"{path} names where it was staged"
    library = f"{root}{PREFIX}/lib/libcoreanalyze.so"
    symbols = {line.split()[-1] for line in output("nm", "-D", "--defined-only",
                                                   library).splitlines()}
    symbols = {s.split("@")[0] for s in symbols if not s.startswith(("LIBCOREANALYZE",
                                                                     "COREANALYZE"))}
    assert symbols and all(s.startswith("ca_target_") for s in symbols), symbols


@in_empty_directory
def test_the_header_is_c_and_cxx():
    root = install()
    flags = pkg_config(root, "--cflags")
    for compiler, standard, suffix in (("cc", "c99", "c"), ("cc", "c11", "c"), ("c++", "c++11", "cc")):
        if not shutil.which(compiler):
            continue
        source = made.written(".", f"only.{suffix}", "#include <coreanalyze.h>\n"
                              "#include <coreanalyze.h>\nint main(void) { return 0; }\n")
        output(compiler, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", *flags,
               "-fsyntax-only", source)
