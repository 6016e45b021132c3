# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that wait for what never comes.

What leaks: each notification is a task that waits for an acknowledgement,
without a time limit. When the other side is gone, the task stays, and with it
its coroutine, the coroutine's frame and all that is in it.

Run it, dump it, let it send 2,000 notifications more (Enter), dump it again:

    $ python3 samples/worker.py notifications
    $ gcore -o before 1234
    $ gcore -o after 1234
    $ coreanalyze diff before.1234 after.1234 --limit 5
                         BEFORE              AFTER             CHANGE
    objects              84,565            104,564            +19,999
    bytes            10,768,824         12,710,505         +1,941,681
    owned               255,708            319,708            +64,000
    arenas            8,388,608         10,485,760         +2,097,152
    writable         13,963,264         16,334,848         +2,371,584
    The same process at two moments: NEW and FREED tell objects apart by address.
    TYPE                        BEFORE  AFTER   COUNT     BYTES    OWNED    NEW  FREED
    builtins.coroutine           2,000  4,000  +2,000  +400,000        0  2,000      0
    _asyncio.Task                2,000  4,000  +2,000  +384,000        0  2,000      0
    _asyncio.Future              2,000  4,000  +2,000  +288,000        0  2,000      0
    notifications.Notification   2,000  4,000  +2,000  +112,000  +64,000  2,000      0
    weakref.ReferenceType        2,972  4,972  +2,000  +160,000        0  2,000      0
    ... and 8 more (--limit 0 shows all)
    180 types did not change

    Who holds them
    OWNER                                                            TYPE               COUNT       BYTES    OWNED     NEW  LENGTH    NOW
    notifications.WAITING                                            builtins.dict    +18,000  +1,781,736  +64,000  18,000   2,000  4,000
    _asyncio._all_tasks.data                                         builtins.set      +2,000    +160,000        0   2,000   2,000  4,000
    interpreter.names in the method cache                            -                     +2        +124        0       0       -      -
    module asyncio.events                                            builtins.module       +1         +54        0       0       -      -
    evaluation stack of main() at samples/worker.py:74, thread 1234  -                     +1         +53        0       0       -      -
    ... and 3 more (--limit 0 shows all)

A task, a future and a coroutine for each Notification. A service has as many
tasks as it has work under way: here they only come, FREED is 0.

The fix: await with a limit (asyncio.wait_for, asyncio.timeout), and take the
entry out of WAITING in a finally block.
"""

import asyncio
import itertools

AMOUNT = 2000
STEPS = 1

LOOP = asyncio.new_event_loop()
WAITING = {}    # number -> Notification
NUMBERS = itertools.count()


class Notification:
    def __init__(self, number):
        self.number = number
        self.acknowledged = LOOP.create_future()


async def deliver(notification):
    WAITING[notification.number] = notification
    await notification.acknowledged
    del WAITING[notification.number]


async def deliver_all(amount):
    for number in itertools.islice(NUMBERS, amount):
        asyncio.ensure_future(deliver(Notification(number)))
    await asyncio.sleep(0)


def serve(amount):
    LOOP.run_until_complete(deliver_all(amount))
