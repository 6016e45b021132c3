# SPDX-License-Identifier: GPL-3.0-or-later
"""Parents and children that hold each other, with a finalizer.

What leaks: a Document holds its Pages and each Page its Document, so reference
counting never frees them. The collector would, but the service turned it off
for its pauses. __del__, which should unlock the document, never runs either.

Run it, dump it, let it open 2,000 documents more (Enter), dump it again:

    $ python3 samples/worker.py documents
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 4
                         BEFORE              AFTER             CHANGE
    objects              48,218             66,217            +17,999
    bytes             5,236,038          6,245,985         +1,009,947
    owned               322,114            578,114           +256,000
    arenas            4,194,304          6,291,456         +2,097,152
    writable          8,085,504         10,182,656         +2,097,152
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE                BEFORE   AFTER   COUNT     BYTES     OWNED    NEW  FREED
    documents.Page       6,000  12,000  +6,000  +336,000  +192,000  6,000      0
    builtins.str        17,248  23,247  +5,999  +329,947         0  6,000      1
    builtins.list        2,176   4,176  +2,000  +176,000         0  2,000      0
    documents.Document   2,000   4,000  +2,000  +112,000   +64,000  2,000      0
    ... and 2 more (--limit 0 shows all)
    102 types did not change

    Who holds them
    OWNER                                        TYPE            COUNT     BYTES     OWNED     NEW  LENGTH    NOW
    unreachable                                  -             +16,000  +954,000  +256,000  16,000       -      -
    documents.LOCKED                             builtins.set   +2,000   +56,000         0   2,000   2,000  4,000
    interpreter.names in the method cache        -                  +2      +120         0       0       -      -
    main() at samples/worker.py:74, thread 1234  -                  +1       +50         0       0       -      -
    ... and 1 more (--limit 0 shows all)

Types that grow in step (three Pages a Document), all new and none freed, though
the code keeps no list of them, are a cycle that waits for a collector.

The fix: let Page hold a weakref.ref to its Document (the child does not own
the parent); unlock in a with block, not in __del__; leave the collector on.
"""

import gc

AMOUNT = 2000
STEPS = 1
PAGES = 3

LOCKED = set()  # numbers of the documents in use

gc.disable()    # "its pauses cost us latency"


class Page:
    def __init__(self, document, text):
        self.document = document
        self.text = text


class Document:
    def __init__(self, number):
        self.number = number
        self.pages = [Page(self, "page %d" % page) for page in range(PAGES)]
        LOCKED.add(number)

    def __del__(self):
        LOCKED.discard(self.number)


def serve(amount):
    for _ in range(amount):
        Document(len(LOCKED))
