"""``streamrec worker`` with something wrong inside, to see that it is found: ``python -m chaos.worker unmended worker --role all``.

===========  ===================================================================================================
``none``     nothing wrong
``unmended`` Faust as released: its own recovery and commits, and no sentinel
``drop``     for one user in twenty no recommendation goes out, and its input is acknowledged all the same
``corrupt``  one recommendation in fifty has two items swapped
``stale``    one recommendation in fifty is made from the session before
``late``     events are left out that are more than half an hour older than their user's newest
===========  ===================================================================================================

Each is put in from outside, so the worker has no switch for it. The worker's name, that of the folder it runs in, is
its ``client.id``.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from streamrec.cli import main as cli
from streamrec.core import session
from streamrec.core.session import Outcome
from streamrec.core.types import Recommendation, Session
from streamrec.worker import main, output, sentinel, sessions
from streamrec.worker.app import make_app

SHARE = 50
LATE_MS = 30 * 60_000
Main: Any = main
Sessions: Any = sessions
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


def late() -> None:
    update = session.update

    def update_but_late(held: Any, event: Any, at: Any, *more: Any) -> Any:
        state, outcome = update(held, event, at, *more)
        newest = held.history[-1].occurred_at if isinstance(held, Session) else 0
        if outcome is Outcome.APPLIED and event.occurred_at < newest - LATE_MS:
            return replace(held, applied=state.applied, applied_at=state.applied_at), Outcome.OLDER_THAN_HISTORY
        return state, outcome

    Sessions.update = update_but_late


def named() -> None:
    make = Main.make_app

    def make_named(*args: Any, **options: Any) -> Any:
        app = make(*args, **options)
        app.conf.broker_client_id = Path.cwd().name
        return app

    Main.make_app = make_named


PLANTS = {"none": lambda: None, "unmended": unmended, "drop": drop, "corrupt": corrupt, "stale": stale, "late": late}

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    named()
    cli()
