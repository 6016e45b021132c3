# SPDX-License-Identifier: GPL-3.0-or-later
"""References, roots and reference counts, against gc and sys of the process itself."""

import json
import os
import re
import tempfile
from collections import Counter

import cores
import extension
import tool
from runner import Skip, each_python

# Says of what it holds, and waits. Results go to OUT.1 (OUT: the first argument).
SUBJECT = """
import functools, gc, json, os, sys, threading

class Node:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

class Slotted:
    __slots__ = ("left", "right")

def outer(value):
    def inner():
        return value
    return inner

slotted = Slotted()
slotted.left, slotted.right = ["left"], ("right", 1)
closure = outer(["captured"])
node = Node(child=Node(), items=[["a"], ["b"]], table={"key": ["x"], 3: ["y"]})
node.child.parent = node
partial = functools.partial(outer, ["argument"])
kept = [slotted, closure, closure.__closure__, closure.__closure__[0], node, node.child,
        node.items, node.table, partial, {frozenset([1, 2]), "member"}, Node, outer]

secret = {"pass" + "phrase-1": "s3" + "cret", "attribute_like": 1}
many = [object() for i in range(500)]
many += many[:40] + [many]

def waiting(out, marker):
    kept_by_frame = ["only here"]
    mine = {"address": hex(id(kept_by_frame)), "node": hex(id(node)),
            "secret": hex(id(secret["passphrase-1"])), "dict": hex(id(secret)),
            "child": hex(id(node.child)),
            "captured": hex(id(closure.__closure__[0].cell_contents)),
            "cell": hex(id(closure.__closure__[0])), "x": hex(id(node.table["key"])),
            "many": hex(id(many)), "all": [hex(id(o)) for o in many]}
    gc.collect()
    gc.disable()
    referents = {hex(id(o)): [hex(id(r)) for r in gc.get_referents(o)] for o in kept}
    with open(out + ".new", "w") as f:
        json.dump({"referents": referents, "mine": mine}, f)
    os.rename(out + ".new", out + ".1")
    sys.stdin.readline()
    return kept_by_frame, marker

waiting(sys.argv[1], object())
"""

LEAKY = """
import os
import sys

try:
    from leaky import leak
except ImportError:     # no headers to build it with
    import ctypes

    def leak(o, times):
        for _ in range(times):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(o))

class Victim:
    pass

victims = [Victim() for i in range(30)]
for victim in victims:
    leak(victim, 7)
leak(Victim(), 1)     # nothing refers to it any more
with open(sys.argv[1] + ".new", "w") as f:
    f.write("{}")
os.rename(sys.argv[1] + ".new", sys.argv[1] + ".1")
sys.stdin.readline()
"""

LEAKY_C = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Forgets Py_DECREF, as often as it is told. */
static PyObject *leak(PyObject *self, PyObject *args)
{
	PyObject *object;
	int times;

	(void)self;
	if (!PyArg_ParseTuple(args, "Oi", &object, &times))
		return NULL;
	while (times--)
		Py_INCREF(object);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"leak", leak, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "leaky", NULL, -1, methods,
					NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_leaky(void)
{
	return PyModule_Create(&definition);
}
"""

# Of 100 counts so many are explained in a quiet process.
EXPLAINED = 99.9


def dumped(python, directory: str, text: str, env=None):
    script = os.path.join(directory, "subject.py")
    with open(script, "w") as f:
        f.write(text)
    with cores.Target(python, os.path.join(directory, "target"), script=script,
                      env=env) as target:
        truth = target.truth()
        try:
            return target.core("gcore", os.path.join(directory, "core")), truth
        except cores.Unavailable as e:
            raise Skip(str(e))


def check_referents(core: str, truth: dict) -> None:
    asked = "\n".join(truth["referents"])
    for one in tool.ask("object", core, "-", stdin=asked)["objects"]:
        found = Counter(r["address"] for r in one["referents"] if r["gc"])
        assert found == Counter(truth["referents"][one["address"]]), one


def ways(one: dict, name: str) -> set:
    return {r["via"] for r in one[name]}


def check_ways(core: str, mine: dict) -> None:
    local, node, child, captured, x = tool.ask(
        "object", core, *(mine[k] for k in ("address", "node", "child", "captured", "x")))["objects"]
    held = [r for r in local["referrers"] if "'kept_by_frame' in waiting() at " in r["via"]]
    assert held and "subject.py:" in held[0]["via"], local["referrers"]
    assert "['key']" in ways(x, "referrers"), x["referrers"]
    assert [r for r in captured["referrers"]
            if r["via"] == ".cell_contents" and r["address"] == mine["cell"]], captured
    for one, name in ((child, "child"), (node, "parent")):
        assert ways(one, "referrers") & {"." + name, f"['{name}']"}, one["referrers"]


def check_ways_of_a_large_object(core: str, mine: dict) -> None:
    expected = {address: ["[%d]" % i for i, a in enumerate(mine["all"]) if a == address]
                for address in mine["all"][:60] + mine["all"][-1:]}
    for one in tool.ask("object", core, *expected)["objects"]:
        found = [r["via"] for r in one["referrers"] if r["address"] == mine["many"]]
        assert found == expected[one["address"]], (one, found)


def check_redaction(core: str, mine: dict) -> None:
    for one in tool.ask("object", core, mine["dict"], mine["secret"], "--redact")["objects"]:
        said = json.dumps(one)
        assert "passphrase" not in said and "[str #12]" in said, one
        assert "s3cret" not in said
    assert "['passphrase-1']" in json.dumps(tool.ask("object", core, mine["dict"]))


def check_limits(core: str, truth: dict) -> None:
    node = truth["mine"]["node"]
    whole = tool.ask("object", core, node, "--limit", "0")["objects"][0]
    assert len(whole["referrers"]) == whole["referrers_total"] > 1
    cut = tool.ask("object", core, node, "--limit", "1")["objects"][0]
    assert cut["referrers"] == whole["referrers"][:1]
    assert cut["referents"] == whole["referents"]
    brief = tool.ask("object", core, node, "--brief")["objects"][0]
    assert not {"referents", "referrers"} & set(brief)


def check_counts(core: str) -> None:
    document = tool.ask("verify", core, "--threads", "1")
    counts = document["refcounts"]
    assert counts["explained"] <= counts["checked"] <= document["objects"]
    assert counts["ratio"] >= counts["ratio_without_static"]
    assert 100 * counts["ratio"] >= EXPLAINED, counts
    for threads in ("2", "4"):
        assert tool.ask("verify", core, "--threads", threads) == document


def check_stack(core: str) -> None:
    """What the C code that reads a line holds is found on its stack."""
    pid = tool.ask("info", core)["target"]["pid"]
    held = {r["type"]: r["stack"] for r in tool.ask("verify", core, "--limit", "0")["excess"]}
    assert held["builtins.memoryview"] == f"thread {pid}", held


def check_cost(core: str, mine: dict) -> None:
    """-v: what a node and an edge take, in one direction or both, which few questions need not."""
    document = tool.ask("verify", core)
    for words, node, edge in ((("verify", core), 8, 5), (("object", core, mine["node"]), 8, 5),
                              (("object", core, *[mine["node"]] * 3), 16, 9)):
        said = tool.run(*words, "-v").stderr
        nodes, edges = re.search(rf"graph of (\d+) nodes, at {node} bytes each, and (\d+) edges, "
                                 rf"at {edge} bytes", said).groups()
        assert int(nodes) > document["objects"] and int(edges) > document["edges"], said


@each_python()
def test_references(python):
    with tempfile.TemporaryDirectory() as directory:
        core, truth = dumped(python, directory, SUBJECT)
        check_referents(core, truth)
        check_ways(core, truth["mine"])
        check_ways_of_a_large_object(core, truth["mine"])
        check_redaction(core, truth["mine"])
        check_limits(core, truth)
        check_counts(core)
        check_stack(core)
        check_cost(core, truth["mine"])


@each_python()
def test_planted_leak(python):
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(directory, "leaky.c")
        with open(source, "w") as f:
            f.write(LEAKY_C)
        try:
            env = extension.build(python, directory, "leaky", source)
        except cores.Unavailable:
            env = None
        core, _ = dumped(python, directory, LEAKY, env)
        document = tool.ask("verify", core)
        excess = {r["type"]: r for r in document["refcounts"]["excess_by_type"]}
        assert excess["__main__.Victim"] == {
            "type": "__main__.Victim", "objects": 31, "references": 211}, excess
        most = [r for r in document["excess"] if r["type"] == "__main__.Victim"]
        assert [r["references"] for r in most] == [7] * 30 + [1], most
        leaked = tool.ask("object", core, most[-1]["address"])["objects"][0]
        assert [r["root"] for r in leaked["referrers"]] == ["leaked"], leaked
        assert tool.run("verify", core, "--min-explained", "100").returncode == 1
        assert tool.run("verify", core, "--min-explained", "50").returncode == 0
