"""Acknowledgement in order, without Kafka: what a consumer is told, and when."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streamrec.core.errors import UserError
from streamrec.worker.acks import Acks, Delivery, DeliveryFailed
from streamrec.worker.record import Record


class Consumer:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []
        self.unacked: set[Any] = set()

    def confirm(self, message: Any) -> None:
        self.confirmed.append(message)
        self.unacked.discard(message)


class App:
    """As much of a Faust app as acknowledging needs."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        self.consumer_generation_id = 1
        self.failures: list[BaseException] = []
        self.after_drain: Callable[[], None] = lambda: None
        self.on_partitions_assigned = SimpleNamespace(connect=self._connect)

    def _connect(self, receiver: Callable[..., Any], weak: bool) -> None:
        self._assigned = receiver

    async def rebalance(self) -> None:
        self.consumer_generation_id += 1
        await self._assigned(self, set())

    def fail(self, failure: BaseException) -> None:
        self.failures.append(failure)


def record(offset: int, partition: int = 0, generation: int = 1, brought: bool = False) -> Record:
    name = f"p{partition}@{offset}"
    return Record("in", partition, offset, 0, None, b"", (), generation, None if brought else name)


@pytest.fixture
def app() -> App:
    return App()


async def take(acks: Acks, *records: Record) -> list[Delivery]:
    return [await acks.take(each) for each in records]


def confirmed() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def tell() -> None:
    """Lets the callbacks of finished futures run."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_record_waits_for_all_of_its_outputs_and_for_those_before_it(app: App) -> None:
    async def run() -> None:
        first, second = await take(Acks(app), record(0), record(1))
        output: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.done(confirmed(), output)
        second.done(confirmed())
        await tell()
        assert app.consumer.confirmed == []
        output.set_result(None)
        await tell()
        assert app.consumer.confirmed == ["p0@0", "p0@1"]

    asyncio.run(run())


def test_partitions_do_not_wait_for_each_other(app: App) -> None:
    async def run() -> None:
        _, other = await take(Acks(app), record(0), record(0, partition=1))
        other.done()
        assert app.consumer.confirmed == ["p1@0"]

    asyncio.run(run())


def test_a_record_that_the_sentinel_brought_holds_back_those_after_it(app: App) -> None:
    async def run() -> None:
        brought, after = await take(Acks(app), record(0, brought=True), record(1))
        after.done()
        assert app.consumer.confirmed == []
        brought.done()
        assert app.consumer.confirmed == ["p0@1"]

    asyncio.run(run())


def test_there_is_room_for_so_many_and_the_next_waits(app: App) -> None:
    async def run() -> None:
        acks = Acks(app, limit=2)
        first, _ = await take(acks, record(0), record(1))
        third = asyncio.ensure_future(acks.take(record(2)))
        await tell()
        assert not third.done()
        first.done()
        await tell()
        assert third.done()

    asyncio.run(run())


@pytest.mark.parametrize("advice", ["", "raise max.message.bytes"])
def test_a_refusal_that_can_be_mended_is_a_users_error(app: App, advice: str) -> None:
    async def run() -> None:
        [delivery] = await take(Acks(app), record(0))
        output: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refusal = OSError("refused")
        if advice:
            refusal.add_note(advice)
        output.set_exception(refusal)
        delivery.done(output)
        await tell()

    asyncio.run(run())
    [failure] = app.failures
    assert isinstance(failure, UserError if advice else DeliveryFailed)
    assert str(failure) == advice or "refused" in str(failure)
    assert app.consumer.confirmed == []


def test_after_a_rebalance_what_was_undone_is_forgotten_and_late_outputs_acknowledge_nothing(app: App) -> None:
    async def run() -> None:
        acks = Acks(app)
        late, undone = await take(acks, record(5), record(6))
        app.consumer.unacked = {"p0@5", "p0@6"}
        await app.rebalance()
        assert not app.consumer.unacked
        (again,) = await take(acks, record(5, generation=2))
        late.done(confirmed())
        undone.done(confirmed())
        await tell()
        assert app.consumer.confirmed == []
        assert acks.oldest() is again

    asyncio.run(run())


def test_what_waits_for_room_when_the_partitions_are_given_up_is_not_done(app: App) -> None:
    async def run() -> None:
        acks = Acks(app, limit=1)
        in_hand = await acks.take(record(0))
        waiting = asyncio.ensure_future(acks.take(record(1)))
        await tell()
        app.after_drain()
        assert in_hand.dropped
        assert (await waiting).dropped
        await app.rebalance()
        assert not (await acks.take(record(1, generation=2))).dropped

    asyncio.run(run())


def test_a_record_of_an_old_generation_takes_no_place(app: App) -> None:
    async def run() -> None:
        acks = Acks(app)
        await app.rebalance()
        stale, current = await take(acks, record(9, generation=1), record(5, generation=2))
        current.done()
        stale.done()
        assert app.consumer.confirmed == ["p0@5"]

    asyncio.run(run())


def test_a_refused_output_stops_the_app_and_nothing_after_it_is_acknowledged(app: App) -> None:
    async def run() -> None:
        acks = Acks(app)
        first, second = await take(acks, record(0), record(1))
        app.consumer.unacked = {"p0@0", "p0@1"}
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.set_exception(OSError("too large"))
        first.done(confirmed(), refused)
        second.done(confirmed())
        await tell()
        assert app.consumer.confirmed == []
        assert isinstance(app.failures[0], DeliveryFailed)
        assert "in[0]@0" in str(app.failures[0])
        assert not app.consumer.unacked, "or stopping would wait for them"
        waiting = asyncio.ensure_future(acks.take(record(2)))
        await tell()
        assert not waiting.done(), "nothing more is begun"
        waiting.cancel()

    asyncio.run(run())
