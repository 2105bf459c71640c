"""The order in which a worker took in what several topics hold.

A user's clicks and listens arrive on two topics, and how they interleave is decided when they are fetched. The ``sessions``
log keeps what was decided: each of its records says how far into every source it reaches.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event
from streamrec.core.types import Session
from streamrec.core.wire import EVENT_TYPES, decode, format_of
from streamrec.eventlog.records import LogRecord

Place = tuple[str, int, int]  # topic, partition, offset


class Recorded(NamedTuple):
    """Input records in the order they were applied, and the catalogue's version that was named for each trigger."""

    inputs: list[LogRecord]
    catalogue: dict[Place, int]


def as_recorded(records: Iterable[LogRecord]) -> Recorded:
    """Items first, then events as the sessions in ``records`` tell; those not yet applied last, by time.

    A log without ``sessions`` records keeps its own order.
    """
    records = list(records)
    sessions = [_session(record) for record in records if record.topic == "sessions" and record.value is not None]
    if not sessions:
        return Recorded(records, {})
    items = [record for record in records if record.topic == "items"]
    events = [record for record in records if record.topic in EVENT_TYPES]
    pins = {(each.trigger.topic, each.trigger.partition, each.trigger.offset): each.catalogue for each in sessions}
    return Recorded([*items, *_interleave(events, sessions)], pins)


def _interleave(events: list[LogRecord], sessions: list[Session]) -> Iterator[LogRecord]:
    waiting: dict[tuple[str, str], deque[LogRecord]] = defaultdict(deque)
    others = []
    for record in sorted(events, key=lambda record: (record.topic, record.partition, record.offset)):
        user = _user(record)
        if user is None:
            others.append(record)
        else:
            waiting[user, record.topic].append(record)
    for session in sessions:
        due = []
        for topic, offset in session.applied.items():
            queue = waiting[session.user_id, topic]
            while queue and queue[0].offset <= offset:
                due.append(queue.popleft())
        yield from sorted(due, key=_by_time)  # more than one only where compaction took the records between
    yield from sorted([*others, *(record for queue in waiting.values() for record in queue)], key=_by_time)


def _by_time(record: LogRecord) -> tuple[int, str, int, int]:
    return record.timestamp, record.topic, record.partition, record.offset


def _user(record: LogRecord) -> str | None:
    try:
        return read_event(record.topic, record.value, record.headers).user_id
    except InvalidRecord:
        return None


def _session(record: LogRecord) -> Session:
    return decode(Session, record.value, format_of(record.headers))
