# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the command is, how long it may take: gdb parameters."""
from __future__ import annotations

import os
import shlex
import shutil

import gdb

from .engine import EngineError


class Command(gdb.Parameter):
    """The coreanalyze command that gdb starts. Empty: the one beside these files, else in PATH."""
    set_doc = "Set the coreanalyze command that gdb starts."
    show_doc = "Show the coreanalyze command that gdb starts."

    def __init__(self) -> None:
        super().__init__("coreanalyze-command", gdb.COMMAND_SUPPORT, gdb.PARAM_OPTIONAL_FILENAME)
        self.value = os.environ.get("COREANALYZE") or None


class Options(gdb.Parameter):
    """Options for it, as --sysroot DIR, when it is started for a target."""
    set_doc = "Set the options with which coreanalyze opens a target, as --sysroot DIR."
    show_doc = "Show the options with which coreanalyze opens a target."

    def __init__(self) -> None:
        super().__init__("coreanalyze-options", gdb.COMMAND_SUPPORT, gdb.PARAM_STRING)
        self.value = ""


class Timeout(gdb.Parameter):
    """After so many seconds without an answer the analysis is ended. Ctrl-C stops it at any time."""
    set_doc = "Set how many seconds a question of coreanalyze may take."
    show_doc = "Show how many seconds a question of coreanalyze may take."

    def __init__(self) -> None:
        super().__init__("coreanalyze-timeout", gdb.COMMAND_SUPPORT, gdb.PARAM_ZUINTEGER)
        self.value = 1800


class Settings:
    def __init__(self, folder: str):
        self.folder = folder
        self._command, self._options, self._timeout = Command(), Options(), Timeout()

    def program(self) -> str:
        if self._command.value:
            return self._command.value
        beside = (os.path.join(self.folder, "..", "..", "..", "bin"),  # PREFIX/share/coreanalyze/gdb
                  os.path.join(self.folder, "..", "build"))
        for folder in beside:
            path = os.path.normpath(os.path.join(folder, "coreanalyze"))
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
        path = shutil.which("coreanalyze")
        if not path:
            raise EngineError("the coreanalyze command is not in PATH: say `set coreanalyze-command FILE`")
        return path

    def options(self) -> list[str]:
        return shlex.split(self._options.value or "")

    def timeout(self) -> float:
        return self._timeout.value or 1e9
