"""Builders and fakes for tests: a test states what matters to it, these fill in the rest.

No mocks: the fakes are small models that one can read, and they keep the promises that the core asks of real ones.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamrec.build import Recommender
from streamrec.core.catalogue import Catalogue, CatalogueView
from streamrec.core.errors import GeneratorFailed
from streamrec.core.generate import Candidate, Generator, Had, Proposal
from streamrec.core.pipeline import Pipeline, SlateRules
from streamrec.core.score import Scored, Scorer
from streamrec.core.session import Outcome, Position, SessionRules, update
from streamrec.core.types import Event, Evidence, Interaction, Item, RecommendedItem, Session, Trigger, Versions
from streamrec.core.wire import EVENT_TYPES, Format, encode
from streamrec.eventlog.records import LogRecord

NOW = 1_700_000_000_000
SECOND = 1000
MINUTE = 60_000
TOPIC_OF: Mapping[str, str] = {event_type: topic for topic, event_type in EVENT_TYPES.items()}
VERSIONS = Versions(model="fake", catalogue=0, rules="fake", runtime="fake")


def event(item_id: str = "a", occurred_at: int = NOW, **fields: Any) -> Event:
    """A listen of "a" by "anna", unless said otherwise; its id tells the item and the time."""
    known = {"event_id": f"{item_id}@{occurred_at}", "event_type": "listen", "user_id": "anna"}
    return Event(schema_version=1, item_id=item_id, occurred_at=occurred_at, **(known | fields))


def position(offset: int = 0, topic: str = "listens", partition: int = 0, timestamp: int | None = None) -> Position:
    """A place in a log whose clock is right: the record is written a day after NOW, when everything in it has happened."""
    return Position(topic, partition, offset, NOW + 24 * 60 * MINUTE if timestamp is None else timestamp)


def interaction(item_id: str = "a", occurred_at: int = NOW, **fields: Any) -> Interaction:
    known = {"event_type": "listen", "event_id": f"{item_id}@{occurred_at}"}
    return Interaction(item_id=item_id, occurred_at=occurred_at, **(known | fields))


def trigger(offset: int = 0, **fields: Any) -> Trigger:
    return Trigger(**({"topic": "listens", "partition": 0, "offset": offset, "event_id": "e"} | fields))


def session(*history: str | Interaction, **fields: Any) -> Session:
    """A session of these interactions; an item's name stands for a listen to it, a minute after the one before."""
    past = tuple(interaction(each, NOW + n * MINUTE) if isinstance(each, str) else each for n, each in enumerate(history))
    known = {
        "user_id": "anna",
        "trigger": trigger(max(len(past) - 1, 0)),
        "applied": {"listens": max(len(past) - 1, 0)},
        "catalogue": 0,
        "started_at": past[0].occurred_at if past else NOW,
    }
    return Session(schema_version=1, history=past, **(known | fields))


def after(events: Iterable[Event], rules: SessionRules | None = None, start: Session | None = None) -> Session:
    """The session after these events, each at the next offset of its topic."""
    told = outcomes(events, rules, start)
    return told[-1][0]


def outcomes(
    events: Iterable[Event], rules: SessionRules | None = None, start: Session | None = None
) -> list[tuple[Session, Outcome]]:
    """What `update` says of these events, one after the other, each at the next offset of its topic."""
    applied = dict(start.applied) if start else {}
    told: list[tuple[Session, Outcome]] = []
    for each in events:
        topic = TOPIC_OF[each.event_type]
        applied[topic] = applied.get(topic, -1) + 1
        told.append(update(told[-1][0] if told else start, each, position(applied[topic], topic), 0, rules or SessionRules()))
    return told


def item(item_id: str = "a", **fields: Any) -> Item:
    return Item(schema_version=1, item_id=item_id, **fields)


def catalogue(*items: Item | str) -> Catalogue:
    """A catalogue whose version 0 holds these items; a name stands for an item of that name."""
    whole = [item(each) if isinstance(each, str) else each for each in items]
    return Catalogue({each.item_id: each for each in whole})


def view(*items: Item | str) -> CatalogueView:
    return catalogue(*items).at(0)


def candidate(item_id: str = "a", log_prob: float = -1.0, source: str = "uniform") -> Candidate:
    return Candidate(item_id, source, log_prob)


def scored(item_id: str = "a", score: float = 1.0, relevance: float = 0.5, **parts: float) -> Scored:
    return Scored(item_id, "uniform", score, relevance, parts or {"generator": score})


def recommended(item_id: str = "a", *evidence: Evidence) -> RecommendedItem:
    return RecommendedItem(
        item_id=item_id, rank=1, score=0.0, relevance=0.5, parts={}, source="uniform", propensity=1.0, evidence=evidence
    )


def proposal(source: str, known: Sequence[Candidate], count: int, had: Had) -> Proposal:
    """The first ``count`` of what a generator knows, without what was had."""
    left = [each for each in known if not had.holds(each.item_id)]
    return Proposal(source, tuple(left[:count]), len(known) - len(left))


class Uniform:
    """A generator: every item of the vocabulary is as likely as any other, in the order of their ids."""

    def __init__(self, vocabulary: Iterable[str], source: str = "uniform") -> None:
        self._vocabulary = sorted(vocabulary)
        self._source = source

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        log_prob = -math.log(len(self._vocabulary)) if self._vocabulary else 0.0
        everything = [Candidate(each, self._source, log_prob) for each in self._vocabulary]
        return [proposal(self._source, everything, count, each) for each in had or [Had()] * len(histories)]


class Following:
    """A generator: after item x it proposes what the table says follows x, and nothing after any other."""

    def __init__(self, table: Mapping[str, Sequence[str]], source: str = "following") -> None:
        self._table = table
        self._source = source

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        had = had or [Had()] * len(histories)
        return [self._after(history[-1], count, each) for history, each in zip(histories, had, strict=True)]

    def _after(self, last: str, count: int, had: Had) -> Proposal:
        items = self._table.get(last, ())
        following = [Candidate(each, self._source, -1.0 - n) for n, each in enumerate(items)]
        return proposal(self._source, following, count, had)


class Broken:
    """A generator that cannot be run."""

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        raise GeneratorFailed("it cannot be run")


class Linear:
    """A scorer: the generator's log-probability, a weight of the item, and 0.1 if the item was the last in the history."""

    def __init__(self, weights: Mapping[str, float] | None = None, threshold: float = 0.0) -> None:
        self._weights = weights or {}
        self.threshold = threshold

    def judge(self, history: Sequence[str], candidates: Sequence[Candidate]) -> list[Scored]:
        return [self._judge(history, each) for each in candidates]

    def _judge(self, history: Sequence[str], each: Candidate) -> Scored:
        again = 0.1 if each.item_id == history[-1] else 0.0
        parts = {"generator": each.log_prob, "item": self._weights.get(each.item_id, 0.0), "again": again}
        score = sum(parts.values())
        return Scored(each.item_id, each.source, score, 1 / (1 + math.exp(-score)), parts)


class Counts:
    """A training log, as counts: of items, and of how often one came after another."""

    def __init__(
        self, followed: Mapping[tuple[str, str], int] | None = None, items: Mapping[str, int] | None = None, window: int = 5
    ) -> None:
        self._followed = followed or {}
        self._items = items or {}
        self.window = window

    def followed(self, item_id: str, by: str) -> int:
        return self._followed.get((item_id, by), 0)

    def interactions(self, item_id: str) -> int:
        return self._items.get(item_id, 0)


def pipeline(
    generator: Generator, scorer: Scorer | None = None, log: Counts | None = None, rules: SlateRules | None = None
) -> Pipeline:
    return Pipeline(generator, scorer or Linear(), log or Counts(), rules or SlateRules(), VERSIONS)


def recommender(items: Catalogue, made: Pipeline, rules: SessionRules | None = None) -> Recommender:
    """What a shell drives."""
    return Recommender(made, items, rules or SessionRules(), VERSIONS)


def record(message: Event | Item | Session, at: Position, written_as: Format = "msgpack") -> LogRecord:
    """The message as a producer writes it."""
    key = message.item_id if isinstance(message, Item) else message.user_id
    headers = (("content-type", b"application/json"),) if written_as == "json" else ()
    return LogRecord(at.topic, at.partition, at.offset, at.timestamp, key.encode(), encode(message, written_as), headers)
