# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions that are kept: each holds the frames it came through.

What leaks: the status page keeps each failure, as an exception. Its traceback
holds the frames, and those hold every local variable, here the whole Order.

Run it, dump it, let it reject 5,000 orders more (Enter), dump it again:

    $ python3 samples/worker.py orders
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 5
                         BEFORE              AFTER             CHANGE
    objects              79,946            129,434            +49,488
    bytes             7,631,475         11,164,497         +3,533,022
    owned               225,754            385,754           +160,000
    arenas            7,340,032         10,485,760         +3,145,728
    writable         11,231,232         14,376,960         +3,145,728
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE                BEFORE   AFTER    COUNT     BYTES     OWNED     NEW  FREED
    builtins.frame       5,002  10,003   +5,001  +920,200         0   5,001      0
    builtins.traceback  10,000  20,000  +10,000  +560,000         0  10,000      0
    orders.Rejected      5,000  10,000   +5,000  +480,000         0   5,000      0
    orders.Order         5,000  10,000   +5,000  +280,000  +160,000   5,000      0
    builtins.list        5,177  10,177   +5,000  +403,296         0   5,000      0
    ... and 5 more (--limit 0 shows all)
    100 types did not change

    Who holds them
    OWNER                                        TYPE             COUNT       BYTES     OWNED     NEW  LENGTH     NOW
    orders.FAILURES                              builtins.list  +49,488  +3,533,022  +160,000  49,488   5,000  10,000
    interpreter.names in the method cache        -                   +1         +63         0       0       -       -
    main() at samples/worker.py:74, thread 1234  -                   +1         +50         0       0       -       -
    leaked                                       -                    0           0         0       3       -       -

There are as many frames as calls under way, and tracebacks only while one is
handled: thousands of either mean that exceptions are kept. What the frames
hold is the type that has no business being alive, Order.

The fix: keep the text (traceback.format_exc()) and bound the list
(collections.deque(maxlen=100)); else drop __traceback__ before keeping it.
"""

AMOUNT = 5000
STEPS = 1

FAILURES = []   # for the status page


class Order:
    def __init__(self, number):
        self.number = number
        self.lines = [number, number + 1]


class Rejected(Exception):
    pass


def check(number):
    order = Order(number)
    raise Rejected("order %d is over the limit" % order.number)


def serve(amount):
    for number in range(amount):
        try:
            check(number)
        except Rejected as failure:
            FAILURES.append(failure)
