"""A worker in small, for laws about order: it takes in two topics in a random interleaving, dies, and emits like the real one.

What it reads holds everything a stream may do to it: retries, poison, records in a wrong partition, records whose
timestamps run backwards, events out of order in time, topics made anew, which count their offsets from 0 again.
"""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from streamrec.build import Recommender
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event, read_item
from streamrec.core.session import Outcome, Position, SessionRules, update
from streamrec.core.types import Event, Session
from streamrec.core.wire import encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from tests.make import MINUTE, NOW, TOPIC_OF, Counts, Linear, Uniform, catalogue, event, item, pipeline, recommender

PARTITIONS = 2
USERS = ("anna", "ben", "cleo")
NAMES = "abcdef"
POISON = b"\xc1"
DAY = 24 * 60 * MINUTE

Topics = dict[tuple[str, int], list[LogRecord]]  # by topic and partition, one life after the other


class Life(NamedTuple):
    """What stood in the topics, what the worker did with it, and what it emitted, each user's in order and without repeats."""

    items: list[LogRecord]
    events: list[LogRecord]
    sessions: list[LogRecord]
    applied: dict[str, list[LogRecord]]
    emitted: dict[tuple[str, str], list[bytes]]  # by user and topic
    read: dict[tuple[str, int], int]  # by topic and partition, how many of its records the worker took in


def fresh(rules: SessionRules) -> Recommender:
    """A recommender that has read no items yet."""
    log = Counts({(a, b): 2 for a in NAMES for b in NAMES})
    return recommender(catalogue("a", "b"), pipeline(Uniform(NAMES), Linear({"c": 1.5}), log), rules)


def live(random: Random, rules: SessionRules, times: Sequence[int]) -> Life:
    """One life of a worker, up to some point in its input. An event happens at each of ``times``, in that order of arrival."""
    items, topics = _items(random), _events(random, times)
    worker = _Worker(fresh(rules), rules)
    reached, read = dict.fromkeys(topics, 0), dict.fromkeys(topics, 0)
    items_read = 0
    for _ in range(random.randint(1, 3 * len(times))):
        while items_read < len(items) and random.random() < 0.2:
            worker.take_in_item(items[items_read])
            items_read += 1
        place = random.choice(sorted(topics))
        if reached[place] < len(topics[place]):
            worker.take_in(topics[place][reached[place]])
            reached[place] += 1
            read[place] = max(read[place], reached[place])
        if random.random() < 0.1:  # it died: what was not committed comes again, as far as it is still there
            reached[place] = random.randint(_first_of_life(topics[place], reached[place]), reached[place])
    events = [each for records in topics.values() for each in records]
    return Life(items, events, worker.sessions_log, worker.applied, worker.emitted, read)


def cut(random: Random, life: Life) -> list[LogRecord]:
    """The events that retention left: of each partition the first ones are gone, some that the worker had read."""
    gone = {place: random.randint(0, count) for place, count in life.read.items()}
    left = []
    for each in life.events:
        gone[each.topic, each.partition] -= 1
        if gone[each.topic, each.partition] < 0:
            left.append(each)
    return left


def compacted(random: Random, sessions: list[LogRecord]) -> list[LogRecord]:
    """What compaction may leave: of each user the last record, of the others any."""
    last = {each.key: place for place, each in enumerate(sessions)}
    return [each for place, each in enumerate(sessions) if place == last[each.key] or random.random() < 0.5]


class _Worker:
    def __init__(self, made: Recommender, rules: SessionRules) -> None:
        self._recommender = made
        self._rules = rules
        self._sessions: dict[str, Session] = {}
        self.sessions_log: list[LogRecord] = []
        self.applied: dict[str, list[LogRecord]] = defaultdict(list)
        self.emitted: dict[tuple[str, str], list[bytes]] = defaultdict(list)

    def take_in_item(self, each: LogRecord) -> None:
        try:
            self._recommender.catalogue.apply(each.offset, *read_item(each.key, each.value, each.headers))
        except InvalidRecord:
            self._recommender.catalogue.skip_to(each.offset + 1)

    def take_in(self, each: LogRecord) -> None:
        try:
            told = read_event(each.topic, each.value, each.headers)
        except InvalidRecord:
            return
        if partition_of(told.user_id, PARTITIONS) != each.partition:
            return
        version = self._recommender.catalogue.version
        session, outcome = update(self._sessions.get(told.user_id), told, Position(*each[:4]), version, self._rules)
        self._sessions[told.user_id] = session
        offset = len(self.sessions_log)
        self.sessions_log.append(
            LogRecord("sessions", each.partition, offset, each.timestamp, told.user_id.encode(), encode(session))
        )
        if outcome is not Outcome.REDELIVERED:
            self.applied[told.user_id].append(each)
            self._emit(session)

    def _emit(self, session: Session) -> None:
        made, offered, *_ = self._recommender
        told = made.recommend([session], offered)[0]
        messages = {"sessions": session, "recommendations": told, "explanations": made.explain(told, offered)}
        for topic, message in messages.items():
            self.emitted[session.user_id, topic].append(encode(message))


def _first_of_life(records: list[LogRecord], reached: int) -> int:
    """Where the life begins that the record before ``reached`` is of."""
    place = max(reached - 1, 0)
    while place > 0 and records[place - 1].offset < records[place].offset:
        place -= 1
    return place


def _items(random: Random) -> list[LogRecord]:
    made = []
    for offset in range(random.randint(0, 5)):
        name = random.choice(NAMES)
        value = random.choice([encode(item(name, title=str(offset))), None, POISON])
        made.append(LogRecord("items", 0, offset, NOW, name.encode(), value))
    return made


def _events(random: Random, times: Sequence[int]) -> Topics:
    topics: Topics = {(topic, partition): [] for topic in TOPIC_OF.values() for partition in range(PARTITIONS)}
    anew: set[tuple[str, int]] = set()  # partitions whose next record is the first of another life
    sent: list[Event] = []
    for number, occurred_at in enumerate(times):
        if random.random() < 0.1:
            anew.add(random.choice(sorted(topics)))
        new = event(
            random.choice(NAMES),
            occurred_at,
            event_id=f"e{number}",
            event_type=random.choice(["click", "listen"]),
            user_id=random.choice(USERS),
        )
        sent.append(new)
        for each in [new] if random.random() < 0.8 else [new, random.choice(sent)]:  # a retry
            topic, right = TOPIC_OF[each.event_type], partition_of(each.user_id, PARTITIONS)
            if random.random() < 0.1:  # a producer with another partitioner; the worker sends it on
                _append(random, topics, (topic, 1 - right), each, anew)
            _append(random, topics, (topic, right), each, anew)
        if random.random() < 0.1:
            _append(random, topics, random.choice(sorted(topics)), None, anew)
    return topics


def _append(random: Random, topics: Topics, place: tuple[str, int], each: Event | None, anew: set[tuple[str, int]]) -> None:
    before = topics[place][-1] if topics[place] else None
    day = before.timestamp // DAY * DAY if before else NOW // DAY * DAY + DAY
    offset = before.offset + random.choice([1, 1, 2]) if before else 0  # markers of transactions leave gaps
    if place in anew and before:
        day, offset = day + DAY, 0
    anew.discard(place)
    value = POISON if each is None else encode(each)
    if any((old.offset, old.value) == (offset, value) for old in topics[place]):
        offset += 1  # or two recommendations would have one id: it is made of place and event id
    key = b"anna" if each is None else each.user_id.encode()
    topics[place].append(LogRecord(*place, offset, day + DAY // 2 + random.randint(-5, 5) * MINUTE, key, value))
