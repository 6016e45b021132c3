# SPDX-License-Identifier: GPL-3.0-or-later
"""The small C programs of programs/, compiled."""

from __future__ import annotations

import os
import shutil
import subprocess

from cores import HERE, Unavailable


def program(name: str, directory: str, *options: str, compiler: str | None = None) -> str:
    compiler = compiler or os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Unavailable("there is no C compiler")
    path = os.path.join(directory, name)
    subprocess.run([compiler, "-O1", "-pthread", "-o", path, *options,
                    os.path.join(HERE, "programs", name + ".c"), "-ldl"], check=True)
    return path
