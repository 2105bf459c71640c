"""Reads ranges of partitions directly, without a group: what a table was, and what Faust skipped. Commits nothing."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

Connection = Mapping[str, Any]  # bootstrap servers and security, as aiokafka's clients take them
Ranges = Mapping[TopicPartition, tuple[int, int]]  # from the first offset up to, not including, the second


class Reader:
    """One connection, opened when it is first used; one read at a time.

    Args:
        committed: what open and aborted transactions hold is not there, and a partition ends at its last stable offset. False
            shows the end of everything that was written.
    """

    def __init__(self, connection: Connection, *, committed: bool = True) -> None:
        self._connection = connection
        self._isolation = "read_committed" if committed else "read_uncommitted"
        self._consumer: Any = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_surely(consumer.stop(), consumer)

    async def read(self, ranges: Ranges) -> AsyncIterator[list[Any]]:
        """The records of the ranges, in batches, each of one partition; in order within a partition.

        Waits as long as a broker is away. Close it when you leave early.
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
            consumer = AIOKafkaConsumer(
                **self._connection,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._isolation,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_surely(consumer.stop(), consumer)
                raise
            self._consumer = consumer
        return self._consumer


async def stop_surely(stopping: Coroutine[Any, Any, None], consumer: Any) -> None:
    """Ends when ``stopping``, which stops the aiokafka consumer, has ended; by itself it may never.

    A fetcher (aiokafka 0.14) that has just lost its assignment cancels its fetches and awaits them under
    `suppress(CancelledError)`. When `stop` cancels the fetcher in that moment, so right after `unsubscribe` or at the start of a
    rebalance, the cancellation is swallowed too, the fetcher waits for its next assignment and `stop` waits for the fetcher.
    So it is cancelled again.
    """
    task = asyncio.ensure_future(stopping)
    while not (await asyncio.wait({task}, timeout=0.2))[0]:
        if consumer._fetcher is not None:
            consumer._fetcher._fetch_task.cancel()
    await task


def servers(connection: Connection) -> list[str]:
    """The bootstrap servers, one by one."""
    given = connection["bootstrap_servers"]
    return given.split(",") if isinstance(given, str) else list(given)
