"""The dead letters on a broker: looked at, sent back to where they came from, deleted."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from kafka import TopicPartition

from streamrec.admin.client import broker_errors, client_options, connect, connect_consumer
from streamrec.admin.dump import partitions_of, read_topics
from streamrec.core.deadletters import MOST_BYTES, REPLAYED, Origin, origin_of
from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.wire import format_of
from streamrec.eventlog.records import LogRecord, as_json
from streamrec.settings import Settings

TOPIC = "dead-letters"
SOURCES = ("clicks", "listens", "items")  # what is made from them is made anew; an old one must not follow a newer one


class Place(NamedTuple):
    """Where a dead letter stands in its own topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"

    @classmethod
    def of(cls, text: str) -> "Place":
        """From ``PARTITION@OFFSET``; raises UserError where it is none."""
        partition, _, offset = text.partition("@")
        if not (partition.isdecimal() and offset.isdecimal() and len(text) < 32):
            raise UserError(f"{text!r} is no place of a dead letter; write PARTITION@OFFSET, as `dead-letters list` shows it")
        return cls(int(partition), int(offset))


class Letter(NamedTuple):
    """A dead letter: the record that it is kept as, and what its headers say."""

    record: LogRecord
    origin: Origin

    @property
    def place(self) -> Place:
        return Place(self.record.partition, self.record.offset)

    def summary(self) -> dict[str, Any]:
        """One line of the list, for machines."""
        at = self.origin.at
        return {
            "place": str(self.place),
            "reason": self.origin.reason,
            "detail": self.origin.detail,
            "role": self.origin.role,
            "origin": {"topic": at.topic, "partition": at.partition, "offset": at.offset, "timestamp": at.timestamp},
            "bytes": len(self.record.value or b""),
            "cut": self.origin.cut,
            "replayed": self.origin.replayed,
            "timestamp": self.record.timestamp,
        }


class Filter(NamedTuple):
    """Which dead letters are meant; nothing means all of them."""

    reason: str | None = None
    topic: str | None = None
    places: Collection[Place] = ()
    since: datetime | None = None

    def wants(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.origin.reason)
            and self.topic in (None, letter.origin.at.topic)
            and (not self.places or letter.place in self.places)
        )


EVERYTHING = Filter()


class Replayed(NamedTuple):
    """What became of the dead letters that were meant."""

    sent: int
    looped: int  # sent back once already, and here again
    cut: int  # kept in part only: what came back would be another record
    unknown: int  # of no input topic


def letters(settings: Settings, which: Filter = EVERYTHING) -> list[Letter]:
    """The dead letters that are meant, by time. A record without their headers is no dead letter and is left out.

    Raises:
        UserError: the broker cannot be reached, or the topic is missing.
    """
    found = []
    for record in read_topics(settings, [TOPIC], start=which.since):
        try:
            letter = Letter(record, origin_of(record.headers))
        except InvalidRecord:
            continue
        if which.wants(letter):
            found.append(letter)
    return found


def replay(
    chosen: Iterable[Letter],
    settings: Settings,
    *,
    again: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Replayed:
    """Sends the original bytes, key and headers back to their topic and partition, marked with the dead letter's place.

    Sent twice they are the same bytes: what can be read now counts once, by its ``event_id``.

    Args:
        again: also those that were sent back before and have come round.
        dry_run: only counts.

    Raises:
        UserError: the broker cannot be reached, or refuses one.
    """
    counts = {"sent": 0, "looped": 0, "cut": 0, "unknown": 0}
    due: list[Letter] = []
    for letter in chosen:
        fate = _fate(letter, again)
        counts[fate] += 1
        if fate == "sent":
            due.append(letter)
    if due and not dry_run:
        connect(settings).close()  # it says why there is no connection; the other client does not
        asyncio.run(_send_back(due, settings, progress))
    return Replayed(**counts)


def purge(settings: Settings, up_to: Mapping[int, int] | None = None) -> dict[int, int]:
    """Deletes the dead letters of each partition up to an offset, that one included; all that there are where None.

    Returns:
        By partition, how many were deleted.
    """
    with broker_errors(settings, "purging dead letters"):
        with connect_consumer(settings) as consumer:
            partitions = partitions_of(consumer, settings, [TOPIC])
            first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        known = {at.partition: at for at in partitions}
        wanted = {at.partition: end[at] for at in partitions} if up_to is None else {n: off + 1 for n, off in up_to.items()}
        if missing := wanted.keys() - known.keys():
            raise UserError(f"{TOPIC} has no partition {min(missing)}; it has {len(known)}")
        before: dict[TopicPartition, int] = {known[n]: min(offset, end[known[n]]) for n, offset in wanted.items()}
        before = {at: offset for at, offset in before.items() if offset > first[at]}
        if before:
            with connect(settings) as admin:
                admin.delete_records(before, timeout_ms=10_000)
    return {at.partition: offset - first[at] for at, offset in before.items()}


def described(letter: Letter) -> dict[str, Any]:
    """All that there is of one: the list's line, key, headers and value as a log file writes them."""
    own = letter.record._replace(topic=letter.origin.at.topic, headers=letter.origin.headers)
    return letter.summary() | {name: value for name, value in as_json(own).items() if name in ("key", "value", "headers")}


def readable(letter: Letter) -> str | None:
    """The value, indented, read as its content-type says or as the other format; None where it is neither."""
    first = format_of(letter.origin.headers)
    for written_as in (first, "json" if first == "msgpack" else "msgpack"):
        module = msgspec.json if written_as == "json" else msgspec.msgpack
        try:
            value = module.decode(letter.record.value or b"")
            if isinstance(value, dict | list):
                return json.dumps(value, indent=2, default=repr)
        except (msgspec.DecodeError, RecursionError, ValueError, TypeError):  # keys can be what no JSON has
            continue
    return None


def hexdump(data: bytes, most: int = 1024) -> Iterator[str]:
    """Lines of 16 bytes: offset, hexadecimal, and the characters where they are ASCII."""
    for start in range(0, min(len(data), most), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):47}  {text}"
    if len(data) > most:
        yield f"… {len(data) - most:,} bytes more; --raw gives them all"


def _fate(letter: Letter, again: bool) -> str:
    if letter.origin.at.topic not in SOURCES:
        return "unknown"
    if letter.origin.cut:
        return "cut"
    return "looped" if letter.origin.replayed and not again else "sent"


async def _send_back(due: Sequence[Letter], settings: Settings, progress: Callable[[int], None]) -> None:
    """By aiokafka: kafka-python sends no header without a value. Compressed, since what came so may not fit otherwise."""
    options = {"acks": "all", "compression_type": "gzip", "max_request_size": 4 * MOST_BYTES, "linger_ms": 5}
    async with AIOKafkaProducer(**client_options(settings), **options) as producer:
        for done, letter in enumerate(due, start=1):
            at = letter.origin.at
            headers = [*(header for header in letter.origin.headers if header[0] != REPLAYED), mark_of(letter)]
            topic, key, value = settings.topic_prefix + at.topic, letter.record.key, letter.record.value
            try:
                await producer.send_and_wait(topic, value, key=key, partition=at.partition, headers=headers)
            except KafkaError as error:
                where = f"dead letter {letter.place}, number {done} of {len(due)}"
                raise UserError(f"broker {settings.broker}: {where}, was not taken by {topic}: {error!r}") from None
            progress(done)


def mark_of(letter: Letter) -> tuple[str, bytes]:
    """The header by which one that was sent back is known again."""
    return REPLAYED, str(letter.place).encode()
