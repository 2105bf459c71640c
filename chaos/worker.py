"""``streamrec worker`` with something wrong inside, to see that it is found: ``python -m chaos.worker unmended worker --role all``.

===========  ===================================================================================================
``none``     nothing wrong
``unmended`` Faust as released: its own recovery and commits, and no sentinel
``drop``     for one user in twenty no recommendation goes out, and its input is acknowledged all the same
``corrupt``  one recommendation in fifty has two items swapped
``stale``    one recommendation in fifty is made from the session before
===========  ===================================================================================================

Each is put in from outside, so the worker has no switch for it.
"""

import asyncio
import sys
from functools import partial
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from streamrec.cli import main as cli
from streamrec.core.types import Recommendation
from streamrec.worker import main, output, sentinel
from streamrec.worker.app import make_app

SHARE = 50
Main: Any = main
Output: Any = output.Output
Sentinel: Any = sentinel.Sentinel


def unmended() -> None:
    async def sees_nothing(*_: Any) -> bool:
        return False

    Main.make_app = partial(make_app, mended=False)
    Sentinel._holds_records = sees_nothing


def drop() -> None:
    send = Output.message

    async def message(self: Any, topic: str, key: str, sent: Any, partition: int) -> Any:
        if topic == "recommendations" and crc32(key.encode()) % 20 == 0:
            nowhere = asyncio.get_running_loop().create_future()
            nowhere.set_result(None)
            return nowhere
        return await send(self, topic, key, sent, partition)

    Output.message = message


def corrupt() -> None:
    def swapped(made: Recommendation) -> Recommendation:
        if len(made.items) < 2:
            return made
        first, second, *others = made.items
        return replace(made, items=(replace(second, rank=1), replace(first, rank=2), *others))

    _change(lambda made, before: swapped(made))


def stale() -> None:
    _change(lambda made, before: replace(made, items=before.items, history=before.history) if before else made)


def _change(change: Any) -> None:
    send = Output.message
    before: dict[str, Recommendation] = {}

    async def message(self: Any, topic: str, key: str, sent: Any, partition: int) -> Any:
        if isinstance(sent, Recommendation):
            due = crc32(sent.recommendation_id.encode()) % SHARE == 0
            sent, before[key] = (change(sent, before.get(key)) if due else sent), sent
        return await send(self, topic, key, sent, partition)

    Output.message = message


PLANTS = {"none": lambda: None, "unmended": unmended, "drop": drop, "corrupt": corrupt, "stale": stale}

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    cli()
