"""The verdict: on a small log each count is 0, and not 0 any more when its fault is planted."""

import pytest

from chaos.verdict import Confirmed, checksum, judge, longest_waits, waits
from chaos.watch import Sample
from streamrec.core.intake import ERASED, MISROUTED
from streamrec.core.pipeline import recommendation_id
from streamrec.core.session import Position
from streamrec.core.types import Erased, Erasure, Explanation, Recommendation, Trigger, Versions
from streamrec.core.wire import encode
from streamrec.eventlog.records import LogRecord
from tests.make import NOW, event, record, session

TOPICS = ("clicks", "listens", "items", "sessions", "recommendations", "explanations", "dead-letters")


def slate(offset: int, model: str = "m") -> Recommendation:
    trigger = Trigger(topic="listens", partition=0, offset=offset, event_id=f"a@{NOW + offset}")
    return Recommendation(
        schema_version=1,
        recommendation_id=recommendation_id(trigger),
        user_id="anna",
        trigger=trigger,
        occurred_at=NOW,
        versions=Versions(model=model, catalogue=0, rules="r", runtime="t"),
        history=("a",),
        items=(),
        source="gptrec",
        dropped={},
    )


def at(topic: str, offset: int, value: bytes, timestamp: int = NOW) -> LogRecord:
    return LogRecord(topic, 0, offset, timestamp, b"anna", value)


def log() -> list[LogRecord]:
    """Three listens of Anna, and everything that came of them."""
    records = []
    for offset in range(3):
        records.append(record(event("a", NOW + offset), Position("listens", 0, offset, NOW + 1000 * offset)))
        made = slate(offset)
        held = session("a", trigger=made.trigger, applied={"listens": offset})
        told = Explanation(schema_version=1, recommendation_id=made.recommendation_id, user_id="anna", items=())
        records.append(at("sessions", offset, encode(held)))
        records.append(at("recommendations", offset, encode(made), NOW + 1000 * offset + 40 * (offset + 1)))
        records.append(at("explanations", offset, encode(told)))
    return records


def sample(ends: int = 3, **committed: int) -> Sample:
    return Sample(0.0, {(topic, 0): offset for topic, offset in committed.items()}, {(topic, 0): ends for topic in TOPICS})


ALL_DONE = sample(listens=3, sessions=3, recommendations=3)


def without(topic: str, offset: int) -> list[LogRecord]:
    return [each for each in log() if (each.topic, each.offset) != (topic, offset)]


def renumbered(records: list[LogRecord], topic: str) -> list[LogRecord]:
    offsets = iter(range(len(records)))
    return [each._replace(offset=next(offsets)) if each.topic == topic else each for each in records]


def confirmed() -> list[Confirmed]:
    """What the brokers said of the listens."""
    return [Confirmed((each.topic, 0, each.offset), checksum(each.key, each.value)) for each in log() if each.topic == "listens"]


def test_all_is_well_where_nothing_went_wrong() -> None:
    assert not any(judge(log(), [ALL_DONE, sample(0), sample(1, listens=1)], confirmed()))


@pytest.mark.parametrize("topic", ["listens", "sessions", "recommendations", "explanations"])
def test_an_offset_without_a_record_is_a_gap(topic: str) -> None:
    assert judge(without(topic, 1), [], []).gaps == 1


def test_a_record_that_was_confirmed_and_is_not_there() -> None:
    assert judge(without("listens", 2), [], confirmed()).unkept == 1


@pytest.mark.parametrize("other", [{"key": b"bert"}, {"value": b"other"}, {"value": None}])
def test_a_confirmed_record_in_whose_place_another_one_stands(other: dict[str, bytes | None]) -> None:
    """After a leader change that truncates, offsets are given again."""
    reused = [each._replace(**other) if (each.topic, each.offset) == ("listens", 2) else each for each in log()]
    found = judge(reused, [], confirmed())
    assert (found.unkept, found.gaps) == (1, 0)


def test_of_two_records_that_were_confirmed_at_one_place_one_is_lost() -> None:
    lost = Confirmed(("listens", 0, 2), checksum(b"anna", b"other"))
    assert judge(log(), [], [*confirmed(), lost]).unkept == 1


@pytest.mark.parametrize(
    ("ends", "committed", "ahead"),
    [
        (2, {"listens": 3}, 1),  # the third session was not there yet
        (2, {"listens": 2}, 0),
        (1, {"sessions": 3}, 2),
        (0, {"recommendations": 2}, 2),
        (0, {"listens": 0, "sessions": 0}, 0),
    ],
)
def test_what_was_committed_before_its_output_stood_in_the_log(ends: int, committed: dict[str, int], ahead: int) -> None:
    assert judge(log(), [sample(ends, **committed)], []).committed_ahead == ahead


@pytest.mark.parametrize(("topic", "input_topic"), [("sessions", "listens"), ("explanations", "recommendations")])
def test_what_was_committed_and_never_came(topic: str, input_topic: str) -> None:
    records = renumbered(without(topic, 2), topic)
    assert judge(records, [sample(**{input_topic: 2})], []).committed_ahead == 0
    assert judge(records, [sample(**{input_topic: 3})], []).committed_ahead == 1


def test_a_session_is_done_when_a_later_one_of_its_user_is() -> None:
    records = renumbered(without("recommendations", 1), "recommendations")
    assert judge(records, [sample(sessions=3)], []).committed_ahead == 0
    assert judge(records, [sample(1, sessions=2)], []).committed_ahead == 1


def test_a_session_may_be_committed_while_a_later_one_of_its_user_waits() -> None:
    ends = sample(1).ends | {("sessions", 0): 3}
    assert judge(log(), [Sample(0.0, {("sessions", 0): 2}, ends)], []).committed_ahead == 0
    assert judge(log(), [Sample(0.0, {("sessions", 0): 3}, ends)], []).committed_ahead == 2


def test_an_unreadable_event_is_done_when_its_dead_letter_is_there() -> None:
    poison = at("listens", 3, b"\xc1")
    headers = tuple(
        (f"streamrec.dlq.{name}", value) for name, value in (("topic", b"listens"), ("partition", b"0"), ("offset", b"3"))
    )
    letter = at("dead-letters", 0, b"\xc1")._replace(headers=headers)
    assert judge([*log(), poison, letter], [sample(listens=4)], []).committed_ahead == 0
    assert judge([*log(), poison, letter], [sample(0, listens=4)], []).committed_ahead == 4
    assert judge([*log(), poison], [sample(listens=4)], []).committed_ahead == 1


def erased_log() -> list[LogRecord]:
    """Anna's three listens, and then her erasure."""
    erasure = Erasure(schema_version=1, event_id="e", event_type="erase", user_id="anna", occurred_at=NOW)
    note = ((ERASED, encode(Erased(applied={"listens": 2, "clicks": 0}, erased_at=NOW), "json")),)
    graves = [LogRecord(topic, 0, 3, NOW + 7000, b"anna", None, note) for topic in ("sessions", "recommendations", "explanations")]
    return [*log(), at("clicks", 0, encode(erasure), NOW + 5000), *graves]


def test_an_erasure_is_done_when_its_tombstones_are_there() -> None:
    done = sample(4, clicks=1, sessions=4, recommendations=4)
    assert not any(judge(erased_log(), [done, sample(3, clicks=0, sessions=3)], []))
    assert judge(erased_log(), [sample(3, clicks=1)], []).committed_ahead == 1
    for topic, left in (("sessions", "clicks"), ("recommendations", "sessions"), ("explanations", "recommendations")):
        kept = [each for each in erased_log() if (each.topic, each.value) != (topic, None)]
        assert judge(kept, [sample(4, **{left: 4})], []).committed_ahead == 1
    assert waits(erased_log())[-1].waited == 2000


def test_an_erased_user_whose_last_recommendation_is_an_old_one() -> None:
    assert judge([*erased_log(), at("recommendations", 4, encode(slate(1)))], [], []).stale == 1


def test_an_event_in_a_foreign_partition_is_done_when_it_stands_in_its_own() -> None:
    home = [each for each in log() if (each.topic, each.offset) != ("listens", 2)]
    strayed = record(event("a", NOW + 2), Position("listens", 5, 0, NOW + 2000))
    sent_on = strayed._replace(partition=0, offset=2, headers=((MISROUTED, b"5@0"),))
    committed = Sample(0.0, {("listens", 5): 1}, {(topic, part): 9 for topic in TOPICS for part in (0, 5)})
    assert judge([*home, strayed, sent_on], [committed], []).committed_ahead == 0
    assert judge([*home, strayed], [committed], []).committed_ahead == 1


def test_a_user_whose_last_recommendation_is_an_old_one() -> None:
    late = at("recommendations", 3, encode(slate(1)))
    assert judge([*log(), late], [], []).stale == 1
    assert judge([*log(), late, at("recommendations", 4, encode(slate(2)))], [], []).stale == 0


def test_a_first_recommendation_that_comes_after_a_later_one() -> None:
    records = renumbered(without("recommendations", 1), "recommendations")
    late = [at("recommendations", 2, encode(slate(1))), at("recommendations", 3, encode(slate(2)))]
    found = judge([*records, *late], [], [])
    assert (found.out_of_order, found.stale) == (1, 0)


def test_a_repeat_by_another_model_is_told() -> None:
    assert judge([*log(), at("recommendations", 3, encode(slate(2, "other")))], [], []).repeats_of_another_model == 1


def test_a_wait_is_from_the_event_to_its_first_recommendation_or_one_that_covers_it() -> None:
    repeat = at("recommendations", 3, encode(slate(0)), NOW + 99_000)
    assert [each.waited for each in waits([*log(), repeat])] == [40, 80, 120]
    assert [each.waited for each in waits(renumbered(without("recommendations", 1), "recommendations"))] == [40, 1120, 120]
    assert longest_waits(waits(log()), [NOW - 5, NOW + 1500, NOW + 9000]) == [80, 120, 0]
