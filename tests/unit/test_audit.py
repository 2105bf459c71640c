"""The audit counts what is not as replay computes it, in key, partition and headers, too."""

from random import Random

import pytest
from hypothesis import given

from streamrec.core.wire import encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import Audit, audit
from streamrec.replay.engine import Replay
from streamrec.replay.order import as_recorded
from tests import simulate
from tests.make import MINUTE, NOW, Uniform, catalogue, event, pipeline, recommender
from tests.unit.test_replay import HASTY, RANDOM

HOME = partition_of("anna", 4)
LISTENS = [LogRecord("listens", HOME, n, NOW + n, b"anna", encode(event("abc"[n], NOW + n))) for n in range(3)]
POISON = LogRecord("listens", 3, 0, NOW, b"who", b"\xc1", (("trace", b"\x00\xff"), ("trace", None)))
INPUTS = [*LISTENS, POISON]


def fresh():
    return recommender(catalogue(*"abcde"), pipeline(Uniform("abcde")))


EMITTED = list(Replay(fresh(), 4).run(INPUTS))


def audited(emitted: list[LogRecord]) -> Audit:
    return audit([*INPUTS, *emitted], fresh(), 4)


def changed(topic: str, **fields: object) -> list[LogRecord]:
    """What was emitted, with the first record of the topic changed."""
    place = next(n for n, each in enumerate(EMITTED) if each.topic == topic)
    return [*EMITTED[:place], EMITTED[place]._replace(**fields), *EMITTED[place + 1 :]]


def test_what_replay_computes_is_right() -> None:
    assert audited(EMITTED) == Audit(3, 3, 0, 0, 0, 0, 1, 0)
    letter = EMITTED[-1]
    assert audited([*EMITTED, letter._replace(offset=1)]) == audited(EMITTED), "a letter may come twice"


@pytest.mark.parametrize("topic", ["sessions", "recommendations", "explanations"])
@pytest.mark.parametrize("fields", [{"key": b"bert"}, {"partition": HOME + 1}])
def test_a_record_under_another_key_or_in_another_partition(topic: str, fields: dict[str, object]) -> None:
    assert audited(changed(topic, **fields)).outputs_wrong > 0


@pytest.mark.parametrize("fields", [{"key": b"bert"}, {"value": b"\xc2"}, {"partition": 2}, {"headers": EMITTED[-1].headers[2:]}])
def test_a_dead_letter_that_is_not_whole_is_missing(fields: dict[str, object]) -> None:
    found = audited(changed("dead-letters", **fields))
    assert (found.dead_letters_missing, found.outputs_wrong) == (1, 1)


def test_a_dead_letter_of_a_record_that_can_be_read() -> None:
    origin = {"topic": b"listens", "partition": str(HOME).encode(), "offset": b"0"}
    headers = tuple((name, origin.get(name.rpartition(".")[2], b"0")) for name, _ in EMITTED[-1].headers)
    unasked = EMITTED[-1]._replace(offset=1, headers=headers)
    found = audited([*EMITTED, unasked])
    assert (found.dead_letters, found.dead_letters_missing, found.outputs_wrong) == (2, 0, 1)


# Logs whose first events are gone, and topics made anew


def simulated(random: Random, sessions: bool = True) -> tuple[simulate.Life, list[LogRecord]]:
    """What a worker took in, and all that came of it."""
    life = simulate.live(random, HASTY, [NOW + 5 * MINUTE * random.randint(0, 40) for _ in range(random.randint(1, 25))])
    read = dict(life.read)
    events = []
    for each in life.events:
        read[each.topic, each.partition] -= 1
        if read[each.topic, each.partition] >= 0:
            events.append(each)
    life = life._replace(events=events)
    inputs = as_recorded([*life.items, *events, *life.sessions])
    engine = Replay(simulate.fresh(HASTY), simulate.PARTITIONS, "msgpack", inputs.catalogue)
    emitted = [each for each in engine.run(inputs.inputs) if each.topic != "sessions"]
    return life, [*life.sessions, *emitted]


@given(random=RANDOM)
def test_lives_of_topics_are_audited_one_after_the_other(random: Random) -> None:
    life, emitted = simulated(random)
    for whole in (True, False):
        found = audit([*life.items, *life.events, *emitted], simulate.fresh(HASTY), simulate.PARTITIONS, whole=whole)
        assert (found.events_lost, found.outputs_wrong, found.dead_letters_missing) == (0, 0, 0)


@given(random=RANDOM)
def test_what_came_of_events_that_are_gone_is_not_wrong(random: Random) -> None:
    life, emitted = simulated(random)
    left = simulate.cut(random, life)
    found = audit([*life.items, *left, *emitted], simulate.fresh(HASTY), simulate.PARTITIONS)
    assert (found.events_lost, found.outputs_wrong, found.dead_letters_missing) == (0, 0, 0)


def test_an_event_that_is_gone_from_a_whole_log_is_seen() -> None:
    without = [*INPUTS[1:], *EMITTED]
    assert audit(without, fresh(), 4).outputs_wrong == 0
    assert audit(without, fresh(), 4, whole=True).outputs_wrong > 0


@pytest.mark.parametrize("topic", ["sessions", "recommendations", "explanations"])
def test_what_is_wrong_after_the_start_is_seen(topic: str) -> None:
    last = max(n for n, each in enumerate(EMITTED) if each.topic == topic)
    emitted = [*EMITTED[:last], EMITTED[last]._replace(partition=HOME + 1), *EMITTED[last + 1 :]]
    assert audit([*INPUTS[1:], *emitted], fresh(), 4).outputs_wrong > 0
