"""What an event does to a session: the policy for a stream that repeats, reorders and delays."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamrec.core.had import item_hash
from streamrec.core.session import Outcome, SessionRules, is_ahead, is_another_log, model_history, update
from streamrec.core.types import Event, Session
from streamrec.core.wire import encode
from tests.make import MINUTE, NOW, SECOND, after, event, interaction, outcomes, position, session

PATIENT = SessionRules(max_history=1000)  # nothing is forgotten
HASTY = SessionRules(max_history=4)


def streams(least: int = 1) -> st.SearchStrategy[list[Event]]:
    """Events of one user in any order, no two at the same time; steps of ten minutes make pauses of all kinds."""
    each = st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.sampled_from(["click", "listen"]))
    drawn = st.lists(each, min_size=least, max_size=12, unique_by=lambda part: part[0])
    return drawn.map(lambda parts: [event(name, NOW + 10 * MINUTE * step, event_type=kind) for step, name, kind in parts])


def resent(data: st.DataObject, stream: list[Event]) -> list[Event]:
    """The stream with retries: events sent again, at once or later."""
    whole = list(stream)
    for each in data.draw(st.lists(st.sampled_from(stream), max_size=6), "sent again"):
        whole.insert(data.draw(st.integers(whole.index(each) + 1, len(whole)), "where"), each)
    return whole


def without_applied(told: Session) -> bytes:
    """All that a recommendation is made of."""
    return encode(replace(told, applied={}, applied_at={}, had_late=()))


def had_before(*items: str) -> tuple[int, ...]:
    return tuple(map(item_hash, items))


def test_a_first_event_begins_a_session() -> None:
    first, outcome = update(None, event("a", NOW, event_id="e1"), position(7, "listens", 3), 5, SessionRules())
    assert outcome is Outcome.APPLIED
    assert first.user_id == "anna"
    assert (first.trigger.topic, first.trigger.partition, first.trigger.offset, first.trigger.event_id) == ("listens", 3, 7, "e1")
    assert first.applied == {"listens": 7}
    assert first.catalogue == 5
    assert first.started_at == NOW
    assert [past.item_id for past in first.history] == ["a"]


def test_an_applied_event_becomes_the_trigger_and_names_its_catalogue() -> None:
    then, outcome = update(session("a"), event("b", NOW + MINUTE, event_type="click"), position(2, "clicks"), 9, SessionRules())
    assert outcome is Outcome.APPLIED
    assert (then.trigger.topic, then.trigger.offset) == ("clicks", 2)
    assert then.catalogue == 9
    assert then.applied == {"listens": 0, "clicks": 2}
    assert [past.event_type for past in then.history] == ["listen", "click"]


@given(stream=streams(), data=st.data())
def test_redelivery_changes_nothing(stream: list[Event], data: st.DataObject) -> None:
    """A worker that dies reads again from an earlier place of each topic; what it had applied is left as it is."""
    told = outcomes(stream, HASTY)
    offsets: dict[str, int] = {}
    places = []
    for each in stream:
        topic = each.event_type + "s"
        offsets[topic] = offsets.get(topic, -1) + 1
        places.append(position(offsets[topic], topic))
    died_after = data.draw(st.integers(1, len(stream)), "events before the death")
    again_from = data.draw(st.integers(0, died_after), "read again from")
    before = told[died_after - 1][0]
    for each, place in list(zip(stream, places, strict=True))[again_from:died_after]:
        then, outcome = update(before, each, place, 99, HASTY)
        assert outcome is Outcome.REDELIVERED
        assert then is before


@given(stream=streams(), data=st.data())
def test_a_stream_with_retries_gives_the_same_session_as_without(stream: list[Event], data: st.DataObject) -> None:
    with_retries, without = after(resent(data, stream), HASTY), after(stream, HASTY)
    assert with_retries.history == without.history
    assert with_retries.started_at == without.started_at
    assert with_retries.trigger.event_id == without.trigger.event_id


@given(stream=streams(), data=st.data())
def test_only_an_applied_event_changes_more_than_how_far_a_session_reaches(stream: list[Event], data: st.DataObject) -> None:
    """So a session sent for a duplicate or a late event asks again for the recommendation that its trigger has had."""
    whole = resent(data, stream)
    told = outcomes(whole, HASTY)
    for (before, _), (then, outcome), each in zip(told, told[1:], whole[1:], strict=False):
        assert sum(then.applied.values()) + len(then.applied) == sum(before.applied.values()) + len(before.applied) + 1
        if outcome is Outcome.APPLIED:
            assert then.trigger.event_id == each.event_id
        else:
            assert without_applied(then) == without_applied(before)


@given(stream=streams(), data=st.data())
def test_a_history_is_in_order_of_time_bounded_and_without_repeated_events(stream: list[Event], data: st.DataObject) -> None:
    for told, _ in outcomes(resent(data, stream), HASTY):
        times = [past.occurred_at for past in told.history]
        ids = [past.event_id for past in told.history]
        assert times == sorted(times)
        assert 1 <= len(times) <= HASTY.max_history
        assert len(ids) == len(set(ids))


@given(stream=streams(), data=st.data())
def test_the_order_of_arrival_is_forgotten(stream: list[Event], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(stream), "arrival")
    told, sorted_told = after(shuffled, PATIENT), after(sorted(stream, key=lambda each: each.occurred_at), PATIENT)
    assert told.history == sorted_told.history
    assert told.started_at == sorted_told.started_at


@given(streams())
def test_a_session_starts_after_the_last_pause(stream: list[Event]) -> None:
    told = after(stream, PATIENT)
    times = [past.occurred_at for past in told.history]
    starts = [times[0]] + [later for earlier, later in pairwise(times) if later - earlier > PATIENT.gap_ms]
    assert told.started_at == starts[-1]


@given(streams())
def test_a_bounded_history_keeps_the_newest(stream: list[Event]) -> None:
    rules = SessionRules(max_history=4)
    newest = sorted(each.occurred_at for each in stream)[-4:]
    assert [past.occurred_at for past in after(stream, rules).history] == newest


@given(streams())
def test_the_session_given_is_left_as_it_is(stream: list[Event]) -> None:
    before = session("a", "b")
    written = encode(before)
    after(stream, HASTY, before)
    assert encode(before) == written


def test_an_offset_counts_for_its_own_topic() -> None:
    there = session("a", applied={"listens": 7})
    _, listen = update(there, event("b", NOW + MINUTE), position(7, "listens"), 0, SessionRules())
    _, click = update(there, event("b", NOW + MINUTE, event_type="click"), position(7, "clicks"), 0, SessionRules())
    assert (listen, click) == (Outcome.REDELIVERED, Outcome.APPLIED)


def test_of_events_at_the_same_time_the_later_arrival_is_the_newer() -> None:
    told = after([event("a", NOW), event("b", NOW), event("c", NOW)])
    assert [past.item_id for past in told.history] == ["a", "b", "c"]


@pytest.mark.parametrize("behind", [MINUTE, 31 * MINUTE, 10**10, NOW])
def test_an_old_event_takes_its_place_and_is_the_trigger(behind: int) -> None:
    then, outcome = outcomes([event("b", NOW - behind)], SessionRules(), session("a"))[0]
    assert outcome is Outcome.APPLIED
    assert then.trigger.event_id == f"b@{NOW - behind}"
    assert [past.item_id for past in then.history] == ["b", "a"]


def test_an_event_older_than_a_full_history_is_had() -> None:
    """It leaves the trigger and all that the trigger's recommendation is made of alone; the next trigger counts it."""
    full = session("a", "b")
    rules = SessionRules(max_history=2)
    (then, outcome), (later, _) = outcomes([event("z", NOW - MINUTE), event("c", NOW + 5 * MINUTE)], rules, full)
    assert outcome is Outcome.OLDER_THAN_HISTORY
    assert without_applied(then) == without_applied(full)
    assert (then.had, then.had_late) == ((), had_before("z"))
    assert (later.had, later.had_late) == (had_before("z", "a"), ())


def test_what_falls_out_of_the_history_was_had() -> None:
    """In the order of the last time, without what the history holds still, and bounded."""
    rules = SessionRules(max_history=2, max_had=3)
    told = [each for each, _ in outcomes([event(name, NOW + n * MINUTE) for n, name in enumerate("abacdefg")], rules)]
    assert told[2].had == ()  # a, which fell out, is there again
    assert told[3].had == had_before("b")
    assert told[-1].had == had_before("c", "d", "e")
    assert after([event(name, NOW + n * MINUTE) for n, name in enumerate("abcadef")], rules).had == had_before("c", "a", "d")


@given(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 12))
def test_had_and_history_hold_the_last_distinct_items(names: list[str], kept: int, remembered: int) -> None:
    rules = SessionRules(max_history=kept, max_had=remembered)
    told = after([event(name, NOW + n * MINUTE) for n, name in enumerate(names)], rules)
    distinct = list(dict.fromkeys(reversed(names)))[:remembered]
    known = {*told.had, *(item_hash(past.item_id) for past in told.history)}
    assert known >= set(had_before(*distinct))


def test_offsets_that_begin_again_are_another_log() -> None:
    """Deleted and made anew: offsets at or below the last one, written later than everything that was applied."""
    before = after([event(name, NOW + n * MINUTE) for n, name in enumerate("abcd")])
    reached = position().timestamp
    anew = position(1, timestamp=reached + 1)
    assert is_another_log(before, anew)
    then, outcome = update(before, event("e", NOW + 9 * MINUTE), anew, 0, SessionRules())
    assert outcome is Outcome.APPLIED
    assert (then.applied, then.applied_at) == ({"listens": 1}, {"listens": reached + 1})
    assert is_ahead(before, then)
    assert not is_ahead(then, before)
    again = update(then, event("e", NOW + 9 * MINUTE), anew, 0, SessionRules())
    assert again == (then, Outcome.REDELIVERED)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.data())
def test_records_of_one_log_are_never_another(times: list[int], data: st.DataObject) -> None:
    """Whatever their timestamps are, and from wherever they are read again."""
    held = None
    for offset, at in enumerate(times):
        held, _ = update(held, event("a", NOW + offset), position(offset, timestamp=NOW + at), 0, SessionRules())
    again = data.draw(st.integers(0, len(times) - 1))
    there = position(again, timestamp=NOW + times[again])
    assert not is_another_log(held, there)
    assert update(held, event("a", NOW + again), there, 0, SessionRules()) == (held, Outcome.REDELIVERED)


def test_a_session_of_an_older_version_goes_by_offsets() -> None:
    old = session("a", applied={"listens": 7})
    assert not is_another_log(old, position(7, timestamp=NOW * 2))
    then, _ = update(old, event("b", NOW + MINUTE), position(8), 0, SessionRules())
    assert is_ahead(old, then)
    assert not is_ahead(then, old)


@pytest.mark.parametrize("timestamp", [0, NOW // 1000], ids=["none", "seconds"])
def test_a_record_timestamp_that_is_no_time_bounds_nothing(timestamp: int) -> None:
    told, _ = update(None, event("a", NOW), position(timestamp=timestamp), 0, SessionRules())
    assert told.history[0].occurred_at == NOW


@pytest.mark.parametrize(("ahead", "kept"), [(0, 0), (5 * MINUTE, 5 * MINUTE), (10**9, 5 * MINUTE)])
def test_a_clock_that_runs_ahead_is_believed_up_to_the_skew(ahead: int, kept: int) -> None:
    told, _ = update(None, event("a", NOW + ahead), position(timestamp=NOW), 0, SessionRules(skew_ms=5 * MINUTE))
    assert told.history[0].occurred_at == NOW + kept


def test_one_wrong_clock_does_not_make_later_events_late() -> None:
    rules = SessionRules(skew_ms=5 * MINUTE)
    wrong, _ = update(None, event("a", NOW * 2), position(0, timestamp=NOW), 0, rules)
    _, outcome = update(wrong, event("b", NOW + MINUTE), position(1, timestamp=NOW + MINUTE), 0, rules)
    assert outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    ("fields", "skipped"),
    [
        ({"ms_played": 29_999}, True),
        ({"ms_played": 30_000}, False),
        ({"ms_played": 0}, True),
        ({}, False),
        ({"ms_played": 20_000, "duration_ms": 50_000}, True),
        ({"ms_played": 20_000, "duration_ms": 40_000}, False),  # half of a short item is no skip
        ({"ms_played": 20_000, "duration_ms": 25_000}, False),
        ({"ms_played": 100_000, "duration_ms": 900_000}, False),
        ({"ms_played": 1, "event_type": "click"}, False),
    ],
)
def test_a_skip_is_a_short_listen_of_less_than_half(fields: dict[str, object], skipped: bool) -> None:
    told = after([event("a", **fields)], SessionRules(skip_below_ms=30 * SECOND))
    assert told.history[0].skipped is skipped


@pytest.mark.parametrize(
    ("minutes", "started"),
    [
        ([0, 30], 0),
        ([0, 31], 31),
        ([0, 31, 32], 31),
        ([0, 40, 20], 0),  # what arrives out of order fills the pause
        ([40, 20], 20),
        ([40, 9], 40),
    ],
)
def test_a_pause_longer_than_the_gap_starts_a_session(minutes: list[int], started: int) -> None:
    rules = SessionRules(gap_ms=30 * MINUTE)
    assert after([event("a", NOW + n * MINUTE) for n in minutes], rules).started_at == NOW + started * MINUTE


def test_a_session_is_older_than_its_bounded_history() -> None:
    rules = SessionRules(max_history=2, gap_ms=30 * MINUTE)
    assert after([event("a", NOW + n * MINUTE) for n in range(10)], rules).started_at == NOW


def test_a_new_session_starts_even_where_the_history_holds_one_interaction() -> None:
    rules = SessionRules(max_history=1, gap_ms=30 * MINUTE)
    assert after([event("a", NOW), event("b", NOW + 40 * MINUTE)], rules).started_at == NOW + 40 * MINUTE


@pytest.mark.parametrize(
    ("played", "seen"),
    [
        (["a", "b", "a"], ["a", "b", "a"]),
        (["a", "a", "b", "b", "a"], ["a", "b", "a"]),
        (["a", "-b", "a", "c"], ["a", "c"]),
        (["-a", "-b", "-b"], ["a", "b"]),
        (["-a"], ["a"]),
    ],
)
def test_a_model_sees_no_skips_and_no_repeats_in_a_row(played: list[str], seen: list[str]) -> None:
    """A minus stands for a skip; a user who has skipped everything is known by that alone."""
    history = [interaction(name.strip("-"), NOW + n, skipped=name.startswith("-")) for n, name in enumerate(played)]
    assert model_history(session(*history)) == seen
