"""The audit counts what is not as replay computes it, in key, partition and headers, too."""

import pytest

from streamrec.core.wire import encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import Audit, audit
from streamrec.replay.engine import Replay
from tests.make import NOW, Uniform, catalogue, event, pipeline, recommender

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
    headers = tuple((name, b"listens" if name.endswith("topic") else b"0") for name, _ in EMITTED[-1].headers)
    unasked = EMITTED[-1]._replace(offset=1, headers=headers)
    found = audited([*EMITTED, unasked])
    assert (found.dead_letters, found.dead_letters_missing, found.outputs_wrong) == (2, 0, 1)
