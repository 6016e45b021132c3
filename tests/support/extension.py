# SPDX-License-Identifier: GPL-3.0-or-later
"""Extension modules, built for an interpreter: `untaught` (extension_module/untaught.c), and others."""

from __future__ import annotations

import os
import shutil
import subprocess

from cores import HERE, Unavailable
from interpreters import Interpreter


UNTAUGHT = os.path.join(HERE, "extension_module", "untaught.c")


def build(python: Interpreter, directory: str, name: str = "untaught",
          source: str = UNTAUGHT) -> dict[str, str]:
    """Builds a module in directory; the environment in which that Python finds it."""
    ask = "import sysconfig; print(sysconfig.get_path('include'))"
    include = subprocess.run(python.command("-c", ask), capture_output=True, text=True, check=True,
                             env=python.environment()).stdout.strip()
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Unavailable("there is no C compiler")
    if not os.path.exists(os.path.join(include, "Python.h")):
        raise Unavailable("it has no headers")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-g", f"-I{include}", "-o",
                    os.path.join(directory, name + ".so"), source], check=True)
    return {"PYTHONPATH": directory}
