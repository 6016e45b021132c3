# SPDX-License-Identifier: GPL-3.0-or-later
"""What real programs are made of, for the Pythons that have it (tools/programs.sh, tools/pythons.sh)."""

from __future__ import annotations

import os
import subprocess

import interpreters
from runner import Skip


def environment(python: interpreters.Interpreter) -> dict[str, str]:
    """For the system's Python: where its programs are unpacked."""
    if not python.name.startswith("system-"):
        return {}
    done = subprocess.run([os.path.join(interpreters.ROOT, "tools", "programs.sh")],
                          capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"no programs for the system's Python: {done.stderr.strip()}")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def having(python: interpreters.Interpreter, module: str) -> dict[str, str]:
    """An environment in which it imports the module."""
    extra = environment(python)
    done = subprocess.run(python.command("-c", "import " + module), capture_output=True,
                          env={**python.environment(), **extra})
    if done.returncode:
        raise Skip(f"it has no {module}")
    return extra
