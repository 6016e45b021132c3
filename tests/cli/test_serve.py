# SPDX-License-Identifier: GPL-3.0-or-later
"""`serve`: the answers are the command line's, and nothing ends it but its input."""

import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import made             # noqa: E402
import tool             # noqa: E402
from made import in_empty_directory     # noqa: E402
import serving          # noqa: E402
from serving import Server      # noqa: E402


@in_empty_directory
def test_answers_of_the_command_line():
    core = made.python_core(".")
    with Server(core) as server:
        helped = re.findall(r"(?m)^  ([a-z]+) ", tool.run("--help").stdout)
        asked = {c["name"] for c in server.ask("commands")["commands"]}
        assert asked == set(made.commands()) and asked < set(helped), (asked, helped)
        for command in set(helped) - asked:
            assert server.refused(command)["why"] == "no such command", command
        for command in made.commands():
            name, _, *words = made.arguments_of(command, core)
            wanted = tool.ask(name, core, *words)
            for _ in range(2):
                assert server.ask(name, *words) == wanted, (name, words)
            more = ["--limit", "3", "--threads=1", "--redact"]
            assert server.ask(name, *words, *more) == tool.ask(name, core, *words, *more), name
            assert server.ask(name, *words, form="text") == tool.run(name, core, *words).stdout
        address = made.addresses(core, "builtins.dict")[0]
        for command in made.commands():
            for name, _, *words in made.more_arguments_of(command, core, address):
                wanted = tool.run(name, core, *words)
                assert wanted.returncode == 0, wanted
                assert server.ask(name, *words, form="text") == wanted.stdout, (name, words)
        narrow = server.ask("types", form="text", width=60)
        assert max(len(line) for line in narrow.splitlines()[1:8]) <= 60, narrow
        assert "\x1b[1m" in server.ask("types", form="text", color=True)
        assert server.end() == 0


@in_empty_directory
def test_misuse_ends_the_question_only():
    core = made.python_core(".")
    with Server(core) as server:
        assert "--nope" in server.refused("types", "--nope")["why"]
        assert "--limit" in server.refused("types", "--limit")["why"]
        assert "limit" in server.refused("types", "--limit=x")["why"]
        server.refused("types", core)
        server.refused("types", "--help")
        server.refused("types", "--sort=x")
        server.refused("types", "--exe=/x")
        server.refused("object")
        server.refused("object", "-")
        server.refused("object", "zz")
        server.refused("owners")
        server.refused("owners", "0x10", "--type=builtins.dict")
        server.refused("retained", "0x10")
        server.refused("retained", "0x10", "--top")
        server.refused("diff")
        server.refused("diff", "nobody")
        server.refused("diff", "--fail-above-type=x")
        for _ in range(70):
            server.refused("diff", ".", *["--fail-above-type=x:1"] * 65)
        server.refused("serve")
        server.refused("")
        server.refused("\x1b[31m")
        server.refused("open", "b")
        server.refused("open", "b", "/no/such/file", status=3)
        server.refused("open", "b", "/etc/passwd", status=3)
        for name in ("", ".", "x" * 65, "\n"):
            server.refused("open", name, core)
        server.refused("close", "b")
        guard = server.answer("diff", ".", "--fail-above-type=builtins.dict:0")
        assert guard["ok"] and guard["status"] == 0, guard
        assert server.ask("types") == tool.ask("types", core)


@in_empty_directory
def test_lines_that_are_no_questions():
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    core = made.python_core(".")
    with Server(core) as server:
        bad = [b"x", b"{", b"[]", b"1", b'"x"', b"null", b"{}", b'{"id": 1}', b"\xff\xfe",
               b'{"id": [], "command": "types"}', b'{"command": 1}', b'{"command": "types\\u0000"}',
               b'{"command": "types", "args": "x"}', b'{"command": "types", "args": [1]}',
               b'{"command": "types", "form": "html"}', b'{"command": "types", "width": -1}',
               b'{"command": "types", "width": 99999999999999999999999}', b"[" * 100000,
               b'{"id": "' + b"x" * 300 + b'", "command": "types"}', b"\0" * 10, b'{"cancel": {}}',
               b'{"command": "types", "command": "info"}', b"x" * (3 << 20)]
        for _ in range(100):
            bad.append(bytes(rng.choice(b'{}[]",:\\ux01etypesidcomman') for _ in range(40)))
        for line in bad:
            server.say(line)
            said = server.hear()
            assert not said["ok"], (seed, line[:100], said)
        server.say(b"")
        server.say(b'{"cancel": "nobody"}')
        assert server.ask("types") == tool.ask("types", core)
        server.process.stdin.write(b'{"id": 99, "command": "info"}')    # no newline
        assert server.end() == 0
        assert server.hear()["id"] == 99


@in_empty_directory
def test_two_targets():
    core = made.python_core(".")
    os.mkdir("other")
    other = made.python_core("other")
    with Server(core) as server:
        server.ask("open", "b", other)
        expected = tool.ask("diff", core, other)
        for words in (("b",), (".", "b"), (core, "b")):
            assert server.ask("diff", *words) == expected
        assert server.ask("diff", "b", ".") == tool.ask("diff", other, core)
        server.ask("keep", "a")
        server.ask("refresh")
        assert server.ask("diff", "a", "b") == expected
        assert server.ask("diff", "a", ".")["totals"]["delta"]["objects"] == 0
        assert sorted(t["name"] for t in server.ask("targets")["targets"]) == ["a", "b"]
        server.ask("close", "b")
        server.refused("diff", "b")
        server.ask("open", "a", other)
        assert server.ask("diff", "a") == expected


@in_empty_directory
def test_cancel():
    core = made.python_core(".")
    with Server(core) as server:
        wanted = server.ask("types")
        keeper = server.keeper()
        os.kill(keeper, signal.SIGSTOP)
        first, second, third = (server.send("types") for _ in range(3))
        server.say(b'{"cancel": %d}' % second)
        said = server.hear()
        assert said["id"] == second and said["error"]["what"] == "cancelled", said
        server.say(b'{"cancel": %d}' % first)
        time.sleep(0.1)
        os.kill(keeper, signal.SIGCONT)
        said = server.hear()
        assert said["id"] == first and said["error"]["what"] == "cancelled", said
        said = server.hear()
        assert said["id"] == third and said["document"] == wanted
        # At any moment; an answer that was already there is as good.
        for i in range(30):
            asked = server.send("types")
            time.sleep(i / 5000)
            server.say(b'{"cancel": %d}' % asked)
            said = server.hear()
            assert said["id"] == asked
            assert said["ok"] or said["error"]["what"] == "cancelled", said
        assert server.ask("types") == wanted


@in_empty_directory
def test_a_death_inside():
    core = made.python_core(".")
    with Server(core) as server:
        wanted = server.ask("types")
        for i in range(10):
            server.ask("targets")
            asked = server.send("types")
            time.sleep(i / 2000)
            for child in serving.children(server.process.pid):
                os.kill(child, signal.SIGKILL)
            said = server.hear()
            assert said["id"] == asked and (said["ok"] or said["error"]["status"] == 4), said
        assert server.ask("types") == wanted
        server.process.kill()
        server.process.wait()


@in_empty_directory
def test_start_and_end():
    core = made.python_core(".")
    for target in ("/no/such/file", "/etc/passwd"):
        done = tool.run("serve", target, stdin="")
        assert done.returncode == 3 and done.stderr.startswith(f"coreanalyze: {target}: "), done
        assert not done.stdout
    assert tool.run("serve", core, stdin="").returncode == 0
    for words in (["--mem-fd", "99"], ["--mem-fd=x", "--maps-fd=0"], ["--mem-fd=0"]):
        assert tool.run("serve", core, *words, stdin="").returncode == 2
    with Server(core) as server:
        server.ask("info")
        server.process.send_signal(signal.SIGINT)
        os.kill(server.keeper(), signal.SIGINT)
        server.ask("types")
        keeper = server.keeper()
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + 60
        while os.path.exists(f"/proc/{keeper}/exe") and time.monotonic() < end:
            time.sleep(0.01)
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(keeper)], capture_output=True, text=True)
        assert state.stdout.strip()[:1] in ("", "Z"), "the keeper outlived its front"
