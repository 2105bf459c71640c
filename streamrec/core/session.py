"""A user's session, and how an event changes it.

The policy for a stream that repeats, reorders and delays events:

- An event at or before the last applied offset of its topic is a *redelivery*: nothing changes.
- An event whose ``event_id`` is in the history is a *duplicate* (a producer's retry): only ``applied`` moves on.
- An event older than the newest interaction goes to its place in time; older than ``lateness_ms`` before it, or before
  everything in a full history, it is *late*: only ``applied`` moves on.
- An event from the future (a wrong clock) is taken to have happened ``skew_ms`` after its record was written, at most.
- A pause of more than ``gap_ms`` ends a session and starts the next; the history, bounded, reaches across.
- An *erasure* leaves nothing but how far the session reached. What was written before it on the other topic, and comes only now,
  is late; what was written after it begins a new session.
- A listen of less than ``skip_below_ms`` and less than half of the item is a *skip*: remembered, not learned from.

Duplicates, late events and redeliveries leave the trigger alone, so every record on ``sessions`` still names an event that a
recommendation is due for, and sending it again asks for nothing new.
"""

from bisect import bisect_right
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from streamrec.core.intake import ERASURES
from streamrec.core.types import Erased, Erasure, Event, Interaction, Session, Trigger

State = Session | Erased  # what is held for a user


class Position(NamedTuple):
    """Where a record stands: ``timestamp`` is the record's own, in milliseconds UTC."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class SessionRules(Struct, frozen=True, kw_only=True):
    """What counts as one session. Times in milliseconds."""

    max_history: int = 100  # what a session record may hold: topics/schemas/session
    gap_ms: int = 30 * 60_000
    lateness_ms: int = 30 * 60_000
    skew_ms: int = 5 * 60_000
    skip_below_ms: int = 30_000


class Outcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    REDELIVERED = "redelivered"
    ERASED = "erased"


def update(held: State | None, event: Event | Erasure, at: Position, catalogue: int, rules: SessionRules) -> tuple[State, Outcome]:
    """What is held of a user after an event, and what became of the event. What is given is left as it is.

    Args:
        catalogue: the version of the catalogue that a recommendation for this event is to use.
    """
    if held is not None and at.offset <= held.applied.get(at.topic, -1):
        return held, Outcome.REDELIVERED
    applied = (held.applied if held is not None else {}) | {at.topic: at.offset}
    if isinstance(event, Erasure):
        return Erased(applied=applied, erased_at=max(at.timestamp, 0)), Outcome.ERASED
    if held is not None and held.erased_at is not None and at.topic != ERASURES and at.timestamp <= held.erased_at:
        return replace(held, applied=applied), Outcome.LATE
    interaction = Interaction(
        item_id=event.item_id,
        event_type=event.event_type,
        occurred_at=min(event.occurred_at, at.timestamp + rules.skew_ms),
        event_id=event.event_id,
        skipped=_is_skip(event, rules),
    )
    trigger = Trigger(topic=at.topic, partition=at.partition, offset=at.offset, event_id=event.event_id)
    if not isinstance(held, Session):
        erased_at = held.erased_at if held is not None else None
        return _first(event.user_id, trigger, applied, catalogue, interaction, erased_at), Outcome.APPLIED
    session = replace(held, applied=applied)
    if any(past.event_id == event.event_id for past in session.history):
        return session, Outcome.DUPLICATE
    whole = _insert(session.history, interaction)
    history = whole[-rules.max_history :]
    if interaction.occurred_at < session.history[-1].occurred_at - rules.lateness_ms or interaction not in history:
        return session, Outcome.LATE
    started_at = _started_at(session.started_at, whole, rules.gap_ms)
    return replace(session, trigger=trigger, catalogue=catalogue, started_at=started_at, history=history), Outcome.APPLIED


def model_history(session: Session) -> list[str]:
    """The items that a generator sees, oldest first: without skips (unless there is nothing else), repeats in a row once."""
    played = [past.item_id for past in session.history if not past.skipped]
    items = played or [past.item_id for past in session.history]
    return [item for item, before in zip(items, [None, *items], strict=False) if item != before]


def _first(
    user_id: str, trigger: Trigger, applied: dict[str, int], catalogue: int, interaction: Interaction, erased_at: int | None
) -> Session:
    return Session(
        schema_version=1,
        user_id=user_id,
        trigger=trigger,
        applied=applied,
        catalogue=catalogue,
        started_at=interaction.occurred_at,
        history=(interaction,),
        erased_at=erased_at,
    )


def _insert(history: tuple[Interaction, ...], new: Interaction) -> tuple[Interaction, ...]:
    """In its place in time; of equal times, the later arrival is the newer."""
    place = bisect_right(history, new.occurred_at, key=lambda past: past.occurred_at)
    return (*history[:place], new, *history[place:])


def _started_at(started_at: int, history: tuple[Interaction, ...], gap_ms: int) -> int:
    """After the last pause in the history; where it has none, the session may have begun before it."""
    for later, earlier in pairwise(reversed(history)):
        if later.occurred_at > earlier.occurred_at + gap_ms:
            return later.occurred_at
    return min(started_at, history[0].occurred_at)


def _is_skip(event: Event, rules: SessionRules) -> bool:
    played, duration = event.ms_played, event.duration_ms
    if event.event_type != "listen" or played is None:
        return False
    return played < rules.skip_below_ms and (duration is None or 2 * played < duration)
