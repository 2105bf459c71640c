"""A table of bytes whose changelog is a given topic, and whose every write can be awaited. It knows nothing of its values.

Faust's own table drops the future of a changelog write: a write that Kafka refuses is never seen, and its input is committed.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import faust
import lz4.block
from aiokafka import TopicPartition
from faust.types import TP

from streamrec.worker.app import send
from streamrec.worker.reader import Connection, Reader


class Grave(bytes):
    """What is held for a deleted key: a note, which stands in a header of its tombstone and goes when the tombstone goes."""


IsAhead = Callable[[bytes, bytes], bool]  # (held, read): whether what was read is ahead of what is held


class ByteTable(faust.Table[bytes, bytes]):
    """Keys and values are bytes, held per partition. A value of None deletes. Made before the app starts; the app knows it then.

    The topic is given, not made: its partition count must be that of the source topics (`probe.check` sees to it). What is read
    back is taken only where it is ahead of what is held, so the late write of a worker that had already lost
    the partition changes nothing.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        changelog: str,
        is_ahead: IsAhead,
        connection: Connection,
        note_header: str = "note",
        **options: Any,
    ) -> None:
        # without a schema and key_type=bytes Faust decodes keys as JSON, and its recovery hangs in silence
        raw: faust.Schema[bytes, bytes] = faust.Schema(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        topic = app.topic(changelog, schema=raw, acks=False, internal=True, allow_empty=True)
        super().__init__(app, name=changelog, changelog_topic=topic, schema=raw, key_type=bytes, value_type=bytes, **options)
        self._changelog = changelog
        self._is_ahead = is_ahead
        self._connection = connection
        self._note_header = note_header
        self._rows: dict[int, dict[bytes, bytes]] = {}  # compressed: little more than half the memory, for a microsecond a write
        self._next: dict[int, int] = {}  # the offset after the last one that the rows contain, without a gap
        self.loaded = 0  # records read in the last recovery
        self.empty: set[int] = set()  # partitions of the changelog that have never held a record
        app.tables.add(self)

    def read(self, partition: int, key: bytes) -> bytes | None:
        """What the table holds for the key; a `Grave` where it was deleted with a note."""
        row = self._rows.get(partition, {}).get(key)
        return row if row is None or isinstance(row, Grave) else lz4.block.decompress(row)

    def sizes(self) -> dict[int, int]:
        """How many keys are held, by partition."""
        return {partition: len(rows) for partition, rows in self._rows.items()}

    async def write(self, partition: int, key: bytes, value: bytes | None) -> Awaitable[Any]:
        """Holds the value, and sends it to the changelog; None and a `Grave` delete.

        The future is done when Kafka has it, and failed when it has not. ``partition`` is the one of the event that caused it.
        """
        self._hold(partition, key, value)
        note = ((self._note_header, bytes(value)),) if isinstance(value, Grave) else ()
        written = None if note else value
        delivery = await send(self.app, self._changelog, key, written, partition=partition, headers=note)
        delivery.add_done_callback(self._written)
        return delivery

    async def load(self, partitions: set[int]) -> None:
        """Makes the table what the changelog says it is, for these partitions; forgets the others."""
        for lost in set(self._rows) - partitions:
            del self._rows[lost]
            self._next.pop(lost, None)
        self.empty = set()
        if not partitions:
            return
        wanted = [TopicPartition(self._changelog, partition) for partition in sorted(partitions)]
        async with Reader(self._connection) as reader:
            extents = await reader.extents(wanted)
            self.empty = {at.partition for at, (_, end) in extents.items() if end == 0}
            # kept as it is where nobody but us wrote since
            stale = {at: extent for at, extent in extents.items() if self._next.get(at.partition) != extent[1]}
            for at in stale:
                self._rows[at.partition] = {}
            self.loaded = 0
            async for records in reader.read(stale):
                for record in records:
                    self._take(record.partition, record.key, record.value, record.headers)
                self.loaded += len(records)
        self._next |= {at.partition: end for at, (_, end) in stale.items()}

    def _hold(self, partition: int, key: bytes, value: bytes | None) -> None:
        rows = self._rows.setdefault(partition, {})
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value if isinstance(value, Grave) else lz4.block.compress(value)

    def _written(self, delivery: Future[Any]) -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            written = delivery.result()
            if self._next.get(written.partition) == written.offset:  # else somebody else wrote too: load it again
                self._next[written.partition] = written.offset + 1

    def _take(self, partition: int, key: bytes, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> None:
        if value is None:
            value = next((Grave(note) for name, note in headers if name == self._note_header and note), None)
        held = self.read(partition, key)
        if held is None or value is None or self._is_ahead(held, value):
            self._hold(partition, key, value)

    # What Faust's own recovery calls, where the app is not mended.
    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        for event in batch:
            self._take(event.message.partition, event.message.key, event.message.value, event.message.headers or ())

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        for lost in set(self._rows) - {tp.partition for tp in active_tps}:
            del self._rows[lost]
        await self.call_recover_callbacks()
