"""What comes in, read by contract: the record of an input topic as an event or as a change of the catalogue."""

from collections.abc import Collection

from streamrec.core.errors import InvalidRecord
from streamrec.core.types import Erasure, Event, Item, Message
from streamrec.core.wire import EVENT_TYPES, Format, decode, format_of

Headers = Collection[tuple[str, bytes | None]]
MISROUTED = "streamrec.misrouted"  # header of an event that was sent on: the partition and offset where it first stood
ERASED = "streamrec.erased"  # header of a user's tombstones: JSON, see `streamrec.core.types.Erased`
ERASURES = "clicks"  # the topic that erasures stand on
MAX_HEADER_BYTES = 65_536  # of one record, names and values


def read_event(topic: str, value: bytes | None, headers: Headers) -> Event | Erasure:
    """The event in a record of ``clicks`` or ``listens``, or the erasure in one of ``clicks``.

    Raises:
        InvalidRecord: see `streamrec.core.wire.decode`; also when the event's type does not belong on the topic.
    """
    if sum(len(name) + len(content or b"") for name, content in headers) > MAX_HEADER_BYTES:
        raise InvalidRecord("too_large", f"its headers have more than {MAX_HEADER_BYTES} bytes")
    written_as = format_of(headers)
    try:
        event = decode(Event, value, written_as)
    except InvalidRecord:  # an erasure, which is rare, is looked for only where there is no event
        if topic != ERASURES or not _is_erasure(value, written_as):
            raise
        return decode(Erasure, value, written_as)
    if event.event_type != EVENT_TYPES[topic]:
        raise InvalidRecord("invalid", f"event_type {event.event_type!r} does not belong on {topic}")
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


def _is_erasure(value: bytes | None, written_as: Format) -> bool:
    try:
        return decode(_Typed, value, written_as).event_type == "erase"
    except InvalidRecord:
        return False


class _Typed(Message, frozen=True, kw_only=True):
    event_type: str | None = None
