# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of closures: each keeps what it closes over.

What leaks: receive() registers a callback for the end of the transfer. The
callback closes over the upload, data and all, and nobody unregisters it.

Run it, dump it, let it receive 2,000 uploads more (Enter), dump it again:

    $ python3 samples/worker.py uploads
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 6
                         BEFORE              AFTER             CHANGE
    objects              42,330             54,329            +11,999
    bytes            13,078,690         22,071,501         +8,992,811
    owned               129,754            193,754            +64,000
    arenas            4,194,304          5,242,880         +1,048,576
    writable         16,330,752         25,624,576         +9,293,824
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE               BEFORE   AFTER   COUNT       BYTES    OWNED    NEW  FREED
    builtins.bytes      5,001   7,001  +2,000  +8,258,000        0  2,000      0
    builtins.function   3,335   5,335  +2,000    +304,000        0  2,000      0
    uploads.Upload      2,000   4,000  +2,000    +112,000  +64,000  2,000      0
    builtins.str       13,234  15,233  +1,999    +125,947        0  2,000      1
    builtins.tuple      7,380   9,380  +2,000     +96,000        0  2,000      0
    builtins.cell       2,067   4,067  +2,000     +80,000        0  2,000      0
    ... and 2 more (--limit 0 shows all)
    100 types did not change

Functions are made once, at import: when their number grows with the load, they
are closures, and cells that grow by the same number say so. What they hold is
the type with the same count again, Upload, and the bytes are its data.

The fix: take the callback out when it has been called; or register a method by
weakref.WeakMethod, so that the registry holds nothing alive.
"""

AMOUNT = 2000
STEPS = 1

FINISHED = []   # to call when a transfer is over


class Upload:
    def __init__(self, name):
        self.name = name
        self.data = bytes(4096)


def receive(upload):
    def report():
        return "%s: %d bytes" % (upload.name, len(upload.data))

    FINISHED.append(report)


def serve(amount):
    for number in range(amount):
        receive(Upload("photo-%04d.jpg" % number))
