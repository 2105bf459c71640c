"""Dead letters: an unreadable record kept whole. Its key, its bytes and its headers stay; these headers are added.

A dead letter that is sent back to its topic carries the header REPLAYED with its own place. One that comes back with it has
been round once: nothing was mended meanwhile.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.session import Position

PREFIX = "streamrec.dlq."
REPLAYED = "streamrec.replayed"
MOST_BYTES = 900_000  # a compressed record can be larger than what may be sent; of such a one so much is kept
MOST_KEY_BYTES = 100_000
MOST_HEADER_BYTES = 300_000
_VARIES = re.compile(r"'[^']*'|`[^`]*`|\d+")
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
    """Stops a role whose records cannot be at fault any more: a bad deploy would drain a topic into the bin.

    Time is cut into stretches, each a sixth of ``seconds`` or longer. The role stops after STRETCHES of them in a
    row in which more than ``percent`` of the records were unreadable. A burst of one producer beside healthy
    traffic fills one or two and stops nobody. A stretch begins with a record: a pause in the traffic proves nothing.

    Args:
        percent: the highest share of unreadable records that is borne for ever; 100 bears all.
        seconds: how long a higher share is borne.
    """

    STRETCHES = 6
    FEWEST = 500  # until so many records have come, the missing ones count as readable

    def __init__(self, percent: int, seconds: float) -> None:
        self._percent = percent
        self._seconds = seconds
        self._stretch = _Tally(float("-inf"))
        self._over = _Tally(float("-inf"))  # all stretches above the limit in a row, the current one included
        self._stretches = 0  # how many of them are complete
        self._causes = _Causes()

    def readable(self, now: float) -> None:
        """A record could be read."""
        self._turn(now)
        self._stretch.count(False)
        self._over.count(False)

    def unreadable(self, at: Position, fault: InvalidRecord, now: float) -> None:
        """A record could not be read.

        Raises:
            UserError: that were too many for too long. The most frequent cause and this record are named.
        """
        self._turn(now)
        self._stretch.count(True)
        self._over.count(True)
        self._causes.add(at.topic, fault)
        if self._percent == 100 or self._stretches < self.STRETCHES:
            return
        if self._stretch.exceeds(self._percent) and self._over.exceeds(self._percent, self.FEWEST):
            raise UserError(self._reason(at, fault, now))

    def _reason(self, at: Position, fault: InvalidRecord, now: float) -> str:
        over, (count, cause) = self._over, self._causes.most_frequent()
        return (
            f"{over.unreadable:,} of {over.records:,} records in {now - over.since:.0f} s were unreadable "
            f"(dead_letter_limit_percent {self._percent}, dead_letter_limit_seconds {self._seconds:g}); "
            f"{count:,} of them: {cause}; the last, {at.topic}[{at.partition}]@{at.offset}: {fault}. "
            f"Stopped, acknowledging nothing over it: mend the producer or this worker, or raise the limit"
        )

    def _turn(self, now: float) -> None:
        """Begins the next stretch if the current one is over, and a new run if that was within the limit."""
        if now < self._stretch.since + self._seconds / self.STRETCHES:
            return
        if self._stretch.exceeds(self._percent):
            self._stretches += 1
        else:
            self._stretches, self._over, self._causes = 0, _Tally(now), _Causes()
        self._stretch = _Tally(now)


class _Tally:
    """How many records there were since a time, and how many of them were unreadable."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.records = 0
        self.unreadable = 0

    def count(self, unreadable: bool) -> None:
        self.records += 1
        self.unreadable += unreadable

    def exceeds(self, percent: int, fewest: int = 0) -> bool:
        return self.unreadable * 100 > percent * max(self.records, fewest)


class _Causes:
    """How often each fault was seen. Faults that differ in numbers and quoted words only are one."""

    MOST = 100  # what is rarer than a hundred others is counted by its reason

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, topic: str, fault: InvalidRecord) -> None:
        kind = f"{topic}: {fault.reason}: {_VARIES.sub('', fault.detail)}"
        if kind not in self._counts and len(self._counts) >= self.MOST:
            kind = f"{topic}: {fault.reason}"
        self._counts[kind] += 1
        self._examples[kind] = f"{topic}: {fault}"

    def most_frequent(self) -> tuple[int, str]:
        """The count of the most frequent fault, and its latest example."""
        [(kind, count)] = self._counts.most_common(1)
        return count, self._examples[kind]


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
