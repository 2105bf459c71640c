"""What comes in, read by contract: the record of an input topic as an event or as a change of the catalogue."""

from collections.abc import Collection
from typing import Any

from streamrec.core.errors import InvalidRecord
from streamrec.core.types import Erasure, Event, Item, Message
from streamrec.core.wire import EVENT_TYPES, Format, decode, format_of

Headers = Collection[tuple[str, bytes | None]]
MISROUTED = "streamrec.misrouted"  # header of an event that was sent on: the partition and offset where it first stood
ERASED = "streamrec.erased"  # header of a user's tombstones: JSON, see `streamrec.core.types.Erased`
ERASURES = "clicks"  # the topic that erasures stand on
MAX_HEADER_BYTES = 65_536  # of one record, names and values
BELIEVED_SINCE = 100_000_000_000  # milliseconds: a record timestamp before March 1973 is no time that a clock had
LATEST_MS = 253_402_300_799_999  # the end of the year 9999
SECONDS_OF_THIS_CENTURY = range(946_684_800, 4_102_444_800)  # as milliseconds they are days of January and February 1970


def read_event(topic: str, value: bytes | None, headers: Headers, timestamp: int = 0) -> Event | Erasure:
    """The event in a record of ``clicks`` or ``listens``, or the erasure in one of ``clicks``.

    Args:
        timestamp: the record's own, milliseconds UTC; the unit of ``occurred_at`` is checked only against a plausible one.

    Raises:
        InvalidRecord: see `streamrec.core.wire.decode`; also when the event's type does not belong on the topic, or its
            ``occurred_at`` is in another unit than milliseconds.
    """
    if sum(len(name) + len(content or b"") for name, content in headers) > MAX_HEADER_BYTES:
        raise InvalidRecord("too_large", f"its headers have more than {MAX_HEADER_BYTES} bytes")
    written_as = format_of(headers)
    try:
        event = decode(Event, value, written_as)
    except InvalidRecord as fault:  # an erasure, which is rare, is looked for only where there is no event
        if topic == ERASURES and _peek(value, written_as).event_type == "erase":
            return decode(Erasure, value, written_as)
        raise _explained(fault, topic, _peek(value, written_as).occurred_at) from None
    if event.event_type != EVENT_TYPES[topic]:
        raise InvalidRecord("invalid", f"event_type {event.event_type!r} does not belong on {topic}")
    if event.occurred_at in SECONDS_OF_THIS_CENTURY and timestamp >= BELIEVED_SINCE:
        raise InvalidRecord("invalid", f"occurred_at {event.occurred_at} {_unit(event.occurred_at)}")
    return event


def belongs(partition: int, found_in: int, headers: Headers) -> bool:
    """Whether an event stands in its user's partition; False where it is to be sent on.

    Raises:
        InvalidRecord: it was sent on once already, and still stands in a wrong one.
    """
    if partition == found_in:
        return True
    if any(name == MISROUTED for name, _ in headers):
        raise InvalidRecord("invalid", f"sent on once and still not in partition {partition}, where its user belongs")
    return False


def read_item(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[str, Item | None]:
    """The item id and the item in a record of ``items``; None for the item where the record withdraws it.

    Raises:
        InvalidRecord: see `streamrec.core.wire.decode`; also when key and ``item_id`` differ (compaction goes by the key).
    """
    try:
        item_id = (key or b"").decode()
    except UnicodeDecodeError:
        raise InvalidRecord("invalid", "the key is not UTF-8; it must be the item_id") from None
    if not item_id:
        raise InvalidRecord("invalid", "no key; it must be the item_id")
    if value is None:
        return item_id, None
    item = decode(Item, value, format_of(headers))
    if item.item_id != item_id:
        raise InvalidRecord("invalid", f"key {item_id!r} and item_id {item.item_id!r} differ")
    return item_id, item


def _explained(fault: InvalidRecord, topic: str, occurred_at: Any) -> InvalidRecord:
    """The fault, with what is expected if it is about the time or the type."""
    if "$.occurred_at" in fault.detail:
        unit = _unit(occurred_at) if isinstance(occurred_at, int | float) else ""
        expected = f"{occurred_at} {unit}" if unit else "a whole number of milliseconds since 1970 (UTC) is expected"
        return InvalidRecord(fault.reason, f"{fault.detail}: {expected}")
    if "$.event_type" in fault.detail:
        return InvalidRecord(fault.reason, f"{fault.detail}: {EVENT_TYPES[topic]!r} is expected on {topic}")
    return fault


def _unit(occurred_at: float) -> str:
    """What a number that is no time in milliseconds looks like."""
    if SECONDS_OF_THIS_CENTURY.start <= occurred_at < SECONDS_OF_THIS_CENTURY.stop:
        return "looks like seconds since 1970; milliseconds are expected"
    if occurred_at > LATEST_MS:
        unit = "microseconds" if occurred_at < SECONDS_OF_THIS_CENTURY.stop * 10**6 else "nanoseconds"
        return f"looks like {unit} since 1970; milliseconds are expected"
    return ""


class _Peeked(Message, frozen=True, kw_only=True):
    """The fields that tell what an unreadable record was meant to be."""

    event_type: Any = None
    occurred_at: Any = None


def _peek(value: bytes | None, written_as: Format) -> _Peeked:
    try:
        return decode(_Peeked, value, written_as)
    except InvalidRecord:
        return _Peeked()
