"""What a new owner of a partition must know of the records that lie before it: which of them are their key's newest.

The owner before it may have answered a user's newest session and died before it could commit. Whoever begins again at
the commit gets the backlog piece by piece; the newest session of a piece may be older than the one that was answered,
and would be answered after it. So the keys of the backlog are read once, past Faust, when a partition's first record comes:
only a key's newest record of the backlog is worth answering.
"""

from aiokafka import TopicPartition

from streamrec.worker.reader import Connection, Reader
from streamrec.worker.record import Record

AHEAD = 20_000  # records of a partition; nobody answers so many without a commit


class Backlog:
    """Knows the newest record of each key, of what a partition held when it was assigned.

    Args:
        topic: full name; records of other topics are never superseded.
    """

    def __init__(self, topic: str, connection: Connection) -> None:
        self._topic = topic
        self._reader = Reader(connection)
        self._newest: dict[int, dict[bytes | None, int]] = {}  # by partition and key: the offset, where it is still to come
        self._seen: dict[int, tuple[int, int]] = {}  # by partition: the generation, and where what was read then ends

    async def is_superseded(self, record: Record) -> bool:
        """Whether a newer record of the same key lay behind this one when its partition was assigned."""
        if record.topic != self._topic:
            return False
        generation, end = self._seen.get(record.partition, (None, 0))
        if generation != record.generation:
            end = await self._look(record)
            self._seen[record.partition] = record.generation, end
        if record.offset >= end:
            self._newest.pop(record.partition, None)
            return False
        return self._newest[record.partition].get(record.key, -1) > record.offset

    async def close(self, *_: object, **__: object) -> None:
        """Ends the connection; also as a handler of Faust's signals."""
        await self._reader.stop()

    async def _look(self, first: Record) -> int:
        at = TopicPartition(first.topic, first.partition)
        _, end = (await self._reader.extents([at]))[at]
        end = min(end, first.offset + AHEAD)
        newest: dict[bytes | None, int] = {}
        async for records in self._reader.read({at: (first.offset, end)}):
            newest.update((record.key, record.offset) for record in records)
        self._newest[first.partition] = newest
        return end
