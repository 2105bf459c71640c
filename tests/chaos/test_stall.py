"""A stall whose users were never answered is no short one."""

import pytest

from chaos.stall import figures, survivors
from streamrec.core.errors import UserError
from tests.chaos.test_verdict import log, renumbered, without
from tests.make import NOW


def test_the_longest_waits_are_of_all_events() -> None:
    found = figures(log(), NOW, {0})
    assert (found["longest_wait_survivors_ms"], found["longest_wait_orphans_ms"], found["events_after"]) == (120, 0, 3)


def test_a_repeat_by_the_producer_waits_for_nothing() -> None:
    repeat = log()[0]._replace(offset=3)
    assert figures([*log(), repeat], NOW, {0}) == figures(log(), NOW, {0})


@pytest.mark.parametrize("topic", ["sessions", "recommendations"])
def test_an_event_without_an_answer_is_an_error(topic: str) -> None:
    with pytest.raises(UserError, match="1 of 3 events"):
        figures(renumbered(without(topic, 2), topic), NOW, {0})


def test_one_of_two_must_survive() -> None:
    assert survivors({"a": {0, 1}, "b": {2}}, {"a": {0, 1, 2}}) == {0, 1}
    with pytest.raises(UserError, match="0 of 2 did"):
        survivors({"a": {0, 1}, "b": {2}}, {"c": {0, 1, 2}})
    with pytest.raises(UserError, match="2 of 2 did"):
        survivors({"a": {0, 1}, "b": {2}}, {"a": {0, 1}, "b": {2}})
