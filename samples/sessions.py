# SPDX-License-Identifier: GPL-3.0-or-later
"""An unbounded cache: sessions that nobody ends.

What leaks: each login puts a Session into SESSIONS. Nothing takes it out: no
limit, no time, and people close their browser instead of logging out.

Run it, dump it, let it serve 20,000 logins more (Enter), dump it again:

    $ python3 samples/worker.py sessions
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 3
                         BEFORE              AFTER             CHANGE
    objects             110,337            190,337            +80,000
    bytes             9,550,272         15,136,400         +5,586,128
    owned               865,754          1,665,754           +800,000
    arenas            9,437,184         16,777,216         +7,340,032
    writable         13,705,216         21,590,016         +7,884,800
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE              BEFORE   AFTER    COUNT       BYTES     OWNED     NEW  FREED
    builtins.str      51,247  91,247  +40,000  +2,800,000         0  40,000      0
    sessions.Session  20,000  40,000  +20,000  +1,120,000  +800,000  20,000      0
    builtins.list     20,176  40,176  +20,000  +1,120,000         0  20,000      0
    ... and 3 more (--limit 0 shows all)
    102 types did not change

    Who holds them
    OWNER                                        TYPE             COUNT       BYTES     OWNED     NEW  LENGTH     NOW
    sessions.SESSIONS                            builtins.dict  +80,000  +5,586,128  +800,000  80,000  20,000  40,000
    interpreter.names in the method cache        -                   +2        +118         0       0       -       -
    main() at samples/worker.py:74, thread 1234  -                   +1         +50         0       0       -       -
    ... and 1 more (--limit 0 shows all)

Strings lead, as they do in most programs, but strings have an owner: the first
type of one's own in the table is where to look. It grew by exactly the logins,
and none was freed. A guard for the test suite, which exits with 1 here:

    $ coreanalyze diff before.1234 after.1234 --fail-above-type sessions.Session:100

The fix: end sessions. Keep the time of last use and drop what is too old at
each login, or bound the table (an OrderedDict, popitem(last=False)).
"""

import itertools

AMOUNT = 20000
STEPS = 1

SESSIONS = {}   # token -> Session
NUMBERS = itertools.count()


class Session:
    def __init__(self, token, user):
        self.token = token
        self.user = user
        self.cart = []


def log_in(number):
    token = "%032x" % (number * 0x9E3779B97F4A7C15 % 2 ** 128)
    SESSIONS[token] = Session(token, "user%06d" % number)


def serve(amount):
    for number in itertools.islice(NUMBERS, amount):
        log_in(number)
