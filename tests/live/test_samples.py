# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples leak what they say, and coreanalyze shows exactly that; the
commands that README.md, the samples and --help give can be typed."""

import contextlib
import os
import re
import tempfile

import examples
import interpreters
import tool
from runner import Skip, each_python

MIB = 1 << 20
# Of these there are too few to stand out.
SMALL = ("streams.Connection", "reports.Total")
# An example whose guard trips: a step brings more than it allows.
TRIPS = "--fail-above-type sessions.Session:100"


def check_holder(diff, core, name, holder):
    """Who holds them is found by all three ways; what is small is no suspect."""
    path = tool.ask("owners", core, "--type", name)["paths"][0]
    assert holder in (path["owner"], path["root"]["name"]), path
    assert diff["owners"][0]["owner"].startswith(holder), diff["owners"][0]
    suspects = tool.ask("suspects", core)["suspects"]
    if name in SMALL:
        assert not suspects, suspects
    else:
        assert suspects and suspects[0]["owner"].startswith(holder), suspects


@contextlib.contextmanager
def step(python, sample, planted, holder):
    """What a step of a sample changed: the diff. planted: type -> how many came."""
    with examples.cores_of(python, sample) as directory:
        before, after = (os.path.join(directory, f"{name}.1234") for name in ("before", "after"))
        diff = tool.ask("diff", before, after, "--limit", "0")
        assert diff["same_process"] is True
        rows = {row["type"]: row for row in diff["types"]}
        for name, count in planted.items():
            row = rows.get(name, {})
            # One that the worker itself made anew is another one at another address.
            assert row.get("count_delta") == count == row["new"] - row["freed"] and (
                row["freed"] <= 1), f"{name}: expected {count} new ones: {row}"
        types = tool.ask("types", after, "--limit", "0")
        counts = {row["type"]: row["count"] for row in types["types"]}
        for name in planted:
            assert counts[name] == rows[name]["count_after"], name
        check_holder(diff, after, next(n for n in planted if n.startswith(sample + ".")), holder)
        yield diff, types


def own(document):
    """The first type of a table that is none of builtins or the libraries'."""
    for row in document["types"]:
        if row["type"].split(".")[0] in examples.files().values():
            return row["type"]
    return None


def first(document):
    return document["types"][0]["type"]


@each_python()
def test_sessions(python):
    planted = {"sessions.Session": 20000, "builtins.list": 20000}
    with step(python, "sessions", planted, "sessions.SESSIONS") as (diff, types):
        assert first(diff) in ("builtins.str", "builtins.dict"), first(diff)
        assert own(diff) == own(types) == "sessions.Session"


@each_python()
def test_prices(python):
    planted = {"prices.Price": 10000, "prices.Basket": 5000, "builtins.tuple": 10000}
    with step(python, "prices", planted, "prices.Basket.price") as (diff, types):
        assert own(diff) == own(types) == "prices.Price"


@each_python()
def test_uploads(python):
    planted = {"uploads.Upload": 2000, "builtins.function": 2000, "builtins.cell": 2000,
               "builtins.bytes": 2000}
    with step(python, "uploads", planted, "uploads.FINISHED") as (diff, types):
        assert first(diff) == first(types) == "builtins.bytes"
        assert own(diff) == own(types) == "uploads.Upload"


@each_python()
def test_documents(python):
    planted = {"documents.Document": 2000, "documents.Page": 6000}
    with step(python, "documents", planted, "unreachable") as (diff, types):
        assert own(diff) == own(types) == "documents.Page"


@each_python()
def test_notifications(python):
    planted = {"notifications.Notification": 2000, "_asyncio.Task": 2000,
               "_asyncio.Future": 2000, "builtins.coroutine": 2000}
    with step(python, "notifications", planted, "notifications.WAITING") as (diff, types):
        assert own(diff) == own(types) == "notifications.Notification"
        grown = {row["type"] for row in diff["types"][:3]}
        assert "_asyncio.Task" in grown, grown


@each_python()
def test_orders(python):
    planted = {"orders.Order": 5000, "orders.Rejected": 5000, "builtins.traceback": 10000}
    with step(python, "orders", planted, "orders.FAILURES") as (diff, types):
        assert first(diff) == "builtins.frame", first(diff)
        assert own(types) == "orders.Rejected"
        # One for each call that failed, one for the loop that called.
        frames = diff["types"][0]["count_delta"]
        assert frames == 5001, frames


@each_python()
def test_streams(python):
    """The objects hardly grow, the process does."""
    planted = {"zlib.Compress": 100, "streams.Connection": 100}
    with step(python, "streams", planted, "streams.CONNECTIONS") as (diff, _):
        delta = diff["totals"]["delta"]
        assert delta["mapped_bytes"] > 100 * 250000, delta
        assert delta["bytes"] + delta["owned"] < 100000, delta
        assert delta["arena_bytes"] <= MIB, delta
        assert own(diff) == "streams.Connection"


@each_python()
def test_reports(python):
    """The arenas grow, what is in them does not."""
    with step(python, "reports", {"reports.Total": 200}, "reports.TOTALS") as (diff, _):
        delta = diff["totals"]["delta"]
        assert delta["arena_bytes"] > 10 * MIB, delta
        assert delta["bytes"] + delta["owned"] < 100000, delta
        assert own(diff) == "reports.Total"


@each_python()
def test_reports_again(python):
    """A second spike uses the arenas of the first."""
    with tempfile.TemporaryDirectory() as directory:
        with examples.Worker(python, directory, "reports", "--steps", "1") as worker:
            before = worker.gcore("before")
            worker.grow()
            diff = tool.ask("diff", before, worker.gcore("after"), "--limit", "0")
    delta = diff["totals"]["delta"]
    assert abs(delta["arena_bytes"]) <= 2 * MIB, delta


@each_python()
def test_options(python):
    """--amount and --steps say how much there is."""
    with tempfile.TemporaryDirectory() as directory:
        with examples.Worker(python, directory, "documents", "--amount", "7",
                             "--steps", "3") as worker:
            types = tool.ask("types", worker.gcore("core"), "--limit", "0")
    counts = {row["type"]: row["count"] for row in types["types"]}
    assert (counts["documents.Document"], counts["documents.Page"]) == (21, 63), counts


# ---- what is written down

def table(lines):
    """The rows of a text table by their first cell, each {heading: cell}."""
    headings, rows = [], {}
    for line in lines:
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0].isupper() and len(cells) > 1:
            headings = cells
        elif len(cells) == len(headings):
            rows[cells[0]] = dict(zip(headings, cells))
    return rows


def are_near(wanted: str, got: str | None) -> bool:
    """A string or two of an owner's may be the interpreter's as well, in whatever run."""
    return got is not None and abs(int(wanted.replace(",", "")) - int(got.replace(",", ""))) <= 3


def check_example(example, directory, address, sample):
    """It can be typed; its headings, and the sample's counts, are as written."""
    done = examples.run(example, directory, address)
    expected = 1 if TRIPS in example.command else 0
    assert done.returncode == expected, f"{example.command}: {done.returncode}\n{done.stderr}"
    assert not done.stderr, f"{example.command}: {done.stderr}"
    written, printed = table(example.output), table(done.stdout.split("\n"))
    for name, row in written.items():
        if name.startswith(sample + "."):
            for heading in ("BEFORE", "AFTER", "COUNT", "NEW", "FREED"):
                wanted, got = row.get(heading), printed.get(name, {}).get(heading)
                assert wanted == got or ("OWNER" in row and are_near(wanted, got)), f"{example.command}: {name}: {wanted} is written, {got} printed"
            assert row.keys() == printed[name].keys(), f"{example.command}: other columns"


def interpreter():
    """The one that the examples were made on, or another."""
    chosen = interpreters.chosen()
    if not chosen:
        raise Skip("no interpreter")
    return next((i for i in chosen if i.name.startswith(examples.MADE_ON)), chosen[0])


def test_examples_of_the_samples():
    for path, sample in examples.files().items():
        found = examples.find(examples.read(path))
        if os.path.basename(path) == "README.md":
            continue
        assert found, f"{path} has no example"
        with examples.cores_of(interpreter(), sample) as directory:
            for example in found:
                check_example(example, directory, "", sample)


def test_examples_of_the_readme():
    found = examples.find(examples.read(os.path.join(examples.ROOT, "README.md")))
    for command in ("info", "types", "diff", "object"):
        assert any(f"coreanalyze {command} " in e.command for e in found), command
    sample = examples.README_SAMPLE
    with examples.cores_of(interpreter(), sample) as directory:
        address = examples.address_of(os.path.join(directory, "core.1234"), "sessions.Session")
        for example in found:
            check_example(example, directory, address, sample)


def test_examples_of_help():
    """Each command's help ends with a command line that works."""
    commands = re.findall(r"^  (\w+) +[A-Z]", tool.run("--help").stdout, re.M)
    assert {"report", "info", "types", "diff", "object"} <= set(commands), commands
    commands.remove("capture")      # of a process, which is none here
    with examples.cores_of(interpreter(), examples.README_SAMPLE) as directory:
        for name, real in (("core.1", "before.1234"), ("core.2", "after.1234")):
            os.symlink(real, os.path.join(directory, name))
        address = examples.address_of(os.path.join(directory, "core.1234"), "sessions.Session")
        for command in commands:
            check_help(command, directory, address)


def check_help(command, directory, address):
    # Lines are broken where the terminal ends: not here.
    os.environ["ARGP_HELP_FMT"] = "rmargin=500"
    done = tool.run(command, "--help")
    assert done.returncode == 0, f"{command} --help: {done.returncode}"
    lines = re.findall(r"^Example: (coreanalyze .*)$", done.stdout, re.M)
    assert lines, f"{command} --help has no example"
    for line in lines:
        check_example(examples.Example(line, [], range(0)), directory, address, "sessions")
