"""Dead letters: an unreadable record kept whole. Its key, its bytes and its headers stay; these headers are added."""

from streamrec.core.errors import InvalidRecord
from streamrec.core.session import Position

PREFIX = "streamrec.dlq."


def dead_letter_headers(at: Position, fault: InvalidRecord, role: str) -> tuple[tuple[str, bytes], ...]:
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
    return tuple((PREFIX + name, str(value).encode()) for name, value in said.items())
