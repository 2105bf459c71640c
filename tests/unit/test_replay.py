"""The replay says what the worker says: the order is recovered, the bytes are equal, and batches change nothing."""

from collections import defaultdict
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamrec.core.errors import UserError
from streamrec.core.session import SessionRules
from streamrec.core.types import Recommendation, Session
from streamrec.core.wire import decode, format_of
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay import engine
from streamrec.replay.engine import Replay
from streamrec.replay.order import as_recorded
from tests.make import (
    MINUTE,
    NOW,
    Uniform,
    catalogue,
    event,
    interaction,
    item,
    pipeline,
    position,
    recommender,
    record,
    session,
    trigger,
)
from tests.simulate import PARTITIONS, Life, compacted, cut, fresh, live

HASTY = SessionRules(max_history=4)
PATIENT = SessionRules(max_history=1000)
STEPS = st.lists(st.integers(0, 40), min_size=1, max_size=25)
ANY_TIMES = STEPS.map(lambda steps: [NOW + 5 * MINUTE * step for step in steps])
OTHER_TIMES = STEPS.map(lambda steps: [NOW + 5 * MINUTE * step for step in dict.fromkeys(steps)])
RANDOM = st.integers(0, 2**32).map(Random)


def replayed(life: Life, sessions: list[LogRecord], random: Random, rules: SessionRules) -> dict[tuple[str, str], list[bytes]]:
    """What the replay emits for a log that was exported partition by partition, the partitions in whatever order."""
    turn: dict[tuple[str, int], float] = defaultdict(random.random)
    exported = sorted([*life.items, *life.events], key=lambda each: turn[each.topic, each.partition])
    recorded = as_recorded([*exported, *sessions])
    emitted: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for each in Replay(fresh(rules), PARTITIONS, catalogue_at=recorded.catalogue).run(recorded.inputs):
        if each.topic != "dead-letters":
            emitted[(each.key or b"").decode(), each.topic].append(each.value or b"")
    return emitted


@given(random=RANDOM, times=ANY_TIMES)
def test_the_order_in_which_a_worker_took_in_two_topics_is_recovered(random: Random, times: list[int]) -> None:
    life = live(random, HASTY, times)
    recorded = as_recorded([*life.events, *life.items, *life.sessions])
    inputs = recorded.inputs
    assert recorded.starts == {}, "nothing is gone: everybody begins with nothing"
    assert sorted(inputs) == sorted([*life.events, *life.items])
    for user, applied in life.applied.items():
        places = {each[:4] for each in applied}
        assert [each for each in inputs if each[:4] in places] == applied, user


@given(random=RANDOM, times=ANY_TIMES)
def test_a_replay_says_byte_for_byte_what_the_worker_said(random: Random, times: list[int]) -> None:
    life = live(random, HASTY, times)
    told = replayed(life, life.sessions, random, HASTY)
    for of_whom, values in life.emitted.items():
        assert told[of_whom][: len(values)] == values  # after that comes what the worker had not taken in yet


def retained(random: Random, life: Life) -> dict[tuple[str, str], list[bytes]]:
    """What the replay emits where retention took some of the first events of each partition, and no session."""
    recorded = as_recorded([*life.items, *cut(random, life), *life.sessions])
    emitted: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for each in Replay(fresh(HASTY), PARTITIONS, "msgpack", recorded.catalogue, recorded.initial).run(recorded.inputs):
        if each.topic != "dead-letters":
            emitted[(each.key or b"").decode(), each.topic].append(each.value or b"")
    return emitted


@given(random=RANDOM, times=ANY_TIMES)
def test_a_cut_log_gives_what_the_whole_one_gave(random: Random, times: list[int]) -> None:
    """Of each user the last of it, up to the first event that is gone."""
    life = live(random, HASTY, times)
    assume(life.sessions)  # else the log keeps its own order
    whole, left = replayed(life, life.sessions, random, HASTY), retained(random, life)
    for of_whom, values in left.items():
        assert whole[of_whom][-len(values) :] == values


@given(random=RANDOM, times=ANY_TIMES)
def test_each_event_after_the_last_one_that_is_gone_is_computed(random: Random, times: list[int]) -> None:
    life = live(random, HASTY, times)
    events = cut(random, life)
    recorded = as_recorded([*events, *life.items, *life.sessions])
    for user, applied in life.applied.items():
        after_the_gap = applied[max((n for n, each in enumerate(applied, 1) if each not in events), default=0) :]
        assert [each for each in recorded.inputs if each in applied] == after_the_gap, user


@given(random=RANDOM, times=OTHER_TIMES)
def test_a_cut_and_compacted_log_gives_its_sessions(random: Random, times: list[int]) -> None:
    """Those after the session that a user begins with."""
    life = live(random, PATIENT, times)
    left = compacted(random, life.sessions)
    recorded = as_recorded([*cut(random, life), *life.items, *left])
    emitted = Replay(fresh(PATIENT), PARTITIONS, "msgpack", recorded.catalogue, recorded.initial).run(recorded.inputs)
    told = {each.value for each in emitted if each.topic == "sessions"}
    for user, start in recorded.starts.items():
        told |= {each.value for each in left if each.key == user.encode() and each.offset <= start.record.offset}
    assert {each.value for each in left} <= told


@given(random=RANDOM, times=OTHER_TIMES)
def test_a_compacted_log_still_gives_the_sessions_that_it_holds(random: Random, times: list[int]) -> None:
    """Where nothing was late, and no two events of the same time: else the order between two kept sessions would matter."""
    life = live(random, PATIENT, times)
    left = compacted(random, life.sessions)
    told = replayed(life, left, random, PATIENT)
    for each in left:
        assert each.value in told[(each.key or b"").decode(), "sessions"]


@given(random=RANDOM, times=ANY_TIMES)
def test_batches_change_no_byte(random: Random, times: list[int]) -> None:
    life = live(random, HASTY, times)
    inputs = as_recorded([*life.events, *life.items, *life.sessions]).inputs
    random.shuffle(inputs)
    inputs.sort(key=lambda each: each.offset)  # items between events: the catalogue moves on within a batch
    files = []
    for batch in (1, 3, 32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "BATCH", batch)
            files.append(list(Replay(fresh(HASTY), PARTITIONS).run(inputs)))
    assert files[0] == files[1] == files[2]


# The order, case by case


def names(records: Iterable[LogRecord]) -> list[str]:
    """Records by their topic's first letter and their offset."""
    return [f"{each.topic[0]}{each.offset}" for each in records]


def heard(offset: int, minutes: int = 0, **fields: Any) -> LogRecord:
    return record(event(event_id=f"l{offset}", **fields), position(offset, "listens", timestamp=NOW + minutes * MINUTE))


def clicked(offset: int, minutes: int = 0, **fields: Any) -> LogRecord:
    told = event(event_id=f"c{offset}", event_type="click", **fields)
    return record(told, position(offset, "clicks", timestamp=NOW + minutes * MINUTE))


def reached(offset: int, last: str, **applied: int) -> LogRecord:
    """A session's record: how far it reaches, and its trigger, as `names` calls it."""
    topic = {"c": "clicks", "l": "listens"}[last[0]]
    history = [interaction(event_id=f"{name[0]}{n}") for name, end in applied.items() for n in range(end + 1)]
    due = trigger(int(last[1:]), topic=topic, event_id=last)
    told = session(*history, applied=applied, trigger=due, catalogue=offset)
    return record(told, position(offset, "sessions"))


def test_a_log_without_sessions_keeps_its_own_order() -> None:
    log = [heard(1, 9), clicked(0, 3), record(item("a"), position(0, "items")), heard(0, 1)]
    assert as_recorded(log).inputs == log


def test_the_sessions_say_how_two_topics_interleave() -> None:
    log = [heard(0, 1), heard(1, 2), clicked(0, 3), reached(0, "c0", clicks=0), reached(1, "l1", clicks=0, listens=1)]
    assert names(as_recorded(log).inputs) == ["c0", "l0", "l1"]


def test_items_come_first_and_each_trigger_keeps_the_catalogue_that_was_named_for_it() -> None:
    items = [record(item("a"), position(n, "items")) for n in (1, 0)]
    recorded = as_recorded([heard(0), heard(1), *items, reached(5, "l0", listens=0), reached(7, "l1", listens=1)])
    assert names(recorded.inputs) == ["i0", "i1", "l0", "l1"]
    assert {each[:3]: version for each, version in recorded.catalogue.items()} == {("listens", 0, 0): 5, ("listens", 0, 1): 7}


def test_timestamps_that_run_backwards_do_not_turn_a_topic_round() -> None:
    """An offset that came after a later one would be taken for a redelivery, and its event would be lost."""
    compacted_away = [heard(0, 9), heard(1, 5), heard(2, 1), reached(0, "l2", listens=2)]
    not_applied_yet = [heard(3, 9), heard(4, 5)]
    assert names(as_recorded([*compacted_away, *not_applied_yet]).inputs) == ["l0", "l1", "l2", "l3", "l4"]


def test_between_two_kept_sessions_the_later_ones_trigger_comes_last() -> None:
    log = [heard(0, 1), heard(1, 2), clicked(0, 8), clicked(1, 9), reached(0, "l1", clicks=1, listens=1)]
    assert names(as_recorded(log).inputs) == ["l0", "c0", "c1", "l1"]


def test_what_the_sessions_do_not_reach_comes_last_by_time() -> None:
    log = [heard(0, 1), heard(1, 8), clicked(0, 7), clicked(1, 9), reached(0, "l0", listens=0)]
    assert names(as_recorded(log).inputs) == ["l0", "c0", "l1", "c1"]


def test_a_record_in_a_wrong_partition_holds_up_nobody() -> None:
    elsewhere = heard(500)._replace(partition=0)
    right = [each._replace(partition=1) for each in (heard(6, 1), heard(7, 2))]
    history = [interaction(event_id=name) for name in ("l6", "l7")]
    told = session(*history, applied={"listens": 7}, trigger=trigger(7, partition=1, event_id="l7"))
    log = [elsewhere, *right, record(told, position(0, "sessions", 1))]
    assert names(as_recorded(log).inputs) == ["l6", "l7", "l500"]


def test_unreadable_events_are_kept_and_come_last() -> None:
    poison = heard(0)._replace(value=b"\xc1")
    told = session(interaction(event_id="l1"), applied={"listens": 1}, trigger=trigger(1, event_id="l1"))
    assert names(as_recorded([poison, heard(1), record(told, position(0, "sessions"))]).inputs) == ["l1", "l0"]


def test_what_is_no_input_is_left_out() -> None:
    log = [heard(0), reached(0, "l0", listens=0), LogRecord("recommendations", 0, 0, NOW, b"anna", b"")]
    erased = LogRecord("sessions", 0, 1, NOW, b"ben", None)
    assert names(as_recorded([*log, erased]).inputs) == ["l0"]


def test_a_sessions_record_that_cannot_be_read_is_named() -> None:
    broken = LogRecord("sessions", 3, 17, NOW, b"anna", b"\xc1")
    with pytest.raises(UserError, match="sessions, partition 3, offset 17: unreadable"):
        as_recorded([heard(0), broken])


# The engine, case by case


def replay(records: Iterable[LogRecord], **options: Any) -> tuple[list[LogRecord], dict[str, int]]:
    """What a replay of one partition emits, and what it counts. Base catalogue: a to d."""
    made = Replay(recommender(catalogue(*"abcd"), pipeline(Uniform("abcdxy"))), **({"partitions": 1} | options))
    return list(made.run(records)), dict(made.counts)


def of(topic: str, records: Iterable[LogRecord]) -> list[LogRecord]:
    return [each for each in records if each.topic == topic]


def test_an_event_gives_its_session_its_recommendation_and_its_explanation() -> None:
    out, counts = replay([heard(17, 3)])
    assert [each.topic for each in out] == ["sessions", "recommendations", "explanations"]
    assert {(each.partition, each.offset, each.timestamp, each.key) for each in out} == {(0, 0, NOW + 3 * MINUTE, b"anna")}
    told, made = decode(Session, out[0].value), decode(Recommendation, out[1].value)
    assert made.trigger == told.trigger == trigger(17, event_id="l17")
    assert [slot.item_id for slot in made.items] == ["b", "c", "d"]
    assert counts == {"applied": 1}


def test_offsets_of_what_is_emitted_are_counted_for_each_topic() -> None:
    out, _ = replay([heard(0, item_id="a"), heard(1, item_id="b"), heard(5)._replace(value=b"\xc1"), heard(7, item_id="c")])
    assert [each.offset for each in of("recommendations", out)] == [0, 1, 2]
    assert [each.offset for each in of("dead-letters", out)] == [0]


def test_outputs_are_written_as_asked_but_sessions_always_as_msgpack() -> None:
    out, _ = replay([heard(0)], written_as="json")
    assert [format_of(each.headers) for each in out] == ["msgpack", "json", "json"]
    assert decode(Recommendation, out[1].value, "json").user_id == "anna"


def test_an_unreadable_record_is_kept_whole_with_the_reason() -> None:
    poison = heard(17, 3)._replace(value=b"\xc1", key=b"\xff", headers=(("trace", b"\xfe"),))
    out, counts = replay([poison])
    assert counts == {"dead letter: unreadable": 1}
    assert (out[0].topic, out[0].key, out[0].value, out[0].timestamp) == ("dead-letters", b"\xff", b"\xc1", NOW + 3 * MINUTE)
    headers = dict(out[0].headers)
    assert headers["trace"] == b"\xfe"
    assert (headers["streamrec.dlq.topic"], headers["streamrec.dlq.offset"]) == (b"listens", b"17")
    assert (headers["streamrec.dlq.role"], headers["streamrec.dlq.reason"]) == (b"sessions", b"unreadable")


def test_an_unreadable_item_moves_the_catalogue_on() -> None:
    items = [record(item("x"), position(0, "items")), LogRecord("items", 0, 1, NOW, b"y", b"\xc1")]
    out, counts = replay([*items, heard(0)])
    assert dict(of("dead-letters", out)[0].headers)["streamrec.dlq.role"] == b"recommend"
    assert decode(Session, of("sessions", out)[0].value).catalogue == 2
    assert counts == {"items": 1, "dead letter: unreadable": 1, "applied": 1}


def test_items_out_of_order_are_a_fault_of_the_log() -> None:
    with pytest.raises(UserError, match=r"items, offset 0: .*in the order of their offsets"):
        replay([record(item("x"), position(1, "items")), record(item("y"), position(0, "items"))])


def test_an_item_is_recommended_from_its_record_on() -> None:
    new = record(item("x"), position(0, "items"))
    gone = LogRecord("items", 0, 1, NOW, b"b", None)
    out, _ = replay([heard(0, event_type="listen"), new, heard(1, 1), gone, heard(2, 2)])
    slates = [[slot.item_id for slot in decode(Recommendation, each.value).items] for each in of("recommendations", out)]
    assert slates == [["b", "c", "d"], ["b", "c", "d", "x"], ["c", "d", "x"]]


def test_the_catalogue_that_was_named_for_a_trigger_is_used() -> None:
    items = [record(item(name), position(n, "items")) for n, name in enumerate("xy")]
    out, _ = replay([*items, heard(0), heard(1, 1)], catalogue_at={position(0, timestamp=NOW): 1})
    assert [decode(Recommendation, each.value).versions.catalogue for each in of("recommendations", out)] == [1, 2]


def test_a_redelivered_record_gives_nothing() -> None:
    out, counts = replay([heard(0), heard(0)])
    assert len(out) == 3
    assert counts == {"applied": 1, "redelivered": 1}


def test_a_retry_gives_the_same_recommendation_again() -> None:
    first = heard(0)
    out, counts = replay([first, first._replace(offset=1)])
    first_slate, again = of("recommendations", out)
    assert first_slate.value == again.value
    assert counts == {"applied": 1, "duplicate": 1}


def test_a_record_in_a_wrong_partition_makes_no_session() -> None:
    right = partition_of("anna", 2)
    out, counts = replay([heard(0)._replace(partition=1 - right), heard(0)._replace(partition=right)], partitions=2)
    assert len(out) == 3
    assert counts == {"misrouted": 1, "applied": 1}


def test_users_do_not_share_a_session() -> None:
    out, _ = replay([heard(0, item_id="a"), heard(1, item_id="b", user_id="ben")])
    histories = [decode(Session, each.value).history for each in of("sessions", out)]
    assert [[past.item_id for past in history] for history in histories] == [["a"], ["b"]]


def test_other_topics_are_passed_over() -> None:
    assert replay([LogRecord("recommendations", 0, 0, NOW, b"anna", b"")]) == ([], {})


def test_events_may_be_json() -> None:
    told = event(event_id="e")
    (out, _), (same, _) = replay([record(told, position(), "json")]), replay([record(told, position())])
    assert out == same
