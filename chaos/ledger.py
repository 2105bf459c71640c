"""What the run itself did to the logs: lives of topics made anew, transactions, which records are valid events.

The verdict accounts for every offset with it. A place is topic, partition and offset; the offsets of each further
life of a topic are counted from the next multiple of `LIFE` on, so that no two records of a run have one place.
"""

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from streamrec.admin.contracts import load_contracts
from streamrec.core.intake import MISROUTED
from streamrec.eventlog.records import LogRecord
from streamrec.settings import Settings

LIFE = 1 << 40

Place = tuple[str, int, int]
Partition = tuple[str, int]  # topic, without the deployment's prefix, and number


class Confirmed(NamedTuple):
    """Where the brokers said that they put a record, and its `checksum`: another may be there after a truncation."""

    place: Place
    checksum: int


class Transaction(NamedTuple):
    """A transaction that has ended, and its records. It left one marker in each of their partitions."""

    records: tuple[Confirmed, ...]
    committed: bool

    @property
    def partitions(self) -> set[tuple[Partition, int]]:
        """Partitions and the lives that they were in."""
        return {((topic, partition), offset // LIFE) for (topic, partition, offset), _ in self.records}


class Lives:
    """When topics were made anew, in milliseconds UTC: after the last record of one life, before the next one's first."""

    def __init__(self, made_anew: Mapping[str, Sequence[int]] | None = None) -> None:
        self._made_anew: dict[str, list[int]] = defaultdict(list)
        for topic, moments in (made_anew or {}).items():
            self._made_anew[topic] = sorted(moments)

    def begin(self, topic: str, at: int) -> None:
        """The topic was made anew at this time."""
        self._made_anew[topic].append(at)

    def now(self, topic: str) -> int:
        """Where the offsets of the topic's present life are counted from."""
        return LIFE * len(self._made_anew.get(topic, ()))

    def offset(self, topic: str, offset: int, written_at: int | None) -> int:
        """The offset of a record written at this time, counted through all lives; None: in the first one."""
        life = 0 if written_at is None else bisect_right(self._made_anew.get(topic, ()), written_at)
        return offset + LIFE * life

    def unrolled(self, record: LogRecord) -> LogRecord:
        return record._replace(offset=self.offset(record.topic, record.offset, record.timestamp))

    def reach(self, applied: Mapping[str, int], applied_at: Mapping[str, int]) -> dict[str, int]:
        """How far a session reaches in each topic."""
        return {topic: self.offset(topic, offset, applied_at.get(topic)) for topic, offset in applied.items()}


class Ledger:
    """Filled while the run goes on; faults, load and watch share it."""

    def __init__(self, settings: Settings) -> None:
        contracts = load_contracts(settings.topics_dir)
        self.partitions = {name: each.partitions for name, each in contracts.items()}  # by topic, now
        self.lives = Lives()
        self.kept: list[LogRecord] = []  # what topics held before they were deleted, read as committed
        self.ends: dict[tuple[Partition, int], int] = {}  # by partition and life: the offset after the last one
        self.transactions: list[Transaction] = []
        self.confirmed: list[Confirmed] = []
        self.valid: set[int] = set()  # checksums of all valid events that were ever sent, confirmed or not

    def place(self, topic: str, partition: int, offset: int) -> Place:
        """The place of a record that was just written."""
        return topic, partition, self.lives.now(topic) + offset

    def begin(self, topic: str, partitions: int) -> None:
        """The topic was deleted, and is made anew with so many partitions."""
        self.lives.begin(topic, time.time_ns() // 1_000_000)
        self.partitions[topic] = partitions

    def keep(self, records: Iterable[LogRecord], ends: Mapping[Partition, int]) -> None:
        """A topic as it is read for the last time: before it is deleted, or at the end of the run."""
        self.kept.extend(records)
        self.ends |= {(at, self.lives.now(at[0]) // LIFE): end for at, end in ends.items()}


def first_place(record: LogRecord) -> tuple[int, int] | None:
    """Partition and offset at which an event was found that was sent on to its user's partition."""
    found = next((value for name, value in record.headers if name == MISROUTED and value), None)
    if found is None:
        return None
    partition, offset = found.decode().split("@")
    return int(partition), record.offset // LIFE * LIFE + int(offset)


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Of a record's contents."""
    return crc32(b"%r %r" % (key, value))
