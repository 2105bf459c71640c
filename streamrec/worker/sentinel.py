"""Watches that nothing is skipped: in each partition the next record delivered must follow the last one.

Faust takes a gap between offsets for what compaction removed and commits over it. Here the range is read directly: where
records are in it they were lost on the way, and are counted, named in the log and handed over in their place.
"""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, cast

import structlog
from aiokafka import TopicPartition
from faust.types import TP

from streamrec.worker.reader import Connection, Reader
from streamrec.worker.record import Record, from_consumer_record, from_message

log = structlog.get_logger(__name__)

AHEAD = 2000  # records looked at beyond a gap, so that a compacted topic does not cost a read for each of its gaps


class Sentinel:
    """Watches the partitions of one app.

    Args:
        app: the Faust app.
        connection: how to read past Faust.
        on_loss: called with the topic and the number of records that Faust skipped.
    """

    def __init__(self, app: Any, connection: Connection, on_loss: Callable[[str, int], None] = lambda topic, lost: None) -> None:
        self._app = app
        self._reader = Reader(connection)
        self._on_loss = on_loss
        self._due: dict[TopicPartition, tuple[int, int]] = {}  # (generation, the offset expected next)
        self._known: dict[TopicPartition, tuple[int, int, set[int]]] = {}  # (from, to, the offsets that hold a record)
        self.lost = 0
        app.on_before_shutdown.connect(self._on_shutdown, weak=False)

    async def records(self, stream: Any) -> AsyncIterator[Record]:
        """The stream's records, each partition without a gap. To be acknowledged by hand."""
        async for event in stream.noack().events():
            record = from_message(event.message)
            partition = TopicPartition(record.topic, record.partition)
            due = await self.due(partition)
            if record.offset > due and await self._holds_records(partition, due, record.offset):
                async for missing in self._missing(partition, due, record.offset):
                    yield from_consumer_record(missing, record.generation)
            if record.offset >= due:  # else it comes again
                self._due[partition] = (record.generation, record.offset + 1)
            yield record

    async def due(self, partition: TopicPartition) -> int:
        """The offset that must come next: after the last one delivered, else the committed one, else the first there is."""
        current = self._app.consumer_generation_id
        if self._due.get(partition, (None, 0))[0] != current:
            thread = self._app.consumer._thread  # asked, because Faust delivers before it knows
            committed = await thread.call_thread(thread._ensure_consumer().committed, partition)
            restarted = getattr(self._app.consumer, "restarted", {}).get(partition)
            if restarted is not None:  # the commit is void
                committed = restarted.start
            first = (await self._reader.extents([partition]))[partition][0]
            offset = committed or first
            if offset < first:
                where = {"topic": partition.topic, "partition": partition.partition, "start": offset, "end": first}
                log.error("retention took these offsets before they were read", **where)
            if self._due.get(partition, (None, 0))[0] != self._app.consumer_generation_id:  # or the stream has moved on meanwhile
                self._due[partition] = (current, max(offset, first))
        return self._due[partition][1]

    def reached(self, partition: TP) -> int | None:
        """The offset after the last one delivered; None where nothing of this assignment was."""
        generation, due = self._due.get(cast(TopicPartition, partition), (None, 0))
        return due if generation == self._app.consumer_generation_id else None

    async def overdue(self, partitions: Collection[TopicPartition]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The partitions that hold records which were not delivered yet, with the offset that is due there; and those in which
        nothing is due, with the offset up to which they hold no record: markers of transactions, or aborted records.
        """
        ends = {partition: end for partition, (_, end) in (await self._reader.extents(partitions)).items()}
        late, passed = {}, {}
        for partition, end in ends.items():
            due = await self.due(partition)
            if due < end and await self._holds_records(partition, due, end):
                late[partition] = due
            elif due < end:
                passed[partition] = end
        return late, passed

    def passes(self, partition: TopicPartition, end: int) -> None:
        """Nothing before ``end`` is due any more."""
        due = self.reached(TP(*partition))
        if due is not None and due < end:
            self._due[partition] = (self._app.consumer_generation_id, end)

    async def _missing(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[Any]:
        lost = 0
        async for records in self._reader.read({partition: (start, end)}):
            for record in records:
                lost += 1
                yield record
        if lost:
            where = {"topic": partition.topic, "partition": partition.partition, "start": start, "end": end}
            log.error("Faust skipped records; they were handed over late", lost=lost, **where)
            self.lost += lost
            self._on_loss(partition.topic, lost)

    async def _holds_records(self, partition: TopicPartition, start: int, end: int) -> bool:
        known_from, known_to, offsets = self._known.get(partition, (0, 0, set()))
        if not known_from <= start < end <= known_to:
            log_end = (await self._reader.extents([partition]))[partition][1]
            records = await self._reader.first(partition, start, log_end, AHEAD)
            offsets = {record.offset for record in records}
            known_to = log_end if len(records) < AHEAD else records[-1].offset + 1
            self._known[partition] = (start, known_to, offsets)
        return any(start <= offset < end for offset in offsets)

    async def _on_shutdown(self, app: Any, **_: Any) -> None:
        await self._reader.stop()
