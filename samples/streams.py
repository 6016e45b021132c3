# SPDX-License-Identifier: GPL-3.0-or-later
"""Native buffers: memory that no Python object accounts for.

What leaks: connections whose peer has vanished stay in CONNECTIONS. Each has a
zlib compressor, a small Python object with 268 KB of zlib's own behind it.

Run it, dump it, let it accept 100 connections more (Enter), dump it again:

    $ python3 samples/worker.py streams
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 2
                         BEFORE              AFTER             CHANGE
    objects              30,534             30,734               +200
    bytes             4,118,341          4,141,477            +23,136
    owned                68,154             70,554             +2,400
    arenas            3,145,728          3,145,728                  0
    writable         33,775,616         60,596,224        +26,820,608
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE                BEFORE  AFTER  COUNT    BYTES   OWNED  NEW  FREED
    zlib.Compress          100    200   +100  +16,800       0  100      0
    streams.Connection     100    200   +100   +5,600  +2,400  100      0
    ... and 3 more (--limit 0 shows all)
    103 types did not change

    Who holds them
    OWNER                                  TYPE           COUNT    BYTES   OWNED  NEW  LENGTH  NOW
    streams.CONNECTIONS                    builtins.list   +200  +23,136  +2,400  200     100  200
    interpreter.names in the method cache  -                 +1      +63       0    0       -    -
    ... and 2 more (--limit 0 shows all)

Compare the totals: the objects and their arenas did not grow to speak of, the
writable mappings did by 27 MB. So it is native memory, and the few types that
grew at all say whose: 27 MB through 100 compressors. That is what is mapped;
about a third of it is resident, as these connections have sent little.

The fix: close what has timed out, which drops its compressor; or compress with
less memory: compressobj(wbits=-12, memLevel=5) takes 39 KB.
"""

import zlib

AMOUNT = 100
STEPS = 1

CONNECTIONS = []


class Connection:
    def __init__(self):
        self.deflate = zlib.compressobj(wbits=-15)

    def send(self, text):
        return self.deflate.compress(text) + self.deflate.flush(zlib.Z_SYNC_FLUSH)


def serve(amount):
    for _ in range(amount):
        connection = Connection()
        connection.send(b'{"hello": "world"}')
        CONNECTIONS.append(connection)
