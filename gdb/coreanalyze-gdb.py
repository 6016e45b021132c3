# SPDX-License-Identifier: GPL-3.0-or-later
"""coreanalyze inside gdb: `source` this file (from .gdbinit, say), then `help coreanalyze`.

It must be readable to every Python that a gdb was ever built with: an old one is
told so in a sentence.
"""
import os
import sys

import gdb


def load():
    if sys.version_info < (3, 7) or int(gdb.VERSION.split(".")[0].split("-")[0]) < 13:
        gdb.write("coreanalyze: needs gdb 13 or later, with Python 3.7 or later: this is gdb %s with "
                  "Python %d.%d\n" % ((gdb.VERSION,) + tuple(sys.version_info[:2])))
        return
    folder = os.path.dirname(os.path.realpath(__file__))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import coreanalyze.command
    coreanalyze.command.load(folder)


load()
