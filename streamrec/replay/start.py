"""Where a user's replay begins, in a log whose first events are gone: taken by retention, or not asked for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord
from streamrec.core.had import item_hash
from streamrec.core.intake import ERASURES, read_event
from streamrec.core.session import State, is_ahead
from streamrec.core.types import Erased, Erasure, Event, Session
from streamrec.eventlog.records import LogRecord
from streamrec.replay.reach import Reach, state_of


class Step(NamedTuple):
    """A record of ``sessions``, and by topic the events that it has taken in and none before it had."""

    reach: Reach
    record: LogRecord
    due: Mapping[str, Sequence[LogRecord]]


class Start(NamedTuple):
    """The session that a user begins with, and the record that holds it."""

    state: State
    record: LogRecord


def starts(steps: Iterable[Step]) -> dict[str, Start]:
    """By user the last session that does not follow from the one before it and the events in the log.

    A user all of whose sessions follow begins with nothing, and is left out.

    Args:
        steps: in the order of the log.
    """
    found: dict[str, Start] = {}
    newest: dict[str, State] = {}
    for reach, record, due in steps:
        state, before = state_of(record), newest.get(reach.user_id)
        if state is None or (before is not None and not is_ahead(before, state)):
            continue  # a late write of a worker that had lost the partition
        newest[reach.user_id] = state
        if not _follows(state, before, due):
            found[reach.user_id] = Start(state, record)
    return found


def _follows(state: State, before: State | None, due: Mapping[str, Sequence[LogRecord]]) -> bool:
    """Whether everything that the state knows comes from the one before it and from these events."""
    return all(_reached(topic, state, before, due[topic]) for topic in state.applied) and (
        _erased(state, before, due) if isinstance(state, Erased) else _known(state, before, due)
    )


def _reached(topic: str, state: State, before: State | None, due: Sequence[LogRecord]) -> bool:
    applied = before.applied.get(topic) if before is not None else None
    if state.applied[topic] != (due[-1].offset if due else applied):
        return False
    written_at = [record.timestamp for record in due]
    if before is not None and topic in before.applied_at:
        written_at.append(before.applied_at[topic])
    return topic not in state.applied_at or state.applied_at[topic] == max(0, *written_at)


def _erased(state: State, before: State | None, due: Mapping[str, Sequence[LogRecord]]) -> bool:
    erasures = {max(record.timestamp, 0) for record in due.get(ERASURES, ()) if isinstance(_event(record), Erasure)}
    return state.erased_at in {before.erased_at if before is not None else None, *erasures}


def _known(state: Session, before: State | None, due: Mapping[str, Sequence[LogRecord]]) -> bool:
    """Whether trigger, history and what the user had are known without the events that are gone."""
    held = before if isinstance(before, Session) else None
    past = held.history if held else ()
    records = [record for of_topic in due.values() for record in of_topic]
    events = [event for record in records if isinstance(event := _event(record), Event)]
    by = state.trigger
    if not (held and held.trigger == by) and (by.topic, by.partition, by.offset) not in {each[:3] for each in records}:
        return False
    ids = {each.event_id for each in past} | {each.event_id for each in events}
    if not ids.issuperset(each.event_id for each in state.history):
        return False
    if state.had or state.had_late:
        items = {item_hash(each.item_id) for each in past} | {item_hash(each.item_id) for each in events}
        items.update(held.had + held.had_late if held else ())
        if not items.issuperset(state.had + state.had_late):
            return False
    return _erased(state, before, due)


def _event(record: LogRecord) -> Event | Erasure | None:
    try:
        return read_event(record.topic, record.value, record.headers, record.timestamp)
    except InvalidRecord:
        return None
