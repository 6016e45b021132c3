# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python heap of what gdb debugs, for commands of your own.

    import coreanalyze

    for row in coreanalyze.types():                     # a dict for each type
        if row["count"] > 100000:
            print(row["type"], row["count"])
    coreanalyze.objects("frame->f_locals", 0x7f3a5c0d1e80)
    coreanalyze.count("app.Session")
    coreanalyze.retained("self")[0]["retained_bytes"]   # what would be freed with it
    coreanalyze.owners("self")[0]["owner"]              # who keeps it
    coreanalyze.save("a"), ..., coreanalyze.diff("a")
    coreanalyze.ask("gc")                               # any question of the command line

All answers are plain data, those of the command line's --json. What cannot be
answered is a coreanalyze.Error, which gdb shows as a sentence.
"""
from .api import Error, address, ask, count, diff, names, objects, owners, retained, save, types

__all__ = ["Error", "address", "ask", "count", "diff", "names", "objects", "owners", "retained",
           "save", "types"]
