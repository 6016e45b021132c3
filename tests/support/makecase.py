#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaves DIR/core and DIR/truth.json of one interpreter, to look at by hand."""

from __future__ import annotations

import argparse
import os

import interpreters
from cores import Target, TargetFailed, Unavailable


def make_case(python: interpreters.Interpreter, directory: str, kind: str,
              profiles: list[str], env: list[str]) -> None:
    """Fills directory with the core and what the target said of itself."""
    directory = os.path.abspath(directory)
    settings = dict(e.split("=", 1) for e in env)
    with Target(python, directory, *profiles, env=settings) as target:
        core = os.path.join(directory, "core.new")
        target.core(kind, core)
        os.rename(target.truth_path(), os.path.join(directory, "truth.json"))
        os.rename(core, os.path.join(directory, "core"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="an interpreter (python3 interpreters.py"
                        " lists them), or 'all' to make DIR/NAME of each")
    parser.add_argument("directory")
    parser.add_argument("profiles", nargs="*",
                        help="parts of the heap, as everything.py takes them")
    parser.add_argument("--core", choices=("gcore", "kernel"), default="gcore")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="as PYTHONMALLOC=debug")
    args = parser.parse_args()
    try:
        make_cases(args)
    except (Unavailable, TargetFailed) as e:
        raise SystemExit(f"{args.name}: {e}")


def make_cases(args: argparse.Namespace) -> None:
    if args.name != "all":
        make_case(interpreters.by_name(args.name), args.directory, args.core,
                  args.profiles, args.env)
        return
    for python in interpreters.chosen():
        where = os.path.join(args.directory, python.name)
        make_case(python, where, args.core, args.profiles, args.env)
        print(where)


if __name__ == "__main__":
    main()
