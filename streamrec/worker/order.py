"""Takes co-partitioned topics in the order of their records' timestamps, as Kafka Streams does (`max.task.idle.ms`, KIP-353).

Topics are read at different speeds, above all in a backlog. Of the partitions with one number, which hold the same users, the
record with the smallest timestamp comes next; ties go by topic name, and within a partition its own order holds. A partition
with no record here is waited for if records of it are known to lie on the broker, or on their way through Faust: ``wait`` seconds
at most after Faust has delivered what it fetched, once. One that is known to be at its end is not waited for, so an idle topic
costs nothing.

Records are queued here between the sentinel and the acknowledgement. A partition whose queue is full is not fetched.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from time import monotonic
from typing import Any, NamedTuple

from faust.types import TP

from streamrec.worker.record import Record

FULL = 500  # records of a partition: no more of it is fetched
ROOM = 100  # records of a partition: it is fetched again
BUSY = 10  # times the wait, for which a partition is waited for while Faust delivers what it fetched


class _Choice(NamedTuple):
    record: Record | None
    look_again: float | None  # seconds from now, where a wait ends by then


class TimeOrder:
    """The queues of one app.

    Args:
        app: the Faust app; its consumer is `streamrec.worker.consumer.Consumer`.
        topics: whose partitions of one number belong together.
        wait: seconds that a partition with records to come is waited for.
        reached: the offset after the last record of a partition that came here; None before the first.
    """

    def __init__(self, app: Any, topics: Collection[str], wait: float, reached: Callable[[TP], int | None]) -> None:
        self._app = app
        self._reached = reached
        self._topics = sorted(topics)
        self._wait = wait
        self._queues: dict[int, dict[str, deque[Record]]] = {}  # by partition number, those that hold something; least recent first
        self._late_since: dict[TP, float] = {}  # partitions that are waited for
        self._arrived_at = 0.0  # when a record came last
        self._busy_at = 0.0  # when Faust was seen last with records that have not come here yet
        self._generation: int | None = None
        self._arrived = asyncio.Event()
        app.before_drain = self.drop

    async def records(self, source: AsyncIterator[Record]) -> AsyncIterator[Record]:
        """The records of ``source``, by time across topics."""
        pump = asyncio.ensure_future(self._pump(source))
        try:
            while True:
                await asyncio.sleep(0)  # what has been fetched already comes first
                ended = pump.done()
                record, look_again = self._next(monotonic(), wait=not ended)
                if record is not None:
                    yield record
                elif ended:
                    pump.result()  # raises what ended it
                    return
                else:
                    self._arrived.clear()
                    waiter = asyncio.ensure_future(self._arrived.wait())
                    await asyncio.wait({pump, waiter}, timeout=look_again, return_when=asyncio.FIRST_COMPLETED)
                    waiter.cancel()
        finally:
            pump.cancel()

    def drop(self) -> None:
        """Forgets all records, which the broker delivers again: the partitions go, or the app stops."""
        for queues in self._queues.values():
            for record in (each for queue in queues.values() for each in queue):
                if record.message is not None:  # or a stop would wait for it
                    self._app.consumer.unacked.discard(record.message)
        self._queues.clear()
        self._late_since.clear()
        self._app.consumer.held_back.clear()

    def holds(self, topic: str, partition: int) -> bool:
        """Whether records of the partition wait here."""
        return bool(self._queues.get(partition, {}).get(topic))

    async def _pump(self, source: AsyncIterator[Record]) -> None:
        async for record in source:
            self._forget_older_generations()
            if record.generation == self._generation:
                queue = self._queues.setdefault(record.partition, {}).setdefault(record.topic, deque())
                queue.append(record)
                self._late_since.pop(TP(record.topic, record.partition), None)
                if len(queue) >= FULL:
                    self._app.consumer.held_back.add(TP(record.topic, record.partition))
            self._arrived_at = monotonic()
            self._arrived.set()

    def _next(self, now: float, wait: bool) -> _Choice:
        self._forget_older_generations()
        waits = []
        for partition in list(self._queues):
            queues = self._queues[partition]
            missing = [topic for topic in self._topics if topic not in queues] if wait else ()
            left = max((self._left_to_wait(topic, partition, now) for topic in missing), default=0.0)
            if left <= 0:
                return _Choice(self._pop(partition), None)
            waits.append(left)
        return _Choice(None, min(waits, default=None))

    def _pop(self, partition: int) -> Record:
        queues = self._queues.pop(partition)
        topic = min(queues, key=lambda name: (queues[name][0].timestamp, name))
        queue = queues[topic]
        record = queue.popleft()
        if len(queue) <= ROOM:
            self._app.consumer.held_back.discard(TP(topic, partition))
        if not queue:
            del queues[topic]
        if queues:
            self._queues[partition] = queues  # to the end: partitions take turns
        return record

    def _left_to_wait(self, topic: str, partition: int, now: float) -> float:
        """Seconds for which records of an empty partition are to be waited for still."""
        at = TP(topic, partition)
        if self._app.rebalancing or not (self._app.consumer.has_more(at) or self._in_transit(at)):
            self._late_since.pop(at, None)
            return 0.0
        since = self._late_since.setdefault(at, now)
        if now - self._arrived_at < self._wait and any(map(self._in_transit, self._app.consumer.handed_out)):
            self._busy_at = now
        return min(max(since, self._busy_at) + self._wait, since + BUSY * self._wait) - now

    def _in_transit(self, at: TP) -> bool:
        """Whether Faust has fetched records of a partition that have not come here."""
        handed_out: int = self._app.consumer.handed_out.get(at, 0)
        return handed_out > (self._reached(at) or 0)

    def _forget_older_generations(self) -> None:
        if self._generation != self._app.consumer_generation_id:
            self.drop()
            self._generation = self._app.consumer_generation_id
