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
from streamrec.core.intake import read_event
from streamrec.core.types import Session, Trigger
from streamrec.core.wire import EVENT_TYPES, decode, format_of
from streamrec.eventlog.records import LogRecord

Place = tuple[str, int, int]  # topic, partition, offset


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
    sessions = [_session(record) for record in records if record.topic == "sessions" and record.value is not None]
    if not sessions:
        return Recorded(records, {})
    items = sorted((record for record in records if record.topic == "items"), key=_by_offset)
    events = [record for record in records if record.topic in EVENT_TYPES]
    pins = {(each.trigger.topic, each.trigger.partition, each.trigger.offset): each.catalogue for each in sessions}
    return Recorded([*items, *_interleave(events, sessions)], pins)


def _interleave(events: list[LogRecord], sessions: list[Session]) -> Iterator[LogRecord]:
    waiting: dict[tuple[str | None, str, int], deque[LogRecord]] = defaultdict(deque)  # by user, topic and partition
    for record in sorted(events, key=_by_offset):
        waiting[_user(record), record.topic, record.partition].append(record)
    for session in sessions:
        due = [
            _up_to(offset, waiting[session.user_id, topic, session.trigger.partition]) for topic, offset in session.applied.items()
        ]
        yield from merge(*due, key=partial(_with_last, session.trigger))
    yield from merge(*waiting.values(), key=_by_time)


def _up_to(offset: int, queue: deque[LogRecord]) -> list[LogRecord]:
    due = []
    while queue and queue[0].offset <= offset:
        due.append(queue.popleft())
    return due


def _with_last(trigger: Trigger, record: LogRecord) -> tuple[bool, int, str]:
    last = record.topic == trigger.topic and record.offset >= trigger.offset
    return last, *_by_time(record)


def _by_time(record: LogRecord) -> tuple[int, str]:
    return record.timestamp, record.topic


def _by_offset(record: LogRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _user(record: LogRecord) -> str | None:
    try:
        return read_event(record.topic, record.value, record.headers).user_id
    except InvalidRecord:
        return None


def _session(record: LogRecord) -> Session:
    try:
        return decode(Session, record.value, format_of(record.headers))
    except InvalidRecord as fault:
        place = f"sessions, partition {record.partition}, offset {record.offset}"
        raise UserError(f"{place}: {fault}; leave the topic's records out to replay in the log's own order") from None
