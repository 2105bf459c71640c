"""What a rebalance took back is not done any more: its new owner may have answered a newer session of the user already."""

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streamrec.core.deadletters import DeadLetterLimit
from streamrec.core.wire import encode
from streamrec.worker.acks import Acks, Delivery
from streamrec.worker.intake import Intake
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output
from streamrec.worker.recommend import RateCap, RecommendRole
from streamrec.worker.record import Record
from tests.make import Uniform, catalogue, pipeline, session, trigger
from tests.worker.test_acks import App, confirmed


class Sending(App):
    """An app whose producer writes down whom it was asked to send to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_to: list[str] = []
        self.producer = SimpleNamespace(send=self._send)

    async def _send(self, topic: str, key: bytes, *_: Any) -> "asyncio.Future[None]":
        self.sent_to.append(key.decode())
        return confirmed()


def of(user: str, offset: int) -> Record:
    made = session("a", user_id=user, trigger=trigger(offset))
    return Record("sessions", 0, offset, 0, user.encode(), encode(made), (), 1, f"sessions@{offset}")


class Slow(Uniform):
    """A generator that waits until it may go on."""

    def __init__(self, items: str) -> None:
        super().__init__(items)
        self.asked, self.may = threading.Event(), threading.Event()

    def propose(self, histories: Any, count: int, had: Any = None) -> Any:
        self.asked.set()
        self.may.wait(10)
        return super().propose(histories, count, had)


def test_a_session_that_waited_or_was_in_the_model_during_a_rebalance_is_not_answered() -> None:
    async def run() -> list[str]:
        app, model = Sending(), Slow("abc")
        metrics = Metrics(CollectorRegistry())
        follower: Any = SimpleNamespace(caught_up=asyncio.Event(), catalogue=catalogue(*"abc"), reached=lambda _: asyncio.sleep(0))
        follower.caught_up.set()
        output = Output(app, "recommend", "", "msgpack", metrics, DeadLetterLimit(100, 60), 1)  # type: ignore[arg-type]
        role = RecommendRole(pipeline(model), output, follower, 1, RateCap(0), metrics)
        acks = Acks(app)
        coming: asyncio.Queue[Delivery] = asyncio.Queue()

        async def deliveries() -> AsyncIterator[Delivery]:
            while True:
                yield await coming.get()

        running = asyncio.create_task(role.run(deliveries()))
        for number, user in enumerate(("in-the-model", "due", "waiting")):
            coming.put_nowait(await acks.take(of(user, number)))
        await asyncio.to_thread(model.asked.wait, 10)
        await app.rebalance()
        model.may.set()
        new = of("new", 3)
        coming.put_nowait(await acks.take(Record(*[getattr(new, name) for name in FIELDS], 2, "sessions@3")))
        async with asyncio.timeout(10):
            while "new" not in app.sent_to:
                await asyncio.sleep(0.01)
        running.cancel()
        return app.sent_to

    assert asyncio.run(run()) == ["new"]


FIELDS = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")


@pytest.mark.parametrize("generation", [1, 2])
def test_the_intake_hands_nothing_out_that_was_taken_back_while_it_waited_for_room(generation: int) -> None:
    async def run() -> list[int]:
        app = Sending()
        intake = Intake.__new__(Intake)
        intake.acks, intake.order, intake._taking = Acks(app, limit=1), None, None

        async def records(_: Any) -> AsyncIterator[Record]:
            for number in range(2):
                each = of("anna", number)
                yield Record(*[getattr(each, name) for name in FIELDS], 1 if number == 0 else generation, f"sessions@{number}")

        intake.sentinel = SimpleNamespace(records=records)  # type: ignore[assignment]
        handed = []

        async def body() -> None:
            async for delivery in intake._deliveries(None):
                handed.append(delivery.record.offset)  # noqa: PERF401  (it is cancelled while it runs)

        reading = asyncio.create_task(body())
        await asyncio.sleep(0.01)  # the second waits for room, which the rebalance makes
        await app.rebalance()
        await asyncio.sleep(0.01)
        reading.cancel()
        return handed

    assert asyncio.run(run()) == ([0] if generation == 1 else [0, 1])
