# SPDX-License-Identifier: GPL-3.0-or-later
"""How answers look: as wide as gdb's, in its style, through its pager and log."""
from __future__ import annotations

import os
import re

import gdb


def is_filtered() -> bool:
    """Goes this command's output through `pipe` or into a log?"""
    if gdb.parameter("logging enabled"):
        return True
    lines = gdb.execute("show commands", to_string=True).splitlines()
    return bool(lines and re.match(r"\s*\d+\s+(\||pipe\b)", lines[-1]))


def options() -> dict:
    """Of a question whose answer is text for this terminal."""
    filtered = is_filtered()
    width = gdb.parameter("width") or 0
    color = (gdb.parameter("style enabled") and os.isatty(1) and not filtered
             and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb")
    return {"form": "text", "width": 0 if filtered else min(width, 10000), "color": bool(color)}


def show(text: str) -> None:
    for line in text.splitlines(True):
        gdb.write(line)
