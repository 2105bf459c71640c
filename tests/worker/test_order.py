"""Co-partitioned topics by time, without Kafka: what comes first, what is waited for, and what is dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streamrec.worker import order
from streamrec.worker.order import TimeOrder
from streamrec.worker.record import Record

WAIT = 0.05


class App:
    """As much of a Faust app as the order needs. ``more`` holds the partitions that have records on the broker still."""

    def __init__(self, *more: TP) -> None:
        self.more = set(more)
        self.consumer = SimpleNamespace(held_back=set(), unacked=set(), has_more=self.more.__contains__, handed_out={})
        self.consumer_generation_id = 1
        self.rebalancing = False
        self.before_drain: Callable[[], None] = lambda: None


def record(topic: str, timestamp: int, partition: int = 0, generation: int = 1, offset: int = 0) -> Record:
    return Record(topic, partition, offset, timestamp, None, b"", (), generation, None)


async def given_in_order(*batches: list[Record] | Callable[[], Any]) -> AsyncIterator[Record]:
    """Batches as they are fetched, each after the one before it was worked off; a function is called in between."""
    for batch in batches:
        if callable(batch):
            if (waits := batch()) is not None:
                await waits
            continue
        for each in batch:
            yield each
        await asyncio.sleep(0.01)


def taken(app: App, *batches: Any, wait: float = WAIT) -> list[tuple[str, int]]:
    async def run() -> list[tuple[str, int]]:
        ordered = TimeOrder(app, ("listens", "clicks"), wait, lambda at: None)
        return [(each.topic, each.timestamp) async for each in ordered.records(given_in_order(*batches))]

    return asyncio.run(run())


def listens(*times: int, **more: Any) -> list[Record]:
    return [record("listens", at, **more) for at in times]


def clicks(*times: int, **more: Any) -> list[Record]:
    return [record("clicks", at, **more) for at in times]


def test_the_earlier_record_comes_first_ties_by_topic() -> None:
    assert taken(App(), listens(1, 4, 4, 9) + clicks(2, 4)) == [
        ("listens", 1), ("clicks", 2), ("clicks", 4), ("listens", 4), ("listens", 4), ("listens", 9)
    ]  # fmt: skip


def test_a_partition_at_its_end_is_not_waited_for() -> None:
    assert taken(App(), listens(5), clicks(1), wait=60) == [("listens", 5), ("clicks", 1)]


def test_a_partition_with_more_to_come_is_waited_for() -> None:
    app = App(TP("clicks", 0))
    assert taken(app, listens(5), clicks(1), app.more.clear, wait=60) == [("clicks", 1), ("listens", 5)]


def test_what_faust_has_fetched_is_waited_for() -> None:
    """Longer than the wait, as long as records arrive; once the last has, the wait begins."""
    app = App()
    reached = {TP("clicks", 0): 0}
    app.consumer.handed_out = {TP("clicks", 0): 9}

    async def run() -> list[tuple[str, int]]:
        ordered = TimeOrder(app, ("listens", "clicks"), WAIT, reached.get)
        slowly = [part for n in range(20) for part in (listens(7, partition=1), listens(8 + n) if n == 0 else [])]
        source = given_in_order(*slowly, lambda: reached.update({TP("clicks", 0): 9}), clicks(1))
        return [(each.topic, each.timestamp) async for each in ordered.records(source)]

    assert asyncio.run(run()) == [("listens", 7)] * 20 + [("clicks", 1), ("listens", 8)]


def test_the_wait_ends() -> None:
    """Once: what comes later of the other partition goes on at once."""

    async def pause() -> None:
        await asyncio.sleep(3 * WAIT)

    async def run() -> tuple[list[int], float]:
        ordered = TimeOrder(App(TP("clicks", 0)), ("listens", "clicks"), WAIT, lambda at: None)
        began = asyncio.get_running_loop().time()
        times = [each.timestamp async for each in ordered.records(given_in_order(listens(*range(50)), pause, listens(50)))]
        return times, asyncio.get_running_loop().time() - began

    times, seconds = asyncio.run(run())
    assert times == list(range(51))
    assert WAIT <= seconds < 10 * WAIT


def test_other_partitions_do_not_wait() -> None:
    app = App(TP("clicks", 0))
    batch = listens(1) + listens(7, partition=1)
    assert taken(app, batch, clicks(0), app.more.clear, wait=60) == [("listens", 7), ("clicks", 0), ("listens", 1)]


def test_a_full_queue_is_not_fetched_until_there_is_room(monkeypatch: Any) -> None:
    monkeypatch.setattr(order, "FULL", 5)
    monkeypatch.setattr(order, "ROOM", 2)
    app = App(TP("clicks", 0))
    at = TP("listens", 0)
    held: list[bool] = []
    look = lambda: held.append(at in app.consumer.held_back)  # noqa: E731
    taken(app, listens(10, 11, 12, 13), look, listens(14, 15), look, clicks(20), look, wait=60)
    assert held == [False, True, False]


def test_an_older_generation_is_dropped() -> None:
    app = App(TP("clicks", 0))

    def rebalance() -> None:
        app.consumer_generation_id = 2
        app.more.clear()

    assert taken(app, listens(1, 2), rebalance, listens(3, generation=1), listens(2, generation=2), wait=60) == [("listens", 2)]


def test_nothing_is_waited_for_in_a_rebalance() -> None:
    app = App(TP("clicks", 0))
    app.rebalancing = True
    assert taken(app, listens(5), wait=60) == [("listens", 5)]


def test_what_ends_the_source_is_raised() -> None:
    def fail() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        taken(App(), listens(1), fail)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=30), st.integers(1, 5))
def test_sorted_topics_come_out_sorted(drawn: list[tuple[bool, int]], size: int) -> None:
    """However they are fetched, as long as what is to come is known; none is lost and none comes twice."""
    events = [record("clicks" if is_click else "listens", at) for is_click, at in sorted(drawn, key=lambda each: each[1])]
    by_topic = [[each for each in events if each.topic == topic] for topic in ("listens", "clicks")]
    batches = [part[start : start + size] for part in by_topic for start in range(0, len(part), size)]  # one topic first
    app = App(TP("clicks", 0))
    out = taken(app, *batches, app.more.clear, wait=60)
    assert out == sorted(((each.topic, each.timestamp) for each in events), key=lambda each: (each[1], each[0]))
