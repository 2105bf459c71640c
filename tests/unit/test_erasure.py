"""An erased user is gone, stays gone whatever comes again, and begins anew with what is sent afterwards; replay says the same."""

import json

import pytest

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import ERASED, read_event
from streamrec.core.session import Outcome, SessionRules, update
from streamrec.core.types import Erased, Erasure
from streamrec.core.wire import encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import audit
from streamrec.replay.engine import Replay
from streamrec.replay.order import as_recorded
from tests.make import NOW, Uniform, catalogue, event, pipeline, position, recommender, session

RULES = SessionRules()
ERASURE = Erasure(schema_version=1, event_id="bye", event_type="erase", user_id="anna", occurred_at=NOW)
JSON = (("content-type", b"application/json"),)
HELD = session("a", "b", applied={"listens": 7, "clicks": 2})


def test_an_erasure_leaves_only_how_far_the_session_reached() -> None:
    left, outcome = update(HELD, ERASURE, position(3, "clicks", timestamp=NOW), 0, RULES)
    assert (left, outcome) == (
        Erased(applied={"listens": 7, "clicks": 3}, erased_at=NOW, applied_at={"clicks": NOW}),
        Outcome.ERASED,
    )
    assert update(None, ERASURE, position(0, "clicks", timestamp=NOW), 0, RULES)[0] == Erased(
        applied={"clicks": 0}, erased_at=NOW, applied_at={"clicks": NOW}
    )


LEFT = Erased(applied={"listens": 7, "clicks": 3}, erased_at=NOW)


@pytest.mark.parametrize(("topic", "offset"), [("listens", 7), ("listens", 0), ("clicks", 2)])
def test_what_comes_again_does_not_bring_the_user_back(topic: str, offset: int) -> None:
    assert update(LEFT, event("c"), position(offset, topic), 0, RULES) == (LEFT, Outcome.REDELIVERED)
    assert update(LEFT, ERASURE, position(3, "clicks"), 0, RULES) == (LEFT, Outcome.REDELIVERED)


def test_what_was_written_before_on_the_other_topic_and_comes_late_does_not_either() -> None:
    late, outcome = update(LEFT, event("c"), position(8, "listens", timestamp=NOW), 0, RULES)
    assert (late, outcome) == (
        Erased(applied={"listens": 8, "clicks": 3}, erased_at=NOW, applied_at={"listens": NOW}),
        Outcome.BEFORE_ERASURE,
    )


def test_what_is_sent_afterwards_begins_a_session_that_still_knows_how_far_the_old_one_reached() -> None:
    back, outcome = update(LEFT, event("c", event_type="click"), position(4, "clicks", timestamp=NOW - 5), 0, RULES)
    assert outcome is Outcome.APPLIED, "order within the topic is its offsets', whatever the clock says"
    assert [past.item_id for past in back.history] == ["c"]
    assert back.applied == {"listens": 7, "clicks": 4}
    late, outcome = update(back, event("d"), position(8, "listens", timestamp=NOW), 0, RULES)
    assert outcome is Outcome.BEFORE_ERASURE
    assert [past.item_id for past in late.history] == ["c"]
    new, outcome = update(late, event("d", NOW + 2), position(9, "listens", timestamp=NOW + 1), 0, RULES)
    assert outcome is Outcome.APPLIED
    assert [past.item_id for past in new.history] == ["c", "d"]


def test_erasures_are_read_from_clicks_only() -> None:
    assert read_event("clicks", encode(ERASURE), ()) == ERASURE
    assert read_event("clicks", encode(ERASURE, "json"), JSON) == ERASURE
    with pytest.raises(InvalidRecord, match=r"event_type|item_id"):
        read_event("listens", encode(ERASURE), ())
    with pytest.raises(InvalidRecord, match="user_id"):
        read_event("clicks", json.dumps({"schema_version": 1, "event_type": "erase", "event_id": "x"}).encode(), JSON)
    with pytest.raises(InvalidRecord, match="unknown_version"):
        read_event("clicks", encode(ERASURE).replace(b"version\x01", b"version\x02"), ())


PARTITIONS = 4


def at(offset: int, topic: str, value: bytes, timestamp: int, user: str = "anna") -> LogRecord:
    return LogRecord(topic, partition_of(user, PARTITIONS), offset, timestamp, user.encode(), value)


LISTENS = [at(n, "listens", encode(event("abc"[n], NOW + n)), NOW + n) for n in range(3)]
GONE = at(0, "clicks", encode(ERASURE), NOW + 10)
CLICKS = [at(1, "clicks", encode(event("d", NOW + 20, event_type="click")), NOW + 20)]
LATE = [at(3, "listens", encode(event("c", NOW + 5, event_id="late")), NOW + 5)]


def replay(inputs: list[LogRecord], **options: object) -> list[LogRecord]:
    return list(Replay(recommender(catalogue(*"abcde"), pipeline(Uniform("abcde"))), PARTITIONS, **options).run(inputs))


def newest(records: list[LogRecord]) -> dict[tuple[str, bytes | None], bytes | None]:
    return {(each.topic, each.key): each.value for each in records}


REACHED = {
    "applied": {"clicks": 0, "listens": 2},
    "erased_at": NOW + 10,
    "applied_at": {"clicks": NOW + 10, "listens": NOW + 2},
}


def test_replay_emits_a_tombstone_on_every_topic_of_the_user() -> None:
    emitted = replay([*LISTENS, GONE])
    assert newest(emitted) == {(topic, b"anna"): None for topic in ("sessions", "recommendations", "explanations")}
    assert {each.headers for each in emitted if each.value is None} == {((ERASED, encode(Erased(**REACHED), "json")),)}
    assert newest(replay([*LISTENS, GONE, *LATE])) == newest(emitted)


def test_without_the_users_events_replay_gives_what_is_served_of_the_others() -> None:
    others = [at(n, "listens", encode(event(item, NOW + n, user_id="bob")), NOW + n, "bob") for n, item in enumerate("ba")]
    everything = newest(replay([*LISTENS, *others, GONE]))
    assert {place: value for place, value in everything.items() if value is not None} == newest(replay(others))


@pytest.mark.parametrize("inputs", [[*LISTENS, GONE, *CLICKS], [*LISTENS[:2], GONE, *LATE, *CLICKS], [GONE, *CLICKS]])
def test_the_order_of_an_erasure_is_recovered_from_the_tombstone(inputs: list[LogRecord]) -> None:
    emitted = replay(inputs)
    shuffled = sorted(inputs, key=lambda each: (each.topic, each.offset), reverse=True)
    recorded = as_recorded([*shuffled, *(each for each in emitted if each.topic == "sessions")])
    assert replay(recorded.inputs, catalogue_at=recorded.catalogue) == emitted


def held_against_itself(records: list[LogRecord]) -> object:
    return audit(records, recommender(catalogue(*"abcde"), pipeline(Uniform("abcde"))), PARTITIONS)


def test_the_audit_knows_tombstones_and_misses_one() -> None:
    inputs = [*LISTENS, GONE]
    emitted = replay(inputs)
    right = held_against_itself([*inputs, *emitted])
    assert (right.events_in, right.recommendations, right.events_lost, right.outputs_wrong) == (3, 3, 0, 0)
    for topic, counted in (("recommendations", "events_lost"), ("explanations", "outputs_wrong"), ("sessions", "outputs_wrong")):
        missing = [each for each in emitted if each.topic != topic or each.value is not None]
        assert getattr(held_against_itself([*inputs, *missing]), counted) > 0, topic
