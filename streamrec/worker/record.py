"""A record as it came from Kafka: bytes, and the place where they stood. It does not know what the bytes mean."""

from dataclasses import dataclass, field
from typing import Any

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of an input topic.

    ``generation`` is the group's generation in which it was delivered. ``message`` is Faust's own object, None for a record
    that Faust skipped and the sentinel brought.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds UTC
    key: bytes | None
    value: bytes | None
    headers: Headers
    generation: int
    message: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def from_message(message: Any) -> Record:
    """The record that a Faust message carries."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        round(message.timestamp * 1000),
        message.key,
        message.value,
        tuple(message.headers or ()),
        message.generation_id,
        message,
    )


def from_consumer_record(record: Any, generation: int) -> Record:
    """The record that an aiokafka consumer read."""
    return Record(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
        generation,
    )
