#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the layout tables of coreanalyze/runtime/layouts/ (needs Python 3.11).

  dump   an interpreter's headers and debug information -> a full dump (needs gcc and gdb)
  trim   full dumps -> tools/dumps/RELEASE.json, only what layout.def names
  check  full dumps -> do the tables say the same of those releases?
  make   tools/dumps, layout-facts.json and layout.def -> layouts/cp*.def, tables.def

Only `dump` needs interpreters; `make` gives the same bytes anywhere.
A dump is {"release", "vendor", "how", "structs": {name: {"size", "f": {member: where}}}}.
In a trimmed dump a member that the release lacks is null; a structure that is
not listed is unknown (a header does not show it), and layout-facts.json must
settle it. A release is written "3.13.5", a vendor's build of it "3.13.5:debian".
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "coreanalyze" / "runtime"
TOOLS = ROOT / "tools"
ABSENT = -1
# Headers that are for other systems, or hold tables and no structure, or want
# a macro defined before they are included.
SKIP_HEADERS = re.compile(
    r"windows|emscripten|opcode_metadata|uop_metadata|uop_ids|_jit|jit_stencils|asdl|_ast_state"
    r"|crossinterp_data_registry|blocks_output_buffer|magic_number|mimalloc/"
)
# Modules with structures that layout.def names, where they are not built in.
MODULES = ("_collections", "_ctypes", "_decimal", "_elementtree", "_pickle", "_queue", "_struct", "_zoneinfo",
           "array", "parser")


def fail(message: str) -> None:
    sys.exit(f"layouts.py: {message}")


# ---- layout.def ---------------------------------------------------------


@dataclass
class Struct:
    name: str
    types: list[str]  # names in C, newest first
    fields: dict[str, list[str]] = field(default_factory=dict)  # ours -> members in C


def read_definition() -> tuple[list[Struct], list[str]]:
    structs: list[Struct] = []
    consts: list[str] = []
    line = re.compile(r'^(STRUCT|FIELD|CONST)\((\w+), (?:(\w+), )?"([^"]*)"\)$', re.M)
    for kind, first, second, text in line.findall((RUNTIME / "layout.def").read_text()):
        if kind == "STRUCT":
            structs.append(Struct(first, text.split("|")))
        elif kind == "FIELD":
            if structs[-1].name != first:
                fail(f"layout.def: FIELD({first}, {second}) stands outside its STRUCT")
            structs[-1].fields[second] = text.split("|")
        else:
            consts.append(first)
    return structs, consts


# ---- dump ---------------------------------------------------------------

ASK = """
import json, sys, sysconfig
get = sysconfig.get_config_var
print(json.dumps({"include": get("INCLUDEPY"), "flags": get("PY_CORE_CFLAGS") or "",
    "libdir": get("LIBDIR"), "lib": get("INSTSONAME"), "modules": get("DESTSHARED"),
    "shared": bool(get("Py_ENABLE_SHARED")), "exe": sys.executable}))
"""


def ask_interpreter(python: Path) -> dict:
    if python.is_dir():
        python = python / "bin" / "python3"
    return json.loads(subprocess.check_output([str(python), "-I", "-c", ASK], text=True))


def release_of_headers(include: Path) -> str:
    text = (include / "patchlevel.h").read_text()
    return re.search(r'^#define PY_VERSION\s+"(\d+\.\d+\.\d+)', text, re.M)[1]


def run_gdb(target: Path, names: list[str] | None, work: Path) -> dict:
    out = work / "gdb.json"
    out.unlink(missing_ok=True)
    command = ["gdb", "-nx", "-batch", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off",
               "-ex", f"python OUT={str(out)!r}", "-ex", f"python NAMES={names!r}",
               "-x", str(TOOLS / "layouts_gdb.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not out.exists():
        fail(f"gdb on {target}: {done.stderr.strip()}")
    return json.loads(out.read_text())


def compile_headers(include: Path, flags: list[str], work: Path) -> Path:
    """One translation unit with every internal header; drops those that do not compile alone."""
    internal = sorted(p for p in (include / "internal").rglob("*.h")
                      if not SKIP_HEADERS.search(str(p.relative_to(include))))
    headers = ["Python.h", "frameobject.h"] + [str(p.relative_to(include)) for p in internal]
    directories = [include, include / "internal", include / "internal" / "mimalloc", include.parent]
    while True:
        unit = work / "unit.c"
        unit.write_text("".join(f'#include "{h}"\n' for h in headers) + "int layout_marker;\n")
        command = ["gcc", "-c", "-g", "-w", "-fno-eliminate-unused-debug-types", "-DPy_BUILD_CORE", *flags,
                   *(f"-I{d}" for d in directories if d.exists()), str(unit), "-o", str(work / "unit.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return work / "unit.o"
        blamed = {int(n) for n in re.findall(r"unit\.c:(\d+)", done.stderr)} & set(range(3, len(headers) + 1))
        if not blamed:
            fail(f"headers of {include} do not compile:\n{done.stderr}")
        worst = min(blamed)
        print(f"  left out: {headers[worst - 1]}", file=sys.stderr)
        del headers[worst - 1]


def merge_debug_info(shapes: dict, found: dict, origin: str) -> int:
    """Adds structures that no header has; where both know one they must agree."""
    added = 0
    for name, shape in found.items():
        if name not in shapes:
            shapes[name] = shape
            added += 1
        elif shapes[name] != shape:
            fail(f"{name}: headers and {origin} disagree: {differences(shapes[name], shape)}")
    return added


def differences(a: dict, b: dict) -> str:
    parts = [f"size {a['size']} {b['size']}"] if a["size"] != b["size"] else []
    for member in sorted(a["f"].keys() | b["f"].keys()):
        if a["f"].get(member) != b["f"].get(member):
            parts.append(f"{member} {a['f'].get(member)} {b['f'].get(member)}")
    return ", ".join(parts[:8])


def binaries_with_types(about: dict, extra: list[str]) -> list[Path]:
    main = Path(about["libdir"]) / about["lib"] if about["shared"] else Path(about["exe"])
    modules = Path(about["modules"] or "/nonexistent")
    shared = [p for name in MODULES for p in sorted(modules.glob(f"{name}.*"))]
    return [p for p in [Path(e) for e in extra] or [main, *shared] if p.exists()]


def has_debug_info(binary: Path) -> bool:
    sections = subprocess.check_output(["readelf", "-SW", str(binary)], text=True,
                                       stderr=subprocess.DEVNULL)
    return ".debug_info" in sections


def command_dump(args: argparse.Namespace) -> None:
    about = ask_interpreter(args.python)
    include = args.include or Path(about["include"])
    defines = [f for f in about["flags"].split() if f.startswith("-D")] + args.flag
    names = [n for s in read_definition()[0] for n in s.types]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        shapes = run_gdb(compile_headers(include, defines, work), None, work)
        seen = []
        for binary in binaries_with_types(about, args.debug):
            if has_debug_info(binary):
                found = run_gdb(binary, names, work)
                added = merge_debug_info(shapes, found, binary.name)
                seen.append(binary.name)
                print(f"  {binary.name}: {len(found)} structures, {added} in no header", file=sys.stderr)
    how = " ".join(["headers", *args.flag]) + (" and debug information of " + " ".join(seen) if seen else "")
    dump = {"release": release_of_headers(include), "vendor": args.vendor, "how": how, "structs": shapes}
    args.output.write_text(json.dumps(dump, sort_keys=True))


# ---- trim ---------------------------------------------------------------


def release_key(dump: dict) -> str:
    return dump["release"] + (f":{dump['vendor']}" if dump["vendor"] else "")


def find_shape(shapes: dict, types: list[str]) -> tuple[str, dict] | None:
    return next(((t, shapes[t]) for t in types if t in shapes), None)


def trimmed_text(dump: dict, structs: list[Struct]) -> str:
    lines = []
    for struct in structs:
        known = find_shape(dump["structs"], struct.types)
        if not known:
            continue
        name, shape = known
        members = {m: shape["f"].get(m) for ms in struct.fields.values() for m in ms}
        offsets = {m: where[0] if where else None for m, where in members.items()}
        lines.append(f'{json.dumps(name)}: {json.dumps({"size": shape["size"], "f": offsets})}')
    head = "".join(f"{json.dumps(k)}: {json.dumps(dump[k])},\n" for k in ("release", "vendor", "how"))
    return "{\n" + head + '"structs": {\n' + ",\n".join(lines) + "\n}\n}\n"


def command_trim(args: argparse.Namespace) -> None:
    structs, _ = read_definition()
    for path in args.dumps:
        dump = json.loads(path.read_text())
        name = release_key(dump).replace(":", "-") + ".json"
        (TOOLS / "dumps" / name).write_text(trimmed_text(dump, structs))


# ---- make ---------------------------------------------------------------

Table = dict[tuple[str, str], int]  # (structure, field) -> offset, ABSENT or constant


def in_releases(release: str, spec: str) -> bool:
    """Is 3.13.5 in "3.8-3.9 3.13.1-3.13.11 3.15"? A bare minor means all of it."""
    want = tuple(int(n) for n in release.split(":")[0].split("."))
    for part in spec.split():
        first, _, last = part.partition("-")
        low = tuple(int(n) for n in first.split("."))
        high = tuple(int(n) for n in (last or first).split("."))
        if want[: len(low)] >= low and want[: len(high)] <= high:
            return True
    return False


def micro_of(release: str) -> tuple[int, str]:
    return int(release.split(":")[0].split(".")[2]), release


def releases_in(spec: str) -> list[str]:
    """All of "3.8.0-3.8.2 3.8.4:debian"."""
    found = []
    for part in spec.split():
        first, _, last = part.partition("-")
        if last:
            prefix = first.rpartition(".")[0]
            found += [f"{prefix}.{n}" for n in range(micro_of(first)[0], micro_of(last)[0] + 1)]
        else:
            found.append(first)
    return found


class Maker:
    def __init__(self) -> None:
        self.structs, self.consts = read_definition()
        self.facts = json.loads((TOOLS / "layout-facts.json").read_text())
        dumps = [json.loads(p.read_text()) for p in sorted((TOOLS / "dumps").glob("*.json"))]
        self.dumps = {release_key(d): d for d in dumps}
        self.notes: dict[str, list[str]] = {}

    def note(self, release: str, text: str) -> None:
        notes = self.notes.setdefault(release, [])
        if text not in notes:
            notes.append(text)

    def shape_from_dump(self, struct: Struct, release: str) -> dict | None:
        known = find_shape(self.dumps[release]["structs"], struct.types)
        return known[1] if known else None

    def fact(self, kind: str, name: str, release: str) -> dict | None:
        for entry in self.facts[kind]:
            if name in entry["structs"] and in_releases(release, entry["releases"]):
                return entry
        return None

    def shape(self, struct: Struct, release: str) -> dict | None:
        """The structure in that release; None where the release has none."""
        own = self.shape_from_dump(struct, release)
        absent = self.fact("absent", struct.name, release)
        if absent:
            if own:
                fail(f"{struct.name}: layout-facts.json calls it absent in {release}, the dump has it")
            return None
        if own:
            return own
        borrowed = self.fact("borrowed", struct.name, release)
        if not borrowed:
            fail(f"{struct.name}: neither the dump of {release} nor layout-facts.json has it")
        shape = self.shape_from_dump(struct, borrowed["from"])
        if not shape:
            fail(f"{struct.name}: {borrowed['from']}, from which {release} is to have it, has none")
        self.note(release, f"{', '.join(borrowed['structs'])}: {borrowed['source']}, as in {borrowed['from']}")
        return shape

    def struct_table(self, struct: Struct, release: str) -> Table:
        table: Table = {(struct.name, "size"): ABSENT}
        shape = self.shape(struct, release)
        table[struct.name, "size"] = shape["size"] if shape else ABSENT
        for ours, members in struct.fields.items():
            table[struct.name, ours] = ABSENT
            for member in reversed(members) if shape else ():
                if member not in shape["f"]:
                    fail(f"{struct.name}.{member}: dumped before layout.def had it; dump and trim {release} again")
                if shape["f"][member] is not None:
                    table[struct.name, ours] = shape["f"][member]
        return table

    def constant(self, name: str, release: str) -> int:
        fits = [c["value"] for c in self.facts["consts"].get(name, ()) if in_releases(release, c["releases"])]
        if len(fits) != 1:
            fail(f"constant {name}: {len(fits)} values for {release} in layout-facts.json")
        return fits[0]

    def table_of_dump(self, release: str) -> Table:
        table: Table = {}
        for struct in self.structs:
            table |= self.struct_table(struct, release)
        return table | {("c", name): self.constant(name, release) for name in self.consts}

    def derived(self, entry: dict) -> Table:
        """A release that nobody dumped: another one and what is known to differ."""
        base = self.table_of_dump(entry["base"])
        table = dict(base)
        for shift in entry.get("shift", ()):
            for key, value in base.items():
                if key[0] == shift["struct"] and key[1] != "size" and value > shift["above"]:
                    table[key] += shift["by"]
        for path, value in entry.get("set", {}).items():
            key = tuple(path.split("."))
            if key not in table:
                fail(f"layout-facts.json sets {path}, which layout.def does not have")
            table[key] = value
        return table

    def variant(self, entry: dict) -> "Variant":
        minor, (first, last) = entry["minor"], entry["micros"]
        variant = Variant(minor, first, last, entry.get("vendor"))
        if "base" in entry:
            variant.table = self.derived(entry)
            marks = [f"3.{minor}.{micro}:derived" for micro in range(first, last + 1)]
            variant.releases = marks
            variant.notes = [f"derived from {entry['base']}: {source}" for source in entry["source"]]
            return variant
        for release in entry["dumps"]:
            table = self.table_of_dump(release)
            if variant.table and table != variant.table:
                changed = sorted(".".join(k) for k in table if table[k] != variant.table[k])
                fail(f"{release} differs from {variant.releases[0]}: {' '.join(changed)}")
            variant.table = table
            variant.releases.append(release)
            variant.notes.append(f"{release}: {self.dumps[release]['how']}")
            variant.notes += [f"{release}: {n}" for n in self.notes.get(release, ())]
        checked = releases_in(entry.get("checked", ""))
        if checked:
            variant.notes.append("compared with these by `layouts.py check`: " + entry["checked"])
        variant.releases = sorted({*variant.releases, *checked}, key=micro_of)
        return variant

    def variants(self) -> list["Variant"]:
        return merge_equal([self.variant(entry) for entry in self.facts["variants"]])


@dataclass
class Variant:
    minor: int
    first: int
    last: int
    vendor: str | None
    table: Table = field(default_factory=dict)
    releases: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"cp3{self.minor}_{self.first}" + (f"_{self.vendor}" if self.vendor else "")

    def absorb(self, other: "Variant") -> None:
        self.last = other.last
        self.releases += other.releases
        self.notes += other.notes


def merge_equal(variants: list[Variant]) -> list[Variant]:
    merged: list[Variant] = []
    for variant in variants:
        before = merged[-1] if merged else None
        if before and (before.minor, before.vendor, before.last + 1, before.table) == (
                variant.minor, variant.vendor, variant.first, variant.table):
            before.absorb(variant)
        else:
            merged.append(variant)
    return merged


def differing_fields(maker: Maker, dump: dict, table: Table) -> list[str]:
    found = []
    for struct in maker.structs:
        known = find_shape(dump["structs"], struct.types)
        if known and not maker.fact("absent", struct.name, dump["release"]):
            maker.dumps[release_key(dump)] = dump
            theirs = maker.struct_table(struct, release_key(dump))
            found += [f"{s}.{f} {table[s, f]} {v}" for (s, f), v in theirs.items() if table[s, f] != v]
    return found


def command_check(args: argparse.Namespace) -> None:
    structs, _ = read_definition()
    variants = Maker().variants()
    wrong = 0
    for path in args.dumps:
        dump = json.loads(trimmed_text(json.loads(path.read_text()), structs))
        minor, micro = (int(n) for n in dump["release"].split(".")[1:3])
        fits = [v for v in variants if v.minor == minor and v.first <= micro <= v.last]
        fits.sort(key=lambda v: v.vendor != dump["vendor"])
        if not fits:
            fail(f"{release_key(dump)}: no table covers it")
        found = differing_fields(Maker(), dump, fits[0].table)
        wrong += bool(found)
        print(f"{release_key(dump)}: {fits[0].name} {'differs: ' + ', '.join(found) if found else 'agrees'}")
    sys.exit(1 if wrong else 0)


HEAD = """/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Made by tools/layouts.py: do not edit.
"""


def comment(lines: list[str]) -> str:
    return "".join(f" * {line}\n" for line in lines) + " */\n"


def variant_text(variant: Variant) -> str:
    builds = f"CPython 3.{variant.minor}.{variant.first} - 3.{variant.minor}.{variant.last}"
    title = builds + (f", as built by {variant.vendor}" if variant.vendor else "") + "; -1: the release has none."
    lines = [title] + [f"  {n}" for n in variant.notes]
    sets = [f"SET({s}, {f}, {v})\n" for (s, f), v in variant.table.items()]
    return HEAD + comment(lines) + "".join(sets)


def tables_text(variants: list[Variant]) -> str:
    lines = ["Every table: VARIANT(name, minor, first micro, last micro, vendor, releases it was", "proven on)."]
    parts = []
    for v in variants:
        vendor = f'"{v.vendor}"' if v.vendor else "NULL"
        releases = ", ".join(f'"{r}"' for r in v.releases)
        begin = f"VARIANT({v.name}, {v.minor}, {v.first}, {v.last}, {vendor}, {releases})"
        parts.append("\n".join(textwrap.wrap(begin, 90, subsequent_indent="\t")))
        parts.append(f'\n#include "{v.name}.def"\nEND_VARIANT({v.name})\n')
    return HEAD + comment(lines) + "".join(parts)


def command_make(args: argparse.Namespace) -> None:
    maker = Maker()
    variants = maker.variants()
    used = {r for v in maker.facts["variants"] for r in v.get("dumps", [v.get("base")])}
    if unused := sorted(maker.dumps.keys() - used):
        fail(f"no variant in layout-facts.json uses these dumps: {' '.join(unused)}")
    output = RUNTIME / "layouts"
    files = {f"{v.name}.def": variant_text(v) for v in variants} | {"tables.def": tables_text(variants)}
    old = {p.name: p.read_text() for p in output.glob("*.def")}
    if args.check:
        stale = sorted(n for n in files.keys() | old.keys() if files.get(n) != old.get(n))
        sys.exit("layouts.py: not what make would write: " + " ".join(stale) if stale else 0)
    output.mkdir(exist_ok=True)
    for name in old.keys() - files.keys():
        (output / name).unlink()
    for name, text in files.items():
        if old.get(name) != text:
            (output / name).write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    dump = commands.add_parser("dump", help="an interpreter's headers and debug information -> JSON")
    dump.add_argument("--python", type=Path, required=True, help="interpreter, or its prefix")
    dump.add_argument("--include", type=Path, help="its headers, if not where sysconfig says")
    dump.add_argument("--debug", action="append", default=[], help="file with its debug information")
    dump.add_argument("--vendor", help="who built it, if it is patched: debian")
    dump.add_argument("--flag", action="append", default=[], help="one more compiler flag, such as -U_Py_JIT")
    dump.add_argument("-o", dest="output", type=Path, required=True)
    dump.set_defaults(run=command_dump)
    trim = commands.add_parser("trim", help="full dumps -> tools/dumps")
    trim.add_argument("dumps", type=Path, nargs="+")
    trim.set_defaults(run=command_trim)
    check = commands.add_parser("check", help="do full dumps agree with the tables?")
    check.add_argument("dumps", type=Path, nargs="+")
    check.set_defaults(run=command_check)
    make = commands.add_parser("make", help="tools/dumps -> coreanalyze/runtime/layouts")
    make.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    make.set_defaults(run=command_make)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
