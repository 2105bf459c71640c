"""Dead letters: an unreadable record kept whole. Its key, its bytes and its headers stay; these headers are added.

A dead letter that is sent back to its topic carries the header REPLAYED with its own place. One that comes back with it has
been round once: nothing was mended meanwhile.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.session import Position

PREFIX = "streamrec.dlq."
REPLAYED = "streamrec.replayed"
MOST_BYTES = 900_000  # a compressed record can be larger than what may be sent; of such a one so much is kept
MOST_KEY_BYTES = 100_000
MOST_HEADER_BYTES = 300_000
NUMBERS = ("partition", "offset", "timestamp")

Headers = tuple[tuple[str, bytes | None], ...]


class DeadLetter(NamedTuple):
    """What is sent: the record as it was, and where it came from and why in further headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Origin(NamedTuple):
    """What a dead letter's headers say of it, and the headers that the record had itself."""

    at: Position
    role: str
    reason: str
    detail: str
    headers: Headers
    cut: bool  # no client would send it as it was (too large, or nothing at all): what is kept is not the same

    @property
    def replayed(self) -> str | None:
        """The place of the dead letter that this one was, before it was sent back: it goes round."""
        places = [value for name, value in self.headers if name == REPLAYED and value]
        return places[-1].decode(errors="replace") if places else None


class DeadLetterLimit:
    """Stops a role when its records can no longer be at fault: a bad deploy would drain a topic into the bin.

    Args:
        percent: of the last WINDOW records may be unreadable (before so many came, the missing ones count as readable); 100: all.
    """

    WINDOW = 500

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._last: deque[bool] = deque([False] * self.WINDOW, self.WINDOW)  # whether each was unreadable

    def readable(self) -> None:
        """A record could be read."""
        self._last.append(False)

    def unreadable(self, what: str) -> None:
        """A record could not be read. Raises UserError, with ``what`` as the latest example, where there are too many."""
        self._last.append(True)
        count = sum(self._last)
        if self._percent < 100 and count * 100 > self._percent * self.WINDOW:
            raise UserError(
                f"{count} of the last {self.WINDOW} records were unreadable, dead_letter_limit_percent is {self._percent}; "
                f"the last: {what}. Stopped, acknowledging nothing over it: mend the producer or this worker, or raise the limit"
            )


def dead_letter(at: Position, fault: InvalidRecord, role: str, key: bytes | None, value: bytes | None, had: Headers) -> DeadLetter:
    """The dead letter for a record. ``at.topic`` is the name without the deployment's prefix.

    Whole, unless it is larger than Kafka takes back: then its value is cut first, and headers say what is missing.
    """
    kept_key = key if key is None else key[:MOST_KEY_BYTES]
    kept_headers = tuple(_first(had, MOST_HEADER_BYTES))
    room = MOST_BYTES - len(kept_key or b"") - sum(map(_size, kept_headers))
    nothing = key is None and value is None  # no client sends such a record, though a broker has it
    kept = b"" if nothing else value if value is None else value[:room]
    said: dict[str, object] = {
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
        "timestamp": at.timestamp,
        "role": role,
        "reason": fault.reason,
        "detail": fault.detail,
    }
    if value is not None and kept != value:
        said["original_bytes"] = len(value)
    if key is not None and kept_key != key:
        said["original_key_bytes"] = len(key)
    if kept_headers != had:
        said["dropped_headers"] = len(had) - len(kept_headers)
    if nothing:
        said["null"] = "key and value"
    added = tuple((PREFIX + name, str(what).encode()) for name, what in said.items())
    return DeadLetter(kept_key, kept, (*kept_headers, *added))


def origin_of(headers: Sequence[tuple[str, bytes | None]]) -> Origin:
    """What the headers of a dead letter say; of one that was a dead letter before, what was added last.

    Raises:
        InvalidRecord: they are not those of a dead letter.
    """
    start = max((place for place, (name, _) in enumerate(headers) if name == PREFIX + "topic"), default=None)
    if start is None:
        raise InvalidRecord("invalid", f"no header {PREFIX}topic: not a dead letter")
    said = {name.removeprefix(PREFIX): (value or b"").decode(errors="replace") for name, value in headers[start:]}
    try:
        partition, offset, timestamp = (int(said[name]) for name in NUMBERS)
        at = Position(said["topic"], partition, offset, timestamp)
        cut = bool({"original_bytes", "original_key_bytes", "dropped_headers", "null"} & said.keys())
        return Origin(at, said["role"], said["reason"], said["detail"], tuple(headers[:start]), cut)
    except (KeyError, ValueError) as error:
        raise InvalidRecord("invalid", f"header {PREFIX}…: {error!r}: not a dead letter") from None


def _first(headers: Headers, most: int) -> Iterator[tuple[str, bytes | None]]:
    for header in headers:
        most -= _size(header)
        if most < 0:
            return
        yield header


def _size(header: tuple[str, bytes | None]) -> int:
    name, value = header
    return len(name.encode()) + len(value or b"") + 8
