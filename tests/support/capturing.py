# SPDX-License-Identifier: GPL-3.0-or-later
"""`capture --fork`, made and refused."""

from __future__ import annotations

import os
import tempfile

import tool
from living import children


def fork(pid: int, directory: str, *more: str, name: str = "core") -> dict:
    return tool.ask("capture", str(pid), "--fork", "-o", os.path.join(directory, name), *more)


def check_refused(pid: int, *words: str) -> None:
    """With a reason, and before anything is touched."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "core")
        done = tool.run("capture", str(pid), "--fork", "-o", path)
        assert done.returncode == 3 and "cannot fork this process" in done.stderr, done
        for word in words:
            assert word in done.stderr, (word, done.stderr)
        assert not os.listdir(directory) and not children(pid)
