"""How far a record of ``sessions`` reaches into the topics of events."""

from typing import NamedTuple

from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.intake import ERASED, ERASURES
from streamrec.core.session import State
from streamrec.core.types import Erased, Session
from streamrec.core.wire import decode, format_of
from streamrec.eventlog.records import LogRecord

Cause = tuple[str, int, int, str]  # the trigger's topic, partition, offset and event id


class Reach(NamedTuple):
    """How far into the sources a record of ``sessions`` reaches, and the event that caused it."""

    user_id: str
    partition: int
    applied: dict[str, int]
    applied_at: dict[str, int]
    topic: str
    offset: int
    trigger: Cause | None  # None of a tombstone
    catalogue: int


def reach_of(record: LogRecord) -> Reach | None:
    """How far a record of ``sessions`` reaches; None of a tombstone that no erasure caused.

    Raises:
        UserError: the record cannot be read.
    """
    state = state_of(record)
    if state is None:
        return None
    applied, applied_at = state.applied, state.applied_at
    if isinstance(state, Erased):
        user_id = (record.key or b"").decode(errors="replace")
        return Reach(user_id, record.partition, applied, applied_at, ERASURES, applied.get(ERASURES, -1), None, 0)
    by = state.trigger
    trigger = by.topic, by.partition, by.offset, by.event_id
    return Reach(state.user_id, by.partition, applied, applied_at, by.topic, by.offset, trigger, state.catalogue)


def state_of(record: LogRecord) -> State | None:
    """What a record of ``sessions`` says is held of its user; None of a tombstone that no erasure caused.

    Raises:
        UserError: the record cannot be read.
    """
    try:
        if record.value is not None:
            return decode(Session, record.value, format_of(record.headers))
        note = next((value for name, value in record.headers if name == ERASED), None)
        return None if note is None or record.key is None else decode(Erased, note, "json")
    except InvalidRecord as fault:
        place = f"sessions, partition {record.partition}, offset {record.offset}"
        raise UserError(f"{place}: {fault}; leave the topic's records out to replay in the log's own order") from None
