# SPDX-License-Identifier: GPL-3.0-or-later
"""Fragmentation: after a spike, a few survivors pin the memory.

What leaks: nothing. The report loads all rows of the month, keeps one Total a
day and lets the rows go. But a Total lies in nearly every arena, among the
places of the rows, and an arena goes back to the system only when it is empty.

Run it, dump it, let it make a report of 100,000 rows (Enter), dump it again:

    $ python3 samples/worker.py reports
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 2
                         BEFORE              AFTER             CHANGE
    objects              30,347             30,947               +600
    bytes             4,097,743          4,121,743            +24,000
    owned                65,394             72,154             +6,760
    arenas            3,145,728         18,874,368        +15,728,640
    writable          6,901,760         22,732,800        +15,831,040
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE           BEFORE  AFTER  COUNT    BYTES   OWNED  NEW  FREED
    reports.Total       0    200   +200  +11,200  +6,760  200      0
    builtins.int    1,194  1,594   +400  +11,200       0  401      1
    ... and 3 more (--limit 0 shows all)
    102 types did not change

    Who holds them
    OWNER                                  TYPE           COUNT    BYTES   OWNED  NEW  LENGTH  NOW
    reports.TOTALS                         builtins.list   +600  +24,000  +6,760  600       0  200
    interpreter.names in the method cache  -                 +3     +172       0    0       -    -
    ... and 2 more (--limit 0 shows all)

The arenas grew by 16 MB, what is in them by 31 KB: no leak, and no object to
look for. The next report (Enter) uses the same arenas again.

The fix, where the memory matters: read the rows in portions, so that there is
no spike; or make the report in a process of its own, which ends.
"""

AMOUNT = 100000
STEPS = 0
DAY = 500   # rows

TOTALS = []


class Row:
    def __init__(self, number):
        self.article = "article %d" % number
        self.amount = number % 7


class Total:
    def __init__(self, rows):
        self.amount = sum(row.amount for row in rows)
        self.rows = len(rows)


def serve(amount):
    rows = []
    for number in range(amount):
        rows.append(Row(number))
        if len(rows) % DAY == 0:
            TOTALS.append(Total(rows[-DAY:]))
