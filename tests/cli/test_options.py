# SPDX-License-Identifier: GPL-3.0-or-later
"""Options: what is refused as misuse, where they may stand, what they change."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import made             # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory     # noqa: E402


# ---- misuse

@in_empty_directory
def test_misuse():
    made.check_usage(made.run(), "Usage", "types")
    made.check_usage(made.run("types"), "TARGET")
    made.check_usage(made.run("types", "a", "b"), "too many")
    made.check_usage(made.run("diff", "a"), "BEFORE AFTER")
    made.check_usage(made.run("diff", "a", "b", "c", "d"), "too many")
    made.check_usage(made.run("object", "a"), "ADDR")
    made.check_usage(made.run("no-such-command", "a"), "no-such-command")
    made.check_usage(made.run("types", "a", "--no-such-option"), "--no-such-option")
    made.check_usage(made.run("owners", "a"), "address")
    made.check_usage(made.run("owners", "a", "x"), "no address")
    made.check_usage(made.run("owners", "a", "0x10", "--type", "b"), "not both")
    made.check_usage(made.run("owners", "a", "0x10", "--where", "bytes > 1"), "--type")
    for value in ("", "bytes", "bytes >", "bytes > x", "bytes ~ 1", "size > 1", "bytes > 1 or owned > 1",
                  "bytes > 1 and", "bytes > -1", "and bytes > 1", "bytes > 1 owned > 1"):
        made.check_usage(made.run("owners", "a", "--type", "b", "--where", value), "where")
    for value in ("0", "", "-1", "x", "1000000"):
        made.check_usage(made.run("owners", "a", "0x10", "--all-paths", value), "all-paths")
    made.check_usage(made.run("retained", "a", "--by", "size"), "by")
    made.check_usage(made.run("retained", "a", "--under", "x"), "no address")
    made.check_usage(made.run("retained", "a", "--by", "type", "--under", "0x10"), "--by")
    made.check_usage(made.run("retained", "a", "0x10", "--all"), "--all")
    made.check_usage(made.run("retained", "a", "b"), "no address")
    for option in ("--exe", "--sysroot", "--debug-dir", "--limit", "--sort", "--color",
                   "--progress", "--threads"):
        made.check_usage(made.run("types", "a", option), option)
    for value in ("x", "-1", "", "1x", "99999999999999999999", "0x10"):
        made.check_usage(made.run("types", "a", f"--limit={value}"), "limit")
        made.check_usage(made.run("types", "a", f"--threads={value}"), "threads")
    for option in ("--color", "--progress"):
        for value in ("sometimes", "", "ALWAYS"):
            made.check_usage(made.run("types", "a", f"{option}={value}"), option)
    for value in ("x", "", "-1", "1.5Q", "1 apple", "99999999999E"):
        made.check_usage(made.run("diff", "a", "b", f"--fail-above={value}"), "fail-above")
    for value in ("x", ":1", "x:", "x:y", "x:-1", "x:1y", "", "x:99999999999999999999"):
        made.check_usage(made.run("diff", "a", "b", f"--fail-above-type={value}"),
                         "fail-above-type")


@in_empty_directory
def test_bad_addresses():
    core = made.python_core(".")
    for bad in ("zz", "", "0x", "0xg", "1 2", "0x10 ", " 0x10", "1.5", "١",
                "99999999999999999999999", "0x1ffffffffffffffff", "\x1b[31m"):
        done = made.run("object", core, bad)
        if bad.strip() == "0x10":
            continue
        made.check_usage(done, "ADDR")
        made.check_usage(made.run("object", core, "0x10", bad), "ADDR")


@in_empty_directory
def test_bad_sort_keys():
    core = made.python_core(".")
    for command in ("types", "diff", "report"):
        for key in ("nonsense", "", "COUNT", "\x1b[31m"):
            done = made.run(*made.arguments_of(command, core), f"--sort={key}")
            made.check_usage(done, "sort")


# ---- help

def test_help():
    done = made.run("--help")
    assert done.returncode == 0 and not done.stderr, made.said(done)
    assert b"Example" in done.stdout and made.is_clean(done.stdout)
    for command in made.commands():
        assert re.search(rb"(?m)^  %s\b" % command.encode(), done.stdout), command
        for option in ("--help", "-?"):
            help_ = made.run(command, option)
            assert help_.returncode == 0 and not help_.stderr, made.said(help_)
            assert b"Example: coreanalyze " in help_.stdout, command
            assert made.is_clean(help_.stdout)
    assert re.fullmatch(rb"coreanalyze \d+\.\d+\.\d+\n", made.run("--version").stdout)


@in_empty_directory
def test_examples_of_the_help():
    """They are run, with cores in place of the names that they have."""
    core = made.python_core(".")
    for command in made.commands():
        example, = re.findall(rb"Example: coreanalyze (.*)", made.run(command, "--help").stdout)
        words = [core if w.startswith("core.") else w for w in example.decode().split()]
        done = made.run(*words)
        assert done.returncode == 0 and done.stdout, made.said(done)


# ---- what they do

@in_empty_directory
def test_options_before_and_after():
    core = made.python_core(".")
    wanted = made.run("types", core, "--limit", "3", "--sort", "count", "--json").stdout
    for words in (["types", "--limit", "3", "--sort", "count", "--json", core],
                  ["types", "--limit=3", core, "--json", "--sort=count"],
                  ["types", "--json", "--limit", "3", "--sort", "count", "--", core]):
        assert made.run(*words).stdout == wanted, words
    assert made.run(core).stdout == made.run("report", core).stdout
    assert made.run(core, "--json").stdout == made.run("report", core, "--json").stdout


@in_empty_directory
def test_limit():
    core = made.python_core(".")
    every = tool.ask("types", core, "--limit", "0")
    assert len(every["types"]) > 50
    for limit in (1, 7, len(every["types"]), 10 ** 6):
        document = tool.ask("types", core, "--limit", str(limit))
        assert document["types"] == every["types"][:limit], limit
        assert document["totals"] == every["totals"]
    shown = made.run("types", core, "--limit", "5").stdout.decode()
    assert f"{len(every['types']) - 5} more" in shown, shown
    assert tool.ask("types", core)["types"] == every["types"]
    assert len(tool.ask("diff", core, core, "--limit", "2")["types"]) == 2


@in_empty_directory
def test_sort():
    core = made.python_core(".")
    for key in ("count", "bytes", "owned", "gc_tracked"):
        rows = tool.ask("types", core, "--sort", key)["types"]
        assert rows == sorted(rows, key=lambda r: (-r[key], r["type"])), key
    names = [r["type"] for r in tool.ask("types", core, "--sort", "type")["types"]]
    assert names == sorted(names, key=str.encode)
    rows = tool.ask("types", core)["types"]
    assert rows == sorted(rows, key=lambda r: (-r["bytes"] - r["owned"], r["type"]))
    for key in ("bytes_delta", "count_delta", "new"):
        rows = tool.ask("diff", core, core, "--sort", key)["types"]
        assert rows == sorted(rows, key=lambda r: (-r[key], r["type"])), key


@in_empty_directory
def test_threads_change_nothing():
    core = made.python_core(".")
    for command in made.commands():
        words = [*made.arguments_of(command, core), "--json", "--limit", "0"]
        wanted = made.run(*words, "--threads", "1")
        made.document_of(wanted)
        for threads in ("2", "7", "64", "0"):
            done = made.run(*words, "--threads", threads)
            assert done.stdout == wanted.stdout, f"{words} --threads {threads}"


@in_empty_directory
def test_color():
    core = made.python_core(".")
    for command in made.commands():
        words = made.arguments_of(command, core)
        plain = made.run(*words)
        assert made.is_clean(plain.stdout), command
        assert made.run(*words, "--color", "never").stdout == plain.stdout
        # Not a terminal; and where --color asks for it, NO_COLOR does not undo it.
        colored = made.run(*words, "--color", "always").stdout
        no_color = made.run(*words, "--color", "always",
                            env={**os.environ, "NO_COLOR": "1"}).stdout
        assert colored == no_color
        assert re.sub(rb"\x1b\[[0-9;]*m", b"", colored) == plain.stdout, command
        assert made.run(*words, "--json", "--color", "always").stdout == (
            made.run(*words, "--json").stdout)
    assert b"\x1b[" in made.run("types", core, "--color", "always").stdout


@in_empty_directory
def test_terminal():
    """Colour on a terminal, unless NO_COLOR says otherwise; rows fit its width."""
    core = made.python_core(".")
    for environment, colored in (({}, True), ({"NO_COLOR": "1"}, False),
                                 ({"NO_COLOR": ""}, True)):
        text = on_terminal(["types", core], environment)
        assert (b"\x1b[" in text) == colored, environment
        lines = re.sub(rb"\x1b\[[0-9;]*m", b"", text).decode().splitlines()
        assert any("builtins.dict" in line for line in lines), text


def on_terminal(words, environment):
    main, worker = os.openpty()
    base = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen([tool.path(), *words], stdin=subprocess.DEVNULL, stdout=worker,
                               stderr=subprocess.DEVNULL, env={**base, **environment})
    os.close(worker)
    text = b""
    try:
        while True:
            data = os.read(main, 65536)
            if not data:
                break
            text += data
    except OSError:     # EIO: nobody is at the other end any more
        pass
    os.close(main)
    assert process.wait() == 0
    return text


@in_empty_directory
def test_progress():
    core = made.python_core(".")
    for when in ("auto", "never", "always"):
        done = made.run("types", core, "--progress", when)
        assert done.returncode == 0
        if when != "always":
            assert not done.stderr, made.said(done)


@in_empty_directory
def test_verbose_says_more_on_stderr_only():
    core = made.python_core(".")
    for command in made.commands():
        words = made.arguments_of(command, core)
        for form in ([], ["--json"]):
            done = made.run(*words, *form, "-v")
            assert done.returncode == 0 and made.is_clean(done.stderr), made.said(done)
            assert done.stdout == made.run(*words, *form).stdout


# ---- where it writes

@in_empty_directory
def test_full_disk():
    core = made.python_core(".")
    for command in made.commands():
        for form in ([], ["--json"]):
            with open("/dev/full", "wb") as full:
                done = made.run(*made.arguments_of(command, core), *form, stdout=full)
            assert done.returncode == 4, made.said(done)
            assert b"No space left" in done.stderr, made.said(done)
    with open("/dev/full", "wb") as full:
        assert made.run("--help", stdout=full).returncode == 4


@in_empty_directory
def test_closed_output():
    core = made.python_core(".")
    for command in made.commands():
        words = [*made.arguments_of(command, core), "--json"]
        read, write = os.pipe()
        os.close(read)
        done = made.run(*words, stdout=write)
        os.close(write)
        assert done.returncode != 0, made.said(done)
        assert made.is_clean(done.stderr)
        closed = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", tool.path(), *words],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert closed.returncode == 4 and closed.stderr, closed
