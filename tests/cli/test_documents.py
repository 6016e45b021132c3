# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents hold: keys, warnings, redaction, nothing that steers a terminal."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cores            # noqa: E402
import made             # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory     # noqa: E402

TARGET = {"path", "pid", "exe", "command_line", "python", "build", "arch", "complete"}
KEYS = {
    "report": {"types", "suspects"},
    "info": {"interpreters", "threads", "modules", "mappings", "missing", "layout"},
    "types": {"totals", "types", "trust"},
    "diff": {"same_process", "totals", "types", "owners"},
    "suspects": {"suspects"},
    "owners": {"objects", "paths", "paths_total", "unheld", "weak"},
    "retained": {"totals", "objects", "objects_total"},
    "object": {"objects"},
    "verify": {"objects", "edges", "refcounts", "excess", "excess_total", "trust", "guard_tripped"},
    "gc": {"enabled", "collecting", "generations", "frozen", "garbage", "callbacks", "debug",
           "advice", "interpreters"},
    "cycles": {"totals", "cycles_total", "cycles", "shapes", "program"},
}
LISTS = {
    ("types", "types"): {"type", "count", "bytes", "owned", "gc_tracked", "type_objects",
                         "bytes_exact"},
    ("gc", "generations"): {"threshold", "count", "objects", "collections", "collected",
                            "uncollectable"},
    ("cycles", "cycles"): {"objects", "bytes", "unreachable", "types", "finalizers", "edges",
                           "path", "owner"},
    ("diff", "owners"): {"owner", "address", "type", "count_delta", "bytes_delta", "owned_delta",
                         "new", "length_before", "length_after"},
    ("owners", "paths"): {"address", "type", "count", "owner", "root", "steps"},
    ("retained", "objects"): {"address", "type", "name", "bytes", "owned", "retained_bytes",
                              "retained_objects", "dominator"},
    ("diff", "types"): {"type", "count_before", "count_after", "count_delta", "bytes_before",
                        "bytes_after", "bytes_delta", "new", "freed"},
}


@in_empty_directory
def test_keys():
    core = made.python_core(".")
    for command in made.commands():
        document = made.check_answer(made.run(*made.arguments_of(command, core), "--json"))
        assert document["schema"] == f"coreanalyze.{command}/1"
        assert set(document["target"]) == TARGET, document["target"]
        assert document["warnings"] == [], document["warnings"]
        assert KEYS[command] <= set(document), (command, set(document))
        target = document["target"]
        assert target["path"] == core and target["pid"] > 0 and target["complete"] is True
        assert target["build"] == "default" and target["arch"] == "x86_64"
        assert target["command_line"][-1].endswith("truth"), target
        for (name, key), wanted in LISTS.items():
            if name == command:
                assert all(wanted <= set(row) for row in document[key]), document[key][0]
    totals = tool.ask("diff", core, core)["totals"]
    for side in ("before", "after", "delta"):
        assert set(totals[side]) == {"objects", "bytes", "owned", "arena_bytes", "mapped_bytes"}
    assert set(totals["delta"].values()) == {0}, totals


@in_empty_directory
def test_a_core_against_itself():
    core = made.python_core(".")
    document = tool.ask("diff", core, core, "--limit", "0")
    assert document["same_process"] is True
    for row in document["types"]:
        assert not (row["count_delta"] or row["bytes_delta"] or row["new"] or row["freed"]), row
    counts = {r["type"]: r["count"] for r in tool.ask("types", core, "--limit", "0")["types"]}
    assert {r["type"]: r["count_after"] for r in document["types"]} == counts
    for guard in (["--fail-above", "0"], ["--fail-above-type", "builtins.dict:0"],
                  ["--fail-above-type", "no.such.Type:0"]):
        assert made.run("diff", core, core, *guard).returncode == 0, guard


@in_empty_directory
def test_guards():
    before, after = (made.python_core(name, made.written(".", f"{name}.py", f"""
class Session:
    pass
kept = [Session() for _ in range({count})]
""" + made.WAIT)) for name, count in (("less", 100), ("more", 150)))
    for guard, status in (("__main__.Session:49", 1), ("__main__.Session:50", 0),
                          ("__main__.Session:0", 1), ("Session:0", 0), ("no.Type:0", 0)):
        for form in ([], ["--json"]):
            done = made.run("diff", before, after, "--fail-above-type", guard, *form)
            assert done.returncode == status and not done.stderr, made.said(done)
            assert done.stdout, made.said(done)
        # Fewer is no growth.
        assert made.run("diff", after, before, "--fail-above-type", guard).returncode == 0
    grown = tool.ask("diff", before, after)["totals"]["delta"]
    grown = grown["bytes"] + grown["owned"]
    assert grown > 0
    for size, status in ((grown - 1, 1), (grown, 0), ("1T", 0), (0, 1)):
        done = made.run("diff", before, after, "--fail-above", str(size))
        assert done.returncode == status, made.said(done)
    assert made.run("diff", after, before, "--fail-above", "0").returncode == 0
    # Several guards: one that trips is enough.
    assert made.run("diff", before, after, "--fail-above", "1T", "--fail-above-type", "a:1",
                    "--fail-above-type", "__main__.Session:49").returncode == 1


@in_empty_directory
def test_objects():
    core = made.python_core(".")
    document = tool.ask("object", core, "0x0", "0x10", "16", "0xffffffffffffffff")
    assert [o["address"] for o in document["objects"]] == [
        "0x0", "0x10", "0x10", "0xffffffffffffffff"]
    assert all(set(o) == {"address", "error"} for o in document["objects"])
    found = made.addresses(core, "__main__.Plain")
    assert len(found) > 50
    some = found[:3]
    by_argument = tool.ask("object", core, *some)["objects"]
    assert [o["address"] for o in by_argument] == some
    for one in by_argument:
        assert {"address", "type", "bytes", "owned", "refcount", "gc_tracked", "value"} <= set(one)
        assert one["type"] == "__main__.Plain" and one["gc_tracked"] is True, one
    # stdin: blank lines, spaces, no newline at the end, decimal, what is no address.
    text = f"\n  {some[0]}  \n{int(some[1], 16)}\r\n\nnonsense\n\x1b[31m\n{some[2]}"
    listed = tool.ask("object", core, "-", stdin=text)["objects"]
    assert [o for o in listed if "type" in o] == by_argument
    assert [o["address"] for o in listed if "error" in o] == ["nonsense", "\\x1b[31m"]
    assert tool.ask("object", core, "-", stdin="")["objects"] == []
    mixed = tool.ask("object", core, some[0], "-", some[2], stdin=some[1])["objects"]
    assert mixed == by_argument
    # Inside of an object there is none.
    inside = [hex(int(a, 16) + 8) for a in some]
    assert all("error" in o for o in tool.ask("object", core, *inside)["objects"])
    done = made.run("object", core, "-", input=b"\0\n" + b"0" * 100000 + b"\n\xff\xfe\n")
    assert done.returncode == 0 and made.is_clean(done.stdout), made.said(done)


# ---- what --redact drops

SECRETS = """
SECRET = "s3cret" + "-value"

class Holder:
    def __init__(self):
        self.attribute = SECRET + "-attribute"
        self.number = 987654321987654321

def function():
    pass

def fail():
    try:
        raise ValueError(SECRET + "-argument")
    except ValueError as e:
        return e

kept = [Holder(), fail(), function, {SECRET + "-key": SECRET.encode() + b"-bytes"}]
"""


@in_empty_directory
def test_redact():
    core = made.python_core(".", made.written(".", "secrets.py", SECRETS + made.WAIT),
                            arguments=("s3cret-word",), env={"S3CRET": "s3cret-environment"})
    everything = made.run("object", core, "-", "--json", input="\n".join(
        made.addresses(core, "builtins.str") + made.addresses(core, "builtins.ValueError") +
        made.addresses(core, "builtins.int")).encode())
    assert b"s3cret-value" in everything.stdout and b"987654321987654321" in everything.stdout
    assert b"s3cret-word" in made.run("info", core, "--json").stdout
    names = tool.ask("object", core, "-", stdin="\n".join(
        made.addresses(core, "builtins.function")))["objects"]
    addresses = "\n".join(made.addresses(core, t) for t in ()) or "\n".join(
        a for t in ("str", "int", "bytes", "float", "ValueError", "function", "bool", "NoneType")
        for a in made.addresses(core, f"builtins.{t}"))
    for command in made.commands():
        for form in ([], ["--json"]):
            words = [command, core, "-"] if command == "object" else (
                made.arguments_of(command, core))
            done = made.run(*words, *form, "--redact", input=addresses.encode())
            assert done.returncode == 0, made.said(done)
            assert b"s3cret" not in done.stdout + done.stderr.replace(core.encode(), b""), command
            assert b"987654321987654321" not in done.stdout
    document = tool.ask("info", core, "--redact")
    assert len(document["target"]["command_line"]) == 1
    redacted = tool.ask("object", core, "-", "--redact", stdin=addresses)["objects"]
    values = {o["value"] for o in redacted if o["type"] in (
        "builtins.str", "builtins.int", "builtins.bytes", "builtins.ValueError")}
    assert values == {None}, values
    kept = [o["value"] for o in redacted if o["type"] == "builtins.function"]
    assert any("function" in v for v in kept) and len(kept) == len(names)


# ---- names that others chose

HOSTILE = r'''
import sys

ESCAPES = "\x1b[31m\x1b]0;title\x07 \r\n\t\x7f\x9b31m\u202e\u2066\u200b\ud800\udfff\x00end"

class Plain:
    pass

def named(name, module="m" + ESCAPES):
    kind = type("x", (Plain,), {})
    kind.__qualname__ = name
    kind.__module__ = module
    return kind

kinds = [named(n) for n in (ESCAPES, "", "\n", "\ud800", "a" * 10000, "\u202e" * 5000, "\x1b" * 9,
                            '"quoted\\"', "<script>", "%s%n", "${jndi}")]
kinds += [named("odd", m) for m in ("", None, 7, Plain, "\x1b[2J")]
kinds.append(type(ESCAPES.replace("\0", "").encode("ascii", "ignore").decode(), (), {}))
kinds.append(type("dot.ted", (), {}))

def function():
    pass
function.__qualname__ = "f" + ESCAPES

module = type(sys)("mod" + ESCAPES)
code = compile("pass", "file\x1b[31m\n.py", "exec").replace(co_name="code\x1b[31m") if hasattr(
    compile("0", "f", "exec"), "replace") else None

kept = [[k() for _ in range(3)] for k in kinds]
kept += [function, module, code, "value" + ESCAPES, ESCAPES.encode("utf-8", "surrogatepass"),
         bytearray(b"\x1b[31m"), ValueError(ESCAPES), {ESCAPES: ESCAPES}, ESCAPES * 1000,
         10 ** 5000, -10 ** 30, float("nan"), float("-inf")]
'''


@in_empty_directory
def test_nothing_steers_the_terminal():
    script = made.written(".", "hostile.py", HOSTILE + made.WAIT)
    core = made.python_core(".", script, arguments=("\x1b[31margument\n\x07",))
    odd = os.path.join(os.path.dirname(core), "c\x1b[31m\n\u202eore")
    os.rename(core, odd)
    document = tool.ask("types", odd, "--limit", "0")
    rows = {row["type"]: row["count"] for row in document["types"]}
    assert rows["m" + SAFE + "." + SAFE] == 3, [t for t in rows if "title" in t]
    assert sum(len(t) > 9000 for t in rows) >= 1, "the long name is cut"
    texts = made.addresses(odd, "builtins.str") + made.addresses(odd, "builtins.function")
    for name in list(rows):
        if rows[name] == 3:
            texts += made.addresses(odd, name)[:3]
    for name in ("bytes", "bytearray", "ValueError", "module", "code", "int", "float", "type"):
        texts += made.addresses(odd, f"builtins.{name}")
    for command in made.commands():
        words = [command, odd, "-"] if command == "object" else made.arguments_of(command, odd)
        for form in ([], ["--json"], ["--limit", "0"], ["-v"]):
            done = made.run(*words, *form, input="\n".join(texts).encode())
            assert done.returncode == 0, made.said(done)[:2000]
            assert made.is_clean(done.stdout) and made.is_clean(done.stderr), (command, form)
    made.document_of(made.run("object", odd, "-", "--json", input="\n".join(texts).encode()))
    # And in what is said of files that cannot be used.
    for option in ("--exe", "--sysroot", "--debug-dir"):
        for value in (odd, "no\x1b[31m\nfile"):
            done = made.run("types", odd, option, value)
            assert made.is_clean(done.stdout) and made.is_clean(done.stderr), made.said(done)
    for words in (["types", "no\x1b[31m\n\u202efile"], ["object", odd, "\x1b[31m"],
                  ["types", odd, "--sort", "\x1b[31m"], ["types", odd, "--limit", "\x1b[31m"],
                  ["types", odd, "\x1b[31m"], ["\x1b[31m", odd], ["types", odd, "--color=\x1b[31m"],
                  ["diff", odd, odd, "--fail-above", "\x1b[31m"],
                  ["diff", odd, odd, "--fail-above-type", "\x1b[31m"]):
        done = made.run(*words)
        assert done.returncode in (2, 3), made.said(done)
        assert made.is_clean(done.stdout) and made.is_clean(done.stderr), made.said(done)


SAFE = ("\\x1b[31m\\x1b]0;title\\x07 \\r\\n\\t\\x7f\\u009b31m\\u202e\\u2066\\u200b\\ud800\\udfff"
        "\\x00end")
