"""Reads ranges of partitions directly, without a group: what a table was, and what Faust skipped. Commits nothing."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

Connection = Mapping[str, Any]  # bootstrap servers and security, as aiokafka's clients take them
Ranges = Mapping[TopicPartition, tuple[int, int]]  # from the first offset up to, not including, the second


class Reader:
    """One connection, opened when it is first used; one read at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._consumer: Any = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def read(self, ranges: Ranges) -> AsyncIterator[list[Any]]:
        """The records of the ranges, in batches, each of one partition; in order within a partition.

        Read uncommitted, as an at-least-once Faust reads. Waits as long as a broker is away. Close it when you leave early.
        """
        left = {partition: end for partition, (start, end) in ranges.items() if start < end}
        if not left:
            return
        async with self._lock:
            consumer = await self._started()
            consumer.assign(list(left))
            try:
                for partition in left:
                    consumer.seek(partition, ranges[partition][0])
                while left:
                    for partition, records in (await consumer.getmany(*left, timeout_ms=200)).items():
                        end = left[partition]
                        yield records if records[-1].offset < end else [record for record in records if record.offset < end]
                    # by position, not by record: a range may end in transaction markers, or in what compaction removed
                    left = {partition: end for partition, end in left.items() if await consumer.position(partition) < end}
            finally:
                consumer.unsubscribe()

    async def first(self, partition: TopicPartition, start: int, end: int, count: int) -> list[Any]:
        """The first records of a range: at least ``count``, or all there are."""
        found: list[Any] = []
        async with aclosing(self.read({partition: (start, end)})) as batches:  # type: ignore[type-var]
            async for records in batches:
                found += records
                if len(found) >= count:
                    break
        return found

    async def extents(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """The first offset that each partition still has, and the one after its last."""
        async with self._lock:
            consumer = await self._started()
            first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        return {partition: (first[partition], end[partition]) for partition in partitions}

    async def _started(self) -> Any:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._connection, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest")
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer


def servers(connection: Connection) -> list[str]:
    """The bootstrap servers, one by one."""
    given = connection["bootstrap_servers"]
    return given.split(",") if isinstance(given, str) else list(given)
