"""Judging: the frame holds scorers to their promise, and ranks."""

from collections.abc import Sequence

import pytest

from streamrec.core.generate import Candidate
from streamrec.core.score import Scored, judge_all
from tests.make import Linear, candidate


class Answering:
    """A scorer that answers the same whatever it is asked."""

    threshold = 0.0

    def __init__(self, *items: str) -> None:
        self._items = items

    def judge(self, history: Sequence[str], candidates: Sequence[Candidate]) -> list[Scored]:
        return Linear().judge(history, [candidate(each) for each in self._items])


def test_the_best_comes_first_and_ties_go_by_item_id() -> None:
    judged = judge_all(Linear({"c": 2.0}), ["x"], [candidate("b"), candidate("c"), candidate("a")])
    assert [each.item_id for each in judged] == ["c", "a", "b"]


@pytest.mark.parametrize("answer", [["a"], ["a", "b", "b"], ["b", "a"], []], ids=["too few", "too many", "reordered", "none"])
def test_a_scorer_that_breaks_its_promise_is_named(answer: list[str]) -> None:
    with pytest.raises(RuntimeError, match="Answering judged"):
        judge_all(Answering(*answer), ["x"], [candidate("a"), candidate("b")])


def test_nothing_to_judge_is_no_fault() -> None:
    assert judge_all(Linear(), ["x"], []) == []
