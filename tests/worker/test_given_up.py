"""What a worker has in hand when its partitions go: it is not sent, or the process ends."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

import pytest

from streamrec.core.errors import InvalidRecord
from streamrec.core.types import Session
from streamrec.worker.acks import Delivery
from streamrec.worker.explain import ExplainRole
from streamrec.worker.recommend import RecommendRole
from streamrec.worker.record import Record

JSON = (("content-type", b"application/json"),)
EXAMPLES = Path(__file__).parents[2] / "topics" / "examples"


def example(topic: str) -> Delivery:
    value = sorted((EXAMPLES / topic / "valid").glob("*.json"))[0].read_bytes()
    return Delivery(Record(topic, 0, 7, 0, b"user", value, JSON, 1), 0.0, lambda delivery: None)


class Follower:
    """The catalogue that is waited for; meanwhile the partition may go."""

    catalogue = None

    def __init__(self, delivery: Delivery, goes: bool, comes: bool) -> None:
        self._delivery, self._goes, self._comes = delivery, goes, comes
        self.caught_up = asyncio.Event()

    async def reached(self, version: Any) -> None:
        self._delivery.dropped = self._goes
        if not self._comes:
            raise InvalidRecord("unknown_catalogue", "it never comes")


def output() -> MagicMock:
    async def sent(*_: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    return MagicMock(message=AsyncMock(side_effect=sent), dead_letter=AsyncMock(side_effect=sent))


@pytest.mark.parametrize("goes", [False, True])
@pytest.mark.parametrize("comes", [False, True])
def test_an_explanation_that_waited_for_a_catalogue_is_sent_only_where_the_partition_stayed(goes: bool, comes: bool) -> None:
    delivery, out = example("recommendations"), output()
    role = ExplainRole(MagicMock(), out, cast(Any, Follower(delivery, goes, comes)), MagicMock())
    asyncio.run(role._explain(delivery))
    assert out.message.await_count == (comes and not goes)
    assert out.dead_letter.await_count == (not comes and not goes)


@pytest.mark.parametrize("goes", [False, True])
def test_a_session_whose_catalogue_never_comes_is_a_dead_letter_only_where_the_partition_stayed(goes: bool) -> None:
    delivery, out = example("sessions"), output()
    role = RecommendRole(MagicMock(), out, cast(Any, Follower(delivery, goes, comes=False)), 8, MagicMock(), MagicMock())
    session = cast(Session, SimpleNamespace(catalogue=None))
    assert not asyncio.run(role._catalogue_reached(session, delivery))
    assert out.dead_letter.await_count == (not goes)


IN_TIME = """
import asyncio, sys
from streamrec.worker.app import make_app
from streamrec.worker.lease import Lease
from aiokafka.protocol.produce import ProduceRequest

async def run(kind):
    app = make_app("app", {"bootstrap_servers": "127.0.0.1:1"})
    app.lease = Lease(10)
    async def slow(): await asyncio.sleep(0.5)
    async def in_vain(): await app.lease.holding_back(None)(1, ProduceRequest(None, -1, 1000, []))
    await app.in_time(slow() if kind == "slow" else in_vain())
    print("done")

asyncio.run(run(sys.argv[1]))
"""


@pytest.mark.parametrize(("what", "ends"), [("slow", (0, "done\n")), ("in vain", (1, ""))])
def test_what_waits_for_a_lease_that_nobody_renews_ends_the_process_and_what_is_slow_does_not(
    what: str, ends: tuple[int, str]
) -> None:
    ran = subprocess.run([sys.executable, "-c", IN_TIME, what], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, "".join(line for line in ran.stdout.splitlines(True) if line == "done\n")) == ends, ran.stderr
