# SPDX-License-Identifier: GPL-3.0-or-later
"""How answers look: as wide as gdb's, in its style, through its pager and log."""
from __future__ import annotations

import os

import gdb


def is_captured() -> bool:
    """Goes this command's output elsewhere: `pipe`, to_string, a log alone? gdb sets no limits then."""
    return (gdb.parameter("width") is None and gdb.parameter("height") is None
            or gdb.parameter("logging enabled") and gdb.parameter("logging redirect"))


def options() -> dict:
    """Of a question whose answer is text for this terminal."""
    captured = is_captured()
    color = (gdb.parameter("style enabled") and os.isatty(1) and not captured
             and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb")
    width = 0 if captured else gdb.parameter("width") or 0
    return {"form": "text", "width": min(width, 10000), "color": bool(color)}


def show(text: str) -> None:
    for line in text.splitlines(True):
        gdb.write(line)
