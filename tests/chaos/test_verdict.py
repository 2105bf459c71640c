"""The verdict: on a small log each count is 0, and not 0 any more when its fault is planted."""

import pytest
from msgspec.structs import replace

from chaos.ledger import LIFE, Confirmed, Lives, Transaction, checksum
from chaos.strays import Happened, Member, evidence, line
from chaos.verdict import Known, Verdict, longest_waits, waits
from chaos.verdict import judge as judge_all
from chaos.watch import Sample
from streamrec.core.had import item_hash
from streamrec.core.intake import ERASED, MISROUTED
from streamrec.core.pipeline import recommendation_id
from streamrec.core.session import Position
from streamrec.core.types import Erased, Erasure, Event, Explanation, Recommendation, Trigger, Versions
from streamrec.core.wire import decode, encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from tests.make import MINUTE, NOW, event, interaction, record, session

HOME = partition_of("anna", 12)
WRITTEN = NOW + 24 * 60 * MINUTE
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


def judge(records: list[LogRecord], samples: list[Sample], confirmed: list[Confirmed]) -> Verdict:
    return judge_all(records, samples, Known(confirmed))[0]


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
    note = ((ERASED, encode(Erased(applied={"listens": 2, "clicks": 0}, erased_at=NOW + 5000), "json")),)
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


# Lives, transactions, and events that were left out


def heard(offset: int, minutes: int, item: str = "a", **fields: object) -> LogRecord:
    """Anna's listen to an item, so many minutes after NOW."""
    told = event(item, NOW + minutes * MINUTE, event_id=f"l{offset}", **fields)
    return record(told, Position("listens", HOME, offset, WRITTEN + offset))


def told(offset: int, *events: LogRecord, applied: int | None = None, **fields: object) -> LogRecord:
    """Anna's session of these listens, in their order in time; it reaches as far as the last one, unless said otherwise."""
    read = [decode(Event, each.value) for each in events]
    past = sorted(
        (interaction(each.item_id, each.occurred_at, event_id=each.event_id) for each in read), key=lambda each: each.occurred_at
    )
    reach = {"listens": events[-1].offset if applied is None else applied}
    state = session(*past, applied=reach, applied_at={"listens": WRITTEN + reach["listens"]}, **fields)
    return record(state, Position("sessions", HOME, offset, WRITTEN + 1000 + offset))


def left_out(*records: LogRecord) -> int:
    valid = {checksum(each.key, each.value) for each in records if each.topic in ("clicks", "listens")}
    return judge_all(records, [], Known(valid=valid))[0].late_without_rule


def test_an_event_that_its_session_holds_is_taken_in() -> None:
    first, second = heard(0, 60), heard(1, 0)
    assert left_out(first, second, told(0, first), told(1, first, second, applied=1)) == 0


def test_an_old_event_without_a_place_in_its_session_is_lost() -> None:
    first, second = heard(0, 60), heard(1, 0)
    assert left_out(first, second, told(0, first), told(1, first, applied=1)) == 1


def test_an_event_that_no_session_reaches_is_lost() -> None:
    first, second = heard(0, 60), heard(1, 0)
    assert left_out(first, second, told(0, first)) == 1


def test_a_retry_may_be_left_out() -> None:
    first = heard(0, 0)
    assert left_out(first, first._replace(offset=1), told(0, first), told(1, first, applied=1)) == 0


def test_an_event_older_than_a_full_history_must_count_as_had() -> None:
    full = [heard(n, 10 + n) for n in range(100)]
    old = heard(100, 0, "old")
    sessions = [told(n, *full[: n + 1]) for n in range(100)]
    had = (item_hash("old"),)
    assert left_out(*full, old, *sessions, told(100, *full, applied=100, had_late=had)) == 0
    assert left_out(*full, old, *sessions, told(100, *full, applied=100)) == 1
    fewer = [*full[:99], *sessions[:99], told(99, *full[:99], applied=100, had_late=had)]
    assert left_out(*fewer, old) == 1, "the history is not full"


def test_what_was_written_before_an_erasure_may_be_left_out() -> None:
    late, new = heard(0, 0), heard(1, 5)
    note = Erased(applied={"clicks": 0}, erased_at=WRITTEN, applied_at={"clicks": WRITTEN})
    grave = LogRecord("sessions", HOME, 0, NOW, b"anna", None, ((ERASED, encode(note, "json")),))
    after = replace(note, applied={"clicks": 0, "listens": 0}, applied_at={"clicks": WRITTEN, "listens": WRITTEN})
    still = grave._replace(offset=1, headers=((ERASED, encode(after, "json")),))
    assert left_out(late, grave, still) == 0
    after = replace(after, applied={"clicks": 0, "listens": 1}, applied_at={"clicks": WRITTEN, "listens": WRITTEN + 1})
    also = grave._replace(offset=2, headers=((ERASED, encode(after, "json")),))
    assert left_out(late, new, grave, still, also) == 1, "it was written after the erasure"


def test_an_event_in_a_foreign_partition_must_be_sent_on() -> None:
    strayed = heard(0, 0)._replace(partition=(HOME + 1) % 12)
    home = strayed._replace(partition=HOME, headers=((MISROUTED, b"%d@0" % strayed.partition),))
    assert left_out(strayed) == 1
    assert left_out(strayed, home, told(0, home)) == 0


def two_lives() -> tuple[list[LogRecord], Lives]:
    """Anna's two listens, the topic made anew, and one more, which has the offset of the first."""
    old, new = log()[:8], at("listens", 0, encode(event("a", NOW + 9)), NOW + 9000)
    due = Trigger(topic="listens", partition=0, offset=0, event_id=f"a@{NOW + 9}")
    held = session("a", trigger=due, applied={"listens": 0}, applied_at={"listens": NOW + 9000})
    slate_of = replace(slate(0), trigger=due, recommendation_id=recommendation_id(due))
    explained = Explanation(schema_version=1, recommendation_id=slate_of.recommendation_id, user_id="anna", items=())
    outputs = [at("sessions", 2, encode(held)), at("recommendations", 2, encode(slate_of), NOW + 9040)]
    return [*old, new, *outputs, at("explanations", 2, encode(explained))], Lives({"listens": [NOW + 5000]})


def test_two_lives_of_a_topic_are_judged_one_after_the_other() -> None:
    records, lives = two_lives()
    done = Sample(0.0, {("listens", 0): LIFE + 1}, sample(3).ends | {("listens", 0): LIFE + 1})
    early = Sample(0.0, {("listens", 0): LIFE + 1}, sample(2).ends)
    placed = [
        Confirmed(("listens", 0, offset), checksum(each.key, each.value))
        for each, offset in zip((each for each in records if each.topic == "listens"), (0, 1, LIFE), strict=True)
    ]
    known = Known(placed, lives=lives, ends={(("listens", 0), 0): 2, (("listens", 0), 1): 1})
    assert not any(judge_all(records, [done], known)[0])
    assert judge_all(records, [early], known)[0].committed_ahead == 1
    assert judge_all(records, [early._replace(is_judged=False)], known)[0].committed_ahead == 0
    assert [each.waited for each in waits(records)] == [40, 80, 40]
    lost = [each for each in records if each.timestamp != NOW + 1000 or each.topic != "listens"]
    found = judge_all(lost, [done], known)[0]
    assert (found.gaps, found.unkept) == (1, 1)


def test_every_offset_of_a_transaction_is_accounted_for() -> None:
    """Two records that were aborted, their marker, a record that was committed, and its marker at the end."""
    kept = [each for each in log() if each.topic == "listens"]
    aborted = tuple(Confirmed(("listens", 0, offset), 0) for offset in (3, 4))
    committed = (Confirmed(("listens", 0, 6), 0),)
    seen = [at("listens", offset, b"x") for offset in (3, 4, 6)]
    known = Known(transactions=[Transaction(aborted, False), Transaction(committed, True)], ends={(("listens", 0), 0): 8})
    found = judge_all([*kept, *seen], [], known)[0]
    assert (found.gaps, found.aborted) == (0, 2)
    assert judge_all([*kept[1:], *seen], [], known)[0].gaps == 1
    assert judge_all([*kept, *seen], [], known._replace(ends={(("listens", 0), 0): 9}))[0].gaps == 1
    assert judge_all([*kept, *seen], [], known._replace(transactions=known.transactions[:1]))[0].gaps > 0


def test_the_evidence_of_a_stray_says_who_wrote_it_when_and_during_what() -> None:
    records = renumbered(without("recommendations", 1), "recommendations")
    late = at("recommendations", 2, encode(slate(1)), NOW + 8000)
    verdict, found = judge_all([*records, late], [], Known())
    assert (verdict.out_of_order, len(found)) == (1, 1)
    members = [
        Member(NOW, "recommend", "recommend-1", {"sessions": (0, 1)}),
        Member(NOW, "sessions", "sessions-1", {"clicks": (0,)}),
        Member(NOW + 7000, "recommend", "all-1", {"sessions": (0,)}),
    ]
    faults = [Happened(1, "zombie", NOW + 6000, NOW + 7000, None), Happened(2, "flood", NOW + 9000, NOW + 9500, None)]
    seen = evidence(found[0], faults, members)
    assert (seen["user"], seen["partition"], seen["fault"]["kind"]) == ("anna", 0, "zombie")
    older, newer = seen["older"], seen["newer"]
    assert (older["offset"], older["session"]["offset"], newer["offset"], newer["session"]["offset"]) == (2, 1, 1, 2)
    assert older["owners"] == {
        "now": {"worker": "all-1", "since": NOW + 7000},
        "before": {"worker": "recommend-1", "since": NOW},
    }
    assert "zombie" in line(seen)
    assert "written by older all-1, newer recommend-1" in line(seen)
