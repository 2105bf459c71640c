"""Dead letters: an unreadable record kept whole. Its key, its bytes and its headers stay; these headers are added."""

from streamrec.core.errors import InvalidRecord
from streamrec.core.session import Position

PREFIX = "streamrec.dlq."
MOST_BYTES = 900_000  # a compressed record can be larger than what may be sent; of such a one this much is kept


def kept_bytes(value: bytes | None) -> bytes | None:
    """The original bytes, all of them unless they are more than Kafka would take."""
    return value if value is None else value[:MOST_BYTES]


def dead_letter_headers(at: Position, fault: InvalidRecord, role: str, value: bytes | None = None) -> tuple[tuple[str, bytes], ...]:
    """Where the record came from, who could not read it, and why. ``at.topic`` is the name without the deployment's prefix."""
    said = {
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
        "timestamp": at.timestamp,
        "role": role,
        "reason": fault.reason,
        "detail": fault.detail,
    }
    if value is not None and len(value) > MOST_BYTES:
        said["original_bytes"] = len(value)
    return tuple((PREFIX + name, str(value).encode()) for name, value in said.items())
