# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that are none, or that cannot be read: the contract's line and status."""

import os
import shutil
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import interpreters     # noqa: E402
import made             # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory    # noqa: E402
from runner import Skip     # noqa: E402


@in_empty_directory
def test_the_second_target_of_a_diff():
    core = made.python_core(".")
    for other in ("missing", "/dev/null"):
        made.check_refused(made.run("diff", core, other), other)
        made.check_refused(made.run("diff", other, core), other)


def refused(target, *words, shown=None):
    """By every command, in text and as JSON, as first and second target."""
    for command in made.commands():
        for form in ([], ["--json"]):
            done = made.run(*made.arguments_of(command, target), *form)
            made.check_refused(done, target if shown is None else shown, *words)


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)
    return name


# ---- no core at all

@in_empty_directory
def test_no_such_file():
    refused("missing", "No such file")
    refused("missing/core", "No such file")
    refused("", "No such file", shown="")


@in_empty_directory
def test_empty_file():
    refused(write("empty", b""), "empty")


@in_empty_directory
def test_directory():
    os.mkdir("directory")
    refused("directory", "directory")


@in_empty_directory
def test_fifo_is_not_waited_for():
    os.mkfifo("fifo")
    refused("fifo", "FIFO")


@in_empty_directory
def test_socket():
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket")
        refused("socket", "socket")


@in_empty_directory
def test_devices():
    for device in ("/dev/null", "/dev/zero", "/dev/full"):
        refused(device, "device")


@in_empty_directory
def test_a_loop_of_links():
    os.symlink("loop", "loop")
    refused("loop")


@in_empty_directory
def test_unreadable_file():
    write("secret", made.elf_header())
    os.chmod("secret", 0)
    os.chmod(".", 0o755)
    # The command may lie where only root can go.
    command = shutil.copy(tool.path(), os.path.join(os.getcwd(), "command"))
    if os.geteuid():
        done = subprocess.run([command, "types", "secret"], stdin=subprocess.DEVNULL,
                              capture_output=True)
    elif shutil.which("setpriv"):
        for folder in (os.getcwd(), os.path.dirname(os.getcwd())):
            os.chmod(folder, 0o755)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               command, "types", "secret"], stdin=subprocess.DEVNULL,
                              capture_output=True)
    else:
        raise Skip("root reads everything, and there is no setpriv")
    made.check_refused(done, "secret", "Permission denied")


@in_empty_directory
def test_not_an_elf_file():
    refused(write("text", b"hello\n" * 100), "not an ELF")
    refused(write("short", b"\x7fEL"), "not an ELF")


@in_empty_directory
def test_compressed():
    for name, magic in (("zstd", b"\x28\xb5\x2f\xfd"), ("lz4", b"\x04\x22\x4d\x18"),
                        ("xz", b"\xfd7zXZ\0"), ("gzip", b"\x1f\x8b\x08")):
        refused(write(name, magic + bytes(100)), name)


@in_empty_directory
def test_programs_and_libraries():
    refused(os.path.realpath("/bin/sleep"), "not a core", "--exe")
    refused(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), "not a core")
    refused(write("object.o", made.elf_header(kind=1, phnum=0)), "object file")
    refused(write("strange", made.elf_header(kind=77)), "not a core")


# ---- cores of others

@in_empty_directory
def test_other_machines():
    cases = {
        "i386": made.elf_header(32, 3), "x32": made.elf_header(32, 62),
        "aarch64": made.elf_header(64, 183), "arm": made.elf_header(32, 40),
        "ppc64": made.elf_header(64, 21, big_endian=True),
        "s390": made.elf_header(64, 22, big_endian=True),
        "riscv": made.elf_header(64, 243), "machine 9999": made.elf_header(64, 9999),
    }
    for name, header in cases.items():
        refused(write("core", header + bytes(200)), name, "x86-64")
    refused(write("core", made.elf_header(32, 3) + bytes(200)), "32-bit")


@in_empty_directory
def test_a_process_that_is_no_python():
    with made.Program("sleeper", shutil.which("sleep"), "600") as sleeper:
        core = made.any_core(sleeper, os.path.abspath("core"))
    refused(core, "Python")


# ---- damaged headers

@in_empty_directory
def test_headers_that_lie():
    core = made.elf_header
    for name, data in {
        "no program headers": core(phnum=0) + bytes(200),
        "headers at the end of the world": core(phoff=2 ** 64 - 8) + bytes(200),
        "extended count without section": core(phnum=0xffff) + bytes(200),
        "nothing but a header": core(),
        "a header of zeros": core() + bytes(56),
    }.items():
        refused(write("core", data))


@in_empty_directory
def test_cut_at_any_length():
    whole = made.python_core(".")
    size = os.path.getsize(whole)
    with open(whole, "rb") as f:
        data = f.read()
    edges = sorted({edge for _, kind, _, offset, _, filesz, _ in made.program_headers(data)
                    for edge in (offset, offset + 1, offset + filesz - 1)})
    end = max(offset + filesz for _, _, _, offset, _, filesz, _ in made.program_headers(data))
    lengths = [1, 4, 16, 20, 63, 64, 65, 119, 120, 2000, 4096, size // 3, size // 2,
               size - 4096, size - 1, *edges[::7]]
    for length in lengths:
        write("cut", data[:length])
        done = made.run("types", "cut", "--json")
        if done.returncode == 3:
            made.check_refused(done, "cut")
            continue
        document = made.check_answer(done)
        # Behind the memory, gdb writes section headers, which nobody needs.
        if length < end:
            assert document["target"]["complete"] is False, length
            assert document["warnings"], f"cut at {length} of {size}: no warning"
        made.check_answer(made.run("info", "cut", "--json"))


@in_empty_directory
def test_without_notes():
    core = made.python_core(".")
    with open(core, "r+b") as f:
        data = f.read()
        for at, kind, *_ in made.program_headers(data):
            if kind == 4:
                f.seek(at)
                f.write(struct.pack("<I", 0))
    done = made.run("types", core, "--json")
    if done.returncode == 3:
        made.check_refused(done, core)
    else:
        assert made.check_answer(done)["warnings"], "no warning"
    made.check_answer(made.run("info", core, "--json")) if not done.returncode else None


@in_empty_directory
def test_program_headers_that_lie():
    """Each of some PT_LOADs in turn: elsewhere, endless, overlapping, backwards."""
    core = made.python_core(".")
    with open(core, "rb") as f:
        data = f.read()
    loads = [(at, vaddr) for at, kind, _, _, vaddr, *_ in made.program_headers(data) if kind == 1]
    fields = {"p_offset": 8, "p_vaddr": 16, "p_filesz": 32, "p_memsz": 40}
    values = (0, 1, 4095, 2 ** 40 + 1, 2 ** 47, 2 ** 63, 2 ** 64 - 1, 2 ** 64 - 4096, loads[0][1])
    with open(core, "r+b") as f:
        for n, (at, _) in enumerate(loads[::max(1, len(loads) // 6)]):
            for name, offset in fields.items():
                for value in values[n % 2::2]:
                    f.seek(at + offset)
                    f.write(struct.pack("<Q", value))
                    f.flush()
                    for command in ("info", "types"):
                        done = made.run(command, core, "--json")
                        if done.returncode == 3:
                            made.check_refused(done, core)
                        else:
                            made.check_answer(done)
                    f.seek(at + offset)
                    f.write(data[at + offset:at + offset + 8])


# ---- Pythons that are not supported

def patch_cookie(core, version=None, free_threaded=None):
    """In _Py_DebugOffsets: the cookie, the version's word, whether it has no GIL."""
    with open(core, "r+b") as f:
        data = f.read()
        at, patched = data.find(b"xdebugpy"), 0
        while at >= 0:
            old, = struct.unpack_from("<Q", data, at + 8)
            if old >> 24 == 3:
                f.seek(at + 8)
                f.write(struct.pack("<Q", version or old))
                if free_threaded is not None:
                    f.write(struct.pack("<Q", free_threaded))
                patched += 1
            at = data.find(b"xdebugpy", at + 1)
    assert patched


@in_empty_directory
def test_free_threaded():
    core = made.python_core(".", python=made.an_interpreter(13, 14, 15))
    patch_cookie(core, free_threaded=1)
    refused(core, "free-threaded", "3.1")


@in_empty_directory
def test_unknown_release():
    core = made.python_core(".", python=made.an_interpreter(13, 14, 15))
    for version, name in ((0x031000f0, "3.16.0"), (0x035d07f0, "3.93.7"), (0x040000a1, "4.0.0a1")):
        patch_cookie(core, version) if version >> 24 == 3 else None
        if version >> 24 == 3:
            refused(core, name, "supported")


# ---- the files that the process had mapped

def own_copy(directory):
    """An interpreter's program, copied: (Interpreter, PYTHONHOME). Static ones come first."""
    found = [i for i in interpreters.chosen() if not i.stripped]
    found.sort(key=lambda i: (i.library is not None, i.path))
    for python in found:
        real = os.path.realpath(python.path)
        with open(real, "rb") as f:
            if f.read(4) != b"\x7fELF":
                continue
        copy = os.path.join(os.path.abspath(directory), "python-of-mine")
        shutil.copy(real, copy)
        home = subprocess.run([real, "-c", "import sys; print(sys.base_prefix)"],
                              capture_output=True, text=True).stdout.strip()
        return interpreters.Interpreter(python.name, copy, python.version, python.library), home
    raise Skip("no interpreter whose program can be copied")


def rows(document):
    return {row["type"]: row for row in document["types"]}


@in_empty_directory
def test_program_replaced_or_deleted():
    python, home = own_copy(".")
    core = made.python_core(".", python=python, options=("-S",), env={"PYTHONHOME": home})
    whole = rows(tool.ask("types", core))
    os.rename(python.path, "kept")
    check_lost(core, whole)
    for other in ("/bin/sleep", "/bin/ls"):
        shutil.copy(other, python.path)
        check_lost(core, whole)
    os.unlink(python.path)
    os.mkfifo(python.path)
    check_lost(core, whole)
    # The right one, wherever it is now; and a wrong one beside it.
    os.mkdir("debug")
    shutil.copy("kept", "debug/python-of-mine")
    for options in (["--exe", "kept"], ["--debug-dir", "debug"]):
        document = made.check_answer(made.run("types", core, "--json", *options))
        assert rows(document) == whole, options
        assert not document["warnings"], document["warnings"]
    for wrong in ("/bin/sleep", "no-such-file", ".", python.path, core):
        check_lost(core, whole, "--exe", wrong)


def check_lost(core, whole, *options):
    """Without the program there is no answer, or one that says what it lacks."""
    done = made.run("types", core, "--json", *options)
    if done.returncode == 3:
        made.check_refused(done, core, "--exe")
        return
    document = made.check_answer(done)
    kinds = {w["kind"] for w in document["warnings"]}
    assert kinds & {"wrong-file", "missing-file", "unproved-file"}, kinds
    sum_of = sum(row["count"] for row in rows(document).values())
    assert sum_of > 0.9 * sum(row["count"] for row in whole.values()), "most objects are lost"


@in_empty_directory
def test_program_deleted_while_it_ran():
    python, home = own_copy(".")
    program = python.path
    with made.cores.Target(python, os.path.abspath("target"), script=made.SUBJECT,
                           options=("-S",), env={"PYTHONHOME": home}) as target:
        target.truth_path()
        shutil.copy(program, "kept")
        os.unlink(program)
        core = made.any_core(target, os.path.abspath("core"))
    whole = rows(tool.ask("types", core, "--exe", "kept"))
    assert whole["builtins.dict"]["count"] > 100
    # gdb dumps what no file has any more.
    if rows(tool.ask("types", core)) != whole:
        check_lost(core, whole)


@in_empty_directory
def test_sysroot():
    core = made.python_core(".")
    whole = tool.ask("types", core)
    for module in tool.ask("info", core)["modules"]:
        if os.path.isfile(module["path"]):
            copy = os.path.join("root", module["path"].lstrip("/"))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy(module["path"], copy)
    assert tool.ask("types", core, "--sysroot", "root") == whole
    # What leads out of it leads nowhere.
    shutil.rmtree("root")
    os.makedirs("root")
    for name in ("usr", "lib", "lib64", "root", "work", "home"):
        os.symlink("../../../../../../../../" + name, os.path.join("root", name))
    for root in ("root", "no-such-directory", core):
        done = made.run("types", core, "--json", "--sysroot", root)
        if done.returncode == 3:
            made.check_refused(done, core)
        else:
            assert made.check_answer(done)["warnings"], root


@in_empty_directory
def test_debug_dir_that_is_none():
    core = made.python_core(".")
    whole = tool.ask("types", core)
    for folder in ("no-such-directory", core, "/dev/null"):
        assert tool.ask("types", core, "--debug-dir", folder) == whole
