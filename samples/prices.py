# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache on a method: it keeps every self that it was called with.

What leaks: functools.lru_cache on a method takes self as a part of the key.
Without a limit, each Basket of each request stays for ever, with its prices.

Run it, dump it, let it serve 5,000 baskets more (Enter), dump it again:

    $ python3 samples/worker.py prices
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 5
                         BEFORE              AFTER             CHANGE
    objects              89,978            149,465            +59,487
    bytes             6,823,136          9,543,692         +2,720,556
    owned               185,834            305,834           +120,000
    arenas            6,291,456          9,437,184         +3,145,728
    writable         10,440,704         13,881,344         +3,440,640
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE            BEFORE   AFTER    COUNT     BYTES     OWNED     NEW  FREED
    builtins.tuple  15,389  25,389  +10,000  +560,000         0  10,000      0
    builtins.float  20,015  40,015  +20,000  +480,000         0  20,000      0
    prices.Price    10,000  20,000  +10,000  +480,000         0  10,000      0
    prices.Basket    5,000  10,000   +5,000  +280,000  +120,000   5,000      0
    builtins.list    5,176  10,176   +5,000  +360,000         0   5,000      0
    ... and 3 more (--limit 0 shows all)
    100 types did not change

    Who holds them
    OWNER                                        TYPE             COUNT       BYTES     OWNED     NEW  LENGTH     NOW
    prices.Basket.price.<dict>                   builtins.dict  +59,487  +2,720,556  +120,000  59,487  10,000  20,000
    interpreter.names in the method cache        -                   +1         +63         0       0       -       -
    main() at samples/worker.py:74, thread 1234  -                   +1         +50         0       0       -       -
    leaked                                       -                    0           0         0       2       -       -

Baskets are made for one request: there should be a handful at any time. The
tuples are the keys of the cache, (self, article): as many as there are Prices,
which tells a cache from a list that somebody forgot to empty.

The fix: cache in a function of the article alone and give it a maxsize; or
keep what is computed in the Basket itself, where it goes with it.
"""

import functools

AMOUNT = 5000
STEPS = 1


class Price:
    __slots__ = ("net", "tax")

    def __init__(self, net):
        self.net = net
        self.tax = net * 0.2


class Basket:
    def __init__(self, articles):
        self.articles = articles

    @functools.lru_cache(maxsize=None)
    def price(self, article):
        return Price(article * 1.25)

    def total(self):
        return sum(self.price(article).net for article in self.articles)


def serve(amount):
    for number in range(amount):
        Basket([number, number + 1]).total()
