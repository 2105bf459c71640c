"""The messages: what events, items, sessions, recommendations and explanations are made of.

Every message is frozen and has a JSON Schema in ``topics/schemas``; tests hold the two together. Readers ignore fields that they
do not know, so a producer may be newer than its consumer. Times are integer milliseconds UTC and come from the events: no value
holds a wall clock, or a live record and its replay could never be equal.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Milliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # up to the year 9999
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=20_000)]
Name = Annotated[str, Meta(max_length=256)]
EventType = Literal["click", "listen"]
Applied = Annotated[dict[str, Count], Meta(max_length=16)]  # by source topic the last offset that was taken in
AppliedAt = Annotated[dict[str, Milliseconds], Meta(max_length=16)]  # by source topic the greatest record timestamp taken in
Hashes = Annotated[tuple[Annotated[int, Meta(ge=0, le=2**32 - 1)], ...], Meta(max_length=4000)]  # of item ids, see core.had


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sent on a topic. Optional fields at their default are left out."""


class Event(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A user clicked or listened to an item. ``occurred_at`` is when it happened, by the producer's clock."""

    schema_version: Literal[1]
    event_id: Id
    event_type: EventType
    user_id: Id
    item_id: Id
    occurred_at: Milliseconds
    session_id: Id | None = None
    ms_played: Count | None = None
    duration_ms: Count | None = None
    recommendation_id: Id | None = None
    properties: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=64)] | None = None


class Erasure(Message, frozen=True, kw_only=True, omit_defaults=True):
    """An operator erases a user. It stands on ``clicks`` in the user's partition, so worker and replay take it in in one order."""

    schema_version: Literal[1]
    event_id: Id
    event_type: Literal["erase"]
    user_id: Id
    occurred_at: Milliseconds


class Item(Message, frozen=True, kw_only=True, omit_defaults=True):
    """An item of the catalogue. A null value on the topic (a tombstone) withdraws it."""

    schema_version: Literal[1]
    item_id: Id
    title: Text = ""
    creator: Text = ""
    tags: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=64)] = ()
    text: Text = ""
    available: bool = True


class Trigger(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The event that caused a record, by its place in the log. ``topic`` is the name without the deployment's prefix."""

    topic: Name
    partition: Count
    offset: Count
    event_id: Id


class Interaction(Struct, frozen=True, array_like=True):
    """One entry of a session's history. Written as an array: a million sessions of these are kept in memory."""

    item_id: Id
    event_type: EventType
    occurred_at: Milliseconds
    event_id: Id
    skipped: bool = False


class Session(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A user's recent interactions, oldest first, and how far into the log they reach.

    Every record on ``sessions`` means: a recommendation for ``trigger`` is due. ``applied`` holds, for each source topic, the
    last offset that this session has taken in (its partition is the record's own). ``started_at`` is when the current run
    of interactions began; ``history`` may reach back further. ``catalogue`` is the version of the catalogue to recommend from:
    named here, not where the recommendation is made, so that making it twice gives the same bytes. ``had`` holds items that the
    user had and that are in the history no more; ``had_late`` those learned of since the trigger, which count from the next one on.
    """

    schema_version: Literal[1]
    user_id: Id
    trigger: Trigger
    applied: Applied
    catalogue: Count
    started_at: Milliseconds
    history: Annotated[tuple[Interaction, ...], Meta(min_length=1, max_length=100)]
    erased_at: Milliseconds | None = None  # the user was erased before: what was written up to then is not taken in any more
    applied_at: AppliedAt = {}
    had: Hashes = ()
    had_late: Hashes = ()


class Erased(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What is left of an erased user's session: how far it reached, or events that come again would bring it back.

    It stands in the header ``streamrec.erased`` of the tombstone, and goes with it.
    """

    applied: Applied
    erased_at: Milliseconds
    applied_at: AppliedAt = {}


class Versions(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The snapshots that a recommendation is a function of, besides its session."""

    model: Name  # content hash of the bundle: generator, scorer weights, transitions
    catalogue: Count  # how far into the topic `items`; 0 is the bundle's own catalogue
    rules: Name  # hash of the session and slate rules
    runtime: Name  # inference library and instruction set: bytes are promised only where they match


class Evidence(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A fact that supports a recommended item. Which fields are set depends on ``kind``.

    - ``often_after``: ``item_id`` was played by the user (``event_id``); in the training log the recommended item came within
      ``window`` interactions after it ``count`` times.
    - ``same_creator``: ``item_id``, by the same creator, was played by the user (``event_id``).
    - ``popular``: the recommended item has ``count`` interactions in the training log.
    """

    kind: Literal["often_after", "same_creator", "popular"]
    item_id: Id | None = None
    event_id: Id | None = None
    count: Count | None = None
    window: Count | None = None


class RecommendedItem(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One slot of a slate. ``parts`` add up to ``score``; ``relevance`` is the calibrated probability of a good outcome."""

    item_id: Id
    rank: Annotated[int, Meta(ge=1)]
    score: float
    relevance: Annotated[float, Meta(ge=0, le=1)]
    parts: Annotated[dict[str, float], Meta(max_length=64)]
    source: Name
    propensity: Annotated[float, Meta(gt=0, le=1)]
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=16)]


class Recommendation(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A slate for a user, and everything that its explanation, its audit and its replay need."""

    schema_version: Literal[1]
    recommendation_id: Id
    user_id: Id
    trigger: Trigger
    occurred_at: Milliseconds  # of the newest interaction in the session
    versions: Versions
    history: Annotated[tuple[Id, ...], Meta(max_length=100)]  # the items that the generator saw, oldest first
    items: Annotated[tuple[RecommendedItem, ...], Meta(max_length=100)]
    source: Name  # the rung of the ladder that proposed: `gptrec`, `transitions` or `popularity`
    dropped: Annotated[dict[str, Count], Meta(max_length=64)]  # how many items were left out, by reason


class Claim(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One checkable statement of an explanation."""

    kind: Literal["often_after", "same_creator", "popular"]
    evidence: Evidence


class ExplainedItem(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Why one recommended item is there, in a sentence made of its claims and nothing else."""

    item_id: Id
    text: Annotated[str, Meta(max_length=100_000)]
    claims: Annotated[tuple[Claim, ...], Meta(max_length=16)]


class Explanation(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The reasons for one recommendation, item by item, in the order of the slate."""

    schema_version: Literal[1]
    recommendation_id: Id
    user_id: Id
    items: Annotated[tuple[ExplainedItem, ...], Meta(max_length=100)]
