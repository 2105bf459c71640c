"""Follows the topic ``items`` from its first record on, and keeps the catalogue that comes of it.

With a plain consumer and no group: every process reads the whole topic, which Faust's groups would split between them.
"""

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streamrec.core.catalogue import Catalogue
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_item
from streamrec.worker.reader import stop_surely

log = structlog.get_logger(__name__)
WAIT_MS = 500
PATIENCE = 15.0  # seconds that a version may lie beyond the topic's end, as after a change of its leader


class Follower:
    """Keeps ``catalogue`` as far as the topic goes.

    Args:
        topic: the full name of the topic; it has one partition.
        connection: bootstrap servers and security, as aiokafka takes them.
    """

    def __init__(self, catalogue: Catalogue, topic: str, connection: dict[str, Any]) -> None:
        self.catalogue = catalogue
        self._partition = TopicPartition(topic, 0)
        self._connection = connection
        self._moved = asyncio.Condition()
        self.caught_up = asyncio.Event()
        self._consumer: Any = None
        self._never: float = float("inf")  # versions from here on are known not to come

    async def run(self) -> None:
        """Reads until cancelled; ``caught_up`` is set once everything that was there at the start has been read."""
        consumer = AIOKafkaConsumer(
            **self._connection,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        self._consumer = consumer
        try:
            consumer.assign([self._partition])
            start = (await consumer.beginning_offsets([self._partition]))[self._partition]
            consumer.seek(self._partition, start)  # seek_to_beginning would ask a leader that has moved again and again
            end = (await consumer.end_offsets([self._partition]))[self._partition]
            while True:
                for record in (await consumer.getmany(timeout_ms=WAIT_MS)).get(self._partition, []):
                    self._apply(record)
                await self._move_to(await consumer.position(self._partition))
                if self.catalogue.version >= end:
                    self.caught_up.set()
        finally:
            await stop_surely(consumer.stop(), consumer)

    def not_ready(self) -> list[str]:
        """Why the catalogue makes this process not ready."""
        return [] if self.caught_up.is_set() else [f"{self._partition.topic}: not read to its end yet"]

    async def reached(self, version: int) -> None:
        """Waits until the catalogue goes as far as ``version``.

        Raises:
            InvalidRecord: it never will: for some time the topic has ended before it, so it was deleted or made anew.
        """
        while self.catalogue.version < version:
            if version >= self._never:
                raise InvalidRecord("unknown_catalogue", f"catalogue version {version}; the topic ends at {self.catalogue.version}")
            try:
                async with asyncio.timeout(PATIENCE), self._moved:
                    await self._moved.wait_for(lambda: self.catalogue.version >= version)
            except TimeoutError:
                if await self._end() < version:
                    self._never = min(self._never, version)

    async def _end(self) -> float:
        try:
            return int((await self._consumer.end_offsets([self._partition]))[self._partition])
        except KafkaError:  # a broker that is away says nothing about the topic
            return float("inf")

    async def _move_to(self, position: int) -> None:
        async with self._moved:
            self.catalogue.skip_to(position)
            if self.catalogue.version >= self._never:
                self._never = float("inf")
            self._moved.notify_all()

    def _apply(self, record: Any) -> None:
        try:
            self.catalogue.apply(record.offset, *read_item(record.key, record.value, record.headers))
        except InvalidRecord as fault:
            # The recommend role dead-letters it; here it only must not count as an item.
            log.warning("unreadable item skipped", topic=record.topic, offset=record.offset, fault=str(fault))
