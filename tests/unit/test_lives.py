"""Topics made anew, and logs whose first events are gone, case by case."""

from pathlib import Path

from streamrec.core.had import item_hash
from streamrec.core.types import Erased, Session
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import LogRecord
from streamrec.replay.lives import Queue, lives
from streamrec.replay.order import as_recorded
from streamrec.replay.sources import dataset_records
from tests.make import NOW, event, interaction, position, record, session, trigger


def at(offset: int, timestamp: int, topic: str = "listens") -> LogRecord:
    return LogRecord(topic, 0, offset, timestamp, b"anna", b"")


def listen(offset: int, timestamp: int, event_id: str, item_id: str = "a") -> LogRecord:
    return record(event(item_id, event_id=event_id), position(offset, timestamp=timestamp))


def held(offset: int, *events: str, applied: int, at: int, **fields: object) -> LogRecord:
    """A record of ``sessions``: these events, the last one the trigger, and how far it reaches."""
    history = [interaction("a", event_id=each) for each in events]
    known = {"trigger": trigger(applied, event_id=events[-1]), "catalogue": offset}
    told: Session = session(*history, applied={"listens": applied}, applied_at={"listens": at}, **(known | fields))
    return record(told, position(offset, "sessions"))


def test_a_life_ends_where_offsets_go_back_and_time_goes_on() -> None:
    old, new = [at(0, 10), at(5, 20), at(6, 15)], [at(0, 30), at(6, 31)]
    assert lives([*old, *new]) == {("listens", 0): [old, new]}


def test_a_log_out_of_order_is_one_life() -> None:
    log = [at(5, 20), at(0, 10), at(5, 20), at(6, 30)]
    assert lives(log) == {("listens", 0): [sorted(log)]}


def test_partitions_and_topics_have_lives_of_their_own() -> None:
    log = [at(0, 10), at(0, 20, "clicks"), at(0, 30)._replace(partition=1)]
    assert lives(log) == {(each.topic, each.partition): [[each]] for each in log}


def queue(*of_lives: list[LogRecord]) -> Queue:
    made = Queue()
    for number, life in enumerate(of_lives):
        for each in life:
            made.append(number, each)
    return made


def test_a_timestamp_tells_which_life_an_offset_is_of() -> None:
    old, new = [at(3, 10), at(7, 20)], [at(0, 30), at(9, 40)]
    waiting = queue(old, new)
    assert waiting.up_to(7, 19) == old
    assert waiting.up_to(9, 29) == []
    assert waiting.up_to(0, 30) == new[:1]
    assert waiting.rest() == new[1:]


def test_a_later_life_leaves_nothing_of_the_one_before() -> None:
    old, new = [at(3, 10), at(7, 20)], [at(0, 30), at(9, 40)]
    assert queue(old, new).up_to(0, 30) == [*old, *new[:1]]


def test_a_session_without_timestamps_goes_by_offsets() -> None:
    waiting = queue([at(3, 10)], [at(0, 30), at(9, 40)])
    assert [waiting.up_to(offset, None) for offset in (2, 3, 3)] == [[], [at(3, 10)], [at(0, 30)]]


def test_each_life_keeps_the_catalogue_named_for_it() -> None:
    log = [listen(0, NOW, "e"), listen(0, NOW + 9, "e", "b"), held(3, "e", applied=0, at=NOW), held(4, "e", applied=0, at=NOW + 9)]
    recorded = as_recorded(log)
    assert recorded.catalogue == {position(0, timestamp=NOW): 3, position(0, timestamp=NOW + 9): 4}


# Where a user begins


def test_a_user_new_in_the_window_begins_with_nothing() -> None:
    recorded = as_recorded([listen(5, NOW, "e5"), held(0, "e5", applied=5, at=NOW)])
    assert (len(recorded.inputs), recorded.starts) == (1, {})


def test_a_user_begins_with_the_newest_session_before_the_window() -> None:
    log = [listen(5, NOW, "e5"), listen(6, NOW + 1, "e6")]
    sessions = [held(0, "e3", applied=3, at=NOW - 2), held(1, "e3", "e4", applied=4, at=NOW - 1)]
    sessions.append(held(2, "e3", "e4", "e5", applied=5, at=NOW))
    recorded = as_recorded([*log, *sessions])
    assert recorded.starts["anna"].record == sessions[1]
    assert recorded.inputs == log
    assert recorded.initial["anna"].applied == {"listens": 4}


def test_a_first_session_that_reaches_into_the_window_is_the_start() -> None:
    log = [listen(5, NOW, "e5"), listen(6, NOW + 1, "e6")]
    recorded = as_recorded([*log, held(9, "e4", "e5", applied=5, at=NOW)])
    assert recorded.starts["anna"].record.offset == 9
    assert recorded.inputs == log[1:]


def test_what_a_user_had_tells_of_events_that_are_gone() -> None:
    log = [listen(5, NOW, "e5")]
    known = held(0, "e5", applied=5, at=NOW, had=(item_hash("a"),))
    assert as_recorded([*log, known]).starts == {}
    assert as_recorded([*log, held(0, "e5", applied=5, at=NOW, had=(item_hash("gone"),))]).starts


def test_an_erasure_that_is_gone_is_remembered() -> None:
    assert as_recorded([listen(5, NOW, "e5"), held(0, "e5", applied=5, at=NOW, erased_at=NOW - 9)]).initial["anna"].erased_at
    note = b'{"applied":{"clicks":3},"erased_at":7,"applied_at":{"clicks":7}}'
    tombstone = LogRecord("sessions", 0, 0, NOW, b"anna", None, (("streamrec.erased", note),))
    recorded = as_recorded([listen(5, NOW, "e5"), tombstone])
    assert recorded.initial == {"anna": Erased(applied={"clicks": 3}, erased_at=7, applied_at={"clicks": 7})}


def test_only_another_life_of_the_topic_is_left() -> None:
    """Offsets begin at 0, and yet there was something before."""
    log = [listen(0, NOW, "new")]
    before = held(0, "old", applied=500, at=NOW - 9)
    recorded = as_recorded([*log, before, held(1, "old", "new", applied=0, at=NOW)])
    assert (recorded.starts["anna"].record, recorded.inputs) == (before, log)


def test_a_whole_log_begins_with_nothing_whatever_sessions_say() -> None:
    log = [listen(5, NOW, "e5"), held(0, "e4", "e5", applied=5, at=NOW)]
    assert as_recorded(log, whole=True).starts == {}


# The order of a data set


def test_events_of_one_time_go_by_the_name_of_their_topic(tmp_path: Path) -> None:
    rows = ["u,a,5,listen", "u,b,5,click", "u,c,4,listen", "u,d,5,listen", "u,e,5,click"]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(rows) + "\n")
    (tmp_path / "items.csv").write_text("item_id\na\n")
    records = [each for each in dataset_records(read_dataset(tmp_path), 1) if each.topic != "items"]
    assert [(each.topic, each.offset, each.timestamp) for each in records] == [
        ("listens", 0, 4000),
        ("clicks", 0, 5000),
        ("clicks", 1, 5000),
        ("listens", 1, 5000),
        ("listens", 2, 5000),
    ]
