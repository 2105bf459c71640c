"""The order in which a worker took in what several topics hold.

A user's clicks and listens arrive on two topics, and how they interleave is decided when they are fetched. The ``sessions``
log keeps what was decided: each of its records says how far into every source it reaches.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from functools import partial
from heapq import merge
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.intake import ERASED, ERASURES, read_event
from streamrec.core.types import Erased, Session
from streamrec.core.wire import EVENT_TYPES, decode, format_of
from streamrec.eventlog.records import LogRecord

Place = tuple[str, int, int]  # topic, partition, offset


class Reach(NamedTuple):
    """How far into the sources a record of ``sessions`` reaches, and the event that caused it."""

    user_id: str
    partition: int
    applied: dict[str, int]
    topic: str
    offset: int
    catalogue: int | None  # None of a tombstone


class Recorded(NamedTuple):
    """Input records in the order they were applied, and the catalogue's version that was named for each trigger."""

    inputs: list[LogRecord]
    catalogue: dict[Place, int]


def as_recorded(records: Iterable[LogRecord]) -> Recorded:
    """Items first, then events as the sessions in ``records`` tell; those not yet applied last, by time.

    A log without ``sessions`` records keeps its own order. Where compaction took sessions out, the events of a user between
    two that are left go by time, the later one's trigger last; those of one topic keep their own order always.

    Raises:
        UserError: a ``sessions`` record cannot be read.
    """
    records = list(records)
    sessions = [reach for record in records if record.topic == "sessions" and (reach := reach_of(record))]
    if not sessions:
        return Recorded(records, {})
    items = sorted((record for record in records if record.topic == "items"), key=_by_offset)
    events = [record for record in records if record.topic in EVENT_TYPES]
    pins = {(each.topic, each.partition, each.offset): each.catalogue for each in sessions if each.catalogue is not None}
    return Recorded([*items, *_interleave(events, sessions)], pins)


def _interleave(events: list[LogRecord], sessions: list[Reach]) -> Iterator[LogRecord]:
    waiting: dict[tuple[str | None, str, int], deque[LogRecord]] = defaultdict(deque)  # by user, topic and partition
    for record in sorted(events, key=_by_offset):
        waiting[_user(record), record.topic, record.partition].append(record)
    for session in sessions:
        due = [_up_to(offset, waiting[session.user_id, topic, session.partition]) for topic, offset in session.applied.items()]
        yield from merge(*due, key=partial(_with_last, session))
    yield from merge(*waiting.values(), key=_by_time)


def _up_to(offset: int, queue: deque[LogRecord]) -> list[LogRecord]:
    due = []
    while queue and queue[0].offset <= offset:
        due.append(queue.popleft())
    return due


def _with_last(cause: Reach, record: LogRecord) -> tuple[bool, int, str]:
    last = record.topic == cause.topic and record.offset >= cause.offset
    return last, *_by_time(record)


def _by_time(record: LogRecord) -> tuple[int, str]:
    return record.timestamp, record.topic


def _by_offset(record: LogRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _user(record: LogRecord) -> str | None:
    try:
        return read_event(record.topic, record.value, record.headers, record.timestamp).user_id
    except InvalidRecord:
        return None


def reach_of(record: LogRecord) -> Reach | None:
    """How far a record of ``sessions`` reaches; None of a tombstone that no erasure caused.

    Raises:
        UserError: the record cannot be read.
    """
    try:
        if record.value is None:
            note = next((value for name, value in record.headers if name == ERASED), None)
            if note is None or record.key is None:
                return None
            applied = decode(Erased, note, "json").applied
            user_id = record.key.decode(errors="replace")
            return Reach(user_id, record.partition, applied, ERASURES, applied.get(ERASURES, -1), None)
        session = decode(Session, record.value, format_of(record.headers))
    except InvalidRecord as fault:
        place = f"sessions, partition {record.partition}, offset {record.offset}"
        raise UserError(f"{place}: {fault}; leave the topic's records out to replay in the log's own order") from None
    trigger = session.trigger
    return Reach(session.user_id, trigger.partition, session.applied, trigger.topic, trigger.offset, session.catalogue)
