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
    objects              42,338             54,338            +12,000
    bytes            13,087,610         22,080,474         +8,992,864
    owned               129,754            193,754            +64,000
    arenas            4,194,304          5,242,880         +1,048,576
    writable         16,330,752         25,624,576         +9,293,824
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE               BEFORE   AFTER   COUNT       BYTES    OWNED    NEW  FREED
    builtins.bytes      5,002   7,002  +2,000  +8,258,000        0  2,001      1
    builtins.function   3,335   5,335  +2,000    +304,000        0  2,000      0
    uploads.Upload      2,000   4,000  +2,000    +112,000  +64,000  2,000      0
    builtins.str       13,242  15,242  +2,000    +126,000        0  2,000      0
    builtins.tuple      7,380   9,380  +2,000     +96,000        0  2,000      0
    builtins.cell       2,067   4,067  +2,000     +80,000        0  2,000      0
    ... and 2 more (--limit 0 shows all)
    99 types did not change

    Who holds them
    OWNER                                        TYPE             COUNT       BYTES    OWNED     NEW  LENGTH    NOW
    uploads.FINISHED                             builtins.list  +12,000  +8,992,864  +64,000  12,000   2,000  4,000
    interpreter.names in the method cache        -                   +1         +63        0       0       -      -
    main() at samples/worker.py:74, thread 1234  -                   +1         +50        0       0       -      -
    leaked                                       -                    0           0        0       2       -      -

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
