"""A user's session, and how an event changes it.

The policy for a stream that repeats, reorders and delays events:

- An event at or before the last applied offset of its topic, with a record timestamp that is no greater than the greatest one
  applied, is a *redelivery*: nothing changes. With a later timestamp it comes from *another log* (the topic was deleted and made
  anew, or a cluster was replaced), and is taken in as any other.
- An event whose ``event_id`` is in the history is a *duplicate* (a producer's retry): only ``applied`` moves on.
- An event out of order goes to its place in time and is the trigger, however old it is. One that is older than everything in a full
  history changes nothing that the model sees: its item counts as *had* from the next trigger on.
- An event from the future (a wrong clock) is taken to have happened ``skew_ms`` after its record was written, at most.
- A pause of more than ``gap_ms`` ends a session and starts the next; the history, bounded, reaches across.
- What falls out of the history stays known as *had*: see `streamrec.core.had`.
- An *erasure* leaves nothing but how far the session reached. What was written before it on the other topic, and comes only now,
  is left out; what was written after it begins a new session.
- A listen that `is_skip` is remembered, not learned from.

Whatever leaves the history alone leaves the trigger alone, so every record on ``sessions`` still names an event that a
recommendation is due for, and sending it again asks for nothing new.
"""

from bisect import bisect_right
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from streamrec.core.had import MAX_HAD, item_hash, remember
from streamrec.core.intake import BELIEVED_SINCE, ERASURES
from streamrec.core.types import Erased, Erasure, Event, Interaction, Session, Trigger

State = Session | Erased  # what is held for a user


class Position(NamedTuple):
    """Where a record stands: ``timestamp`` is the record's own, in milliseconds UTC."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class Reached(Protocol):
    """How far a state has taken in each source topic: see `streamrec.core.types.Session`."""

    @property
    def applied(self) -> dict[str, int]: ...

    @property
    def applied_at(self) -> dict[str, int]: ...


class SessionRules(Struct, frozen=True, kw_only=True):
    """What counts as one session. Times in milliseconds."""

    max_history: int = 100  # what a session record may hold: topics/schemas/session
    max_had: int = MAX_HAD  # items that are remembered apart from the history
    gap_ms: int = 30 * 60_000
    skew_ms: int = 5 * 60_000
    skip_below_ms: int = 30_000


class Outcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    OLDER_THAN_HISTORY = "older_than_history"
    BEFORE_ERASURE = "before_erasure"
    REDELIVERED = "redelivered"
    ERASED = "erased"


def update(held: State | None, event: Event | Erasure, at: Position, catalogue: int, rules: SessionRules) -> tuple[State, Outcome]:
    """What is held of a user after an event, and what became of the event. What is given is left as it is.

    Args:
        catalogue: the version of the catalogue that a recommendation for this event is to use.
    """
    if held is not None and _is_redelivery(held, at):
        return held, Outcome.REDELIVERED
    applied, applied_at = _reach(held, at)
    if isinstance(event, Erasure):
        return Erased(applied=applied, erased_at=max(at.timestamp, 0), applied_at=applied_at), Outcome.ERASED
    if held is not None and held.erased_at is not None and at.topic != ERASURES and at.timestamp <= held.erased_at:
        return replace(held, applied=applied, applied_at=applied_at), Outcome.BEFORE_ERASURE
    interaction = Interaction(
        item_id=event.item_id,
        event_type=event.event_type,
        occurred_at=_believed(event.occurred_at, at.timestamp, rules.skew_ms),
        event_id=event.event_id,
        skipped=is_skip(event.event_type, event.ms_played, event.duration_ms, rules.skip_below_ms),
    )
    trigger = Trigger(topic=at.topic, partition=at.partition, offset=at.offset, event_id=event.event_id)
    if not isinstance(held, Session):
        first = Session(
            schema_version=1,
            user_id=event.user_id,
            trigger=trigger,
            applied=applied,
            catalogue=catalogue,
            started_at=interaction.occurred_at,
            history=(interaction,),
            erased_at=held.erased_at if held is not None else None,
            applied_at=applied_at,
        )
        return first, Outcome.APPLIED
    session = replace(held, applied=applied, applied_at=applied_at)
    if any(past.event_id == event.event_id for past in session.history):
        return session, Outcome.DUPLICATE
    whole = _insert(session.history, interaction)
    fallen, history = whole[: -rules.max_history], whole[-rules.max_history :]
    if interaction in fallen:
        return _had_late(session, event.item_id, rules), Outcome.OLDER_THAN_HISTORY
    return (
        replace(
            session,
            trigger=trigger,
            catalogue=catalogue,
            started_at=_started_at(session.started_at, whole, rules.gap_ms),
            history=history,
            had=_had(session, fallen, history, rules),
            had_late=(),
        ),
        Outcome.APPLIED,
    )


def is_another_log(held: State | None, at: Position) -> bool:
    """Whether a record stands in another log than the one that was applied: its topic's offsets have begun again."""
    return held is not None and at.offset <= held.applied.get(at.topic, -1) and not _is_redelivery(held, at)


def is_ahead(held: Reached, read: Reached) -> bool:
    """Whether ``read`` has taken in at least what ``held`` has, topic by topic.

    Of two logs of one topic the later one is ahead, whatever its offsets: timestamps come first where both states have them.
    """
    return all(_is_ahead_on(topic, held, read) for topic in held.applied)


def model_history(session: Session) -> list[str]:
    """The items that a generator sees, oldest first: without skips (unless there is nothing else), repeats in a row once."""
    played = [past.item_id for past in session.history if not past.skipped]
    items = played or [past.item_id for past in session.history]
    return [item for item, before in zip(items, [None, *items], strict=False) if item != before]


def is_skip(
    event_type: str, ms_played: int | None, duration_ms: int | None, skip_below_ms: int = SessionRules().skip_below_ms
) -> bool:
    """Whether a listen is a skip: shorter than ``skip_below_ms`` and, where the duration is known, than half of the item."""
    if event_type != "listen" or ms_played is None:
        return False
    return ms_played < skip_below_ms and (duration_ms is None or 2 * ms_played < duration_ms)


def _is_redelivery(held: State, at: Position) -> bool:
    if at.offset > held.applied.get(at.topic, -1):
        return False
    return at.timestamp <= held.applied_at.get(at.topic, at.timestamp)  # a state of an older version knows no timestamps


def _reach(held: State | None, at: Position) -> tuple[dict[str, int], dict[str, int]]:
    """``applied`` and ``applied_at`` with this record taken in."""
    applied, applied_at = (held.applied, held.applied_at) if held is not None else ({}, {})
    newest = max(at.timestamp, applied_at.get(at.topic, 0))
    return applied | {at.topic: at.offset}, applied_at | {at.topic: newest}


def _is_ahead_on(topic: str, held: Reached, read: Reached) -> bool:
    mine, theirs = held.applied[topic], read.applied.get(topic, -1)
    if topic in held.applied_at and topic in read.applied_at:
        return (read.applied_at[topic], theirs) >= (held.applied_at[topic], mine)
    return theirs >= mine


def _believed(occurred_at: int, written_at: int, skew_ms: int) -> int:
    """When an event happened; the record's own timestamp bounds it, unless a producer set that to what is no time."""
    return min(occurred_at, written_at + skew_ms) if written_at >= BELIEVED_SINCE else occurred_at


def _had(
    session: Session, fallen: tuple[Interaction, ...], history: tuple[Interaction, ...], rules: SessionRules
) -> tuple[int, ...]:
    """What the user had beyond the history, with what has just fallen out of it and what was learned of late."""
    had = session.had
    if session.had_late:
        late = set(session.had_late)
        had = (*(each for each in had if each not in late), *session.had_late)[-rules.max_had :]
    if fallen:
        had = remember(had, [past.item_id for past in fallen], {past.item_id for past in history}, rules.max_had)
    return had


def _had_late(session: Session, item_id: str, rules: SessionRules) -> Session:
    item = item_hash(item_id)
    if item in session.had or item in session.had_late or any(past.item_id == item_id for past in session.history):
        return session
    return replace(session, had_late=(*session.had_late, item)[-rules.max_had :])


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
