"""The ladder of generators: what one cannot answer the next one does, and the answer says which it was."""

import pytest

from streamrec.core.errors import GeneratorFailed
from streamrec.core.generate import Generator, Had, Ladder
from tests.make import Broken, Following, Uniform

KNOWS_A = Following({"a": ["b", "c"]}, source="best")
KNOWS_ALL = Uniform("xy", source="last")


def sources(rungs: list[Generator], *histories: list[str]) -> list[str]:
    return [each.source for each in Ladder(rungs).propose(histories, 5)]


def test_the_first_rung_that_knows_something_answers() -> None:
    assert sources([KNOWS_A, KNOWS_ALL], ["a"]) == ["best"]


def test_each_history_of_a_batch_gets_the_answer_it_would_get_alone() -> None:
    histories = [["z"], ["a"], ["z"], ["b", "a"], ["a", "b"]]
    together = Ladder([KNOWS_A, KNOWS_ALL]).propose(histories, 5)
    assert together == [Ladder([KNOWS_A, KNOWS_ALL]).propose([each], 5)[0] for each in histories]
    assert [each.source for each in together] == ["last", "best", "last", "best", "last"]


def test_each_rung_leaves_out_what_the_user_it_answers_for_had() -> None:
    histories = [["a"], ["z"], ["a"], ["y"]]
    had = [Had(frozenset("b")), Had(frozenset("x")), Had(frozenset("bc")), Had(frozenset("y"))]

    class FailsInBatches(Following):
        def propose(self, histories, count, had=None):  # type: ignore[no-untyped-def]
            if len(histories) > 1:
                raise GeneratorFailed("more than one")
            return super().propose(histories, count, had)

    alone = FailsInBatches({"a": ["b", "c"]}, source="best")
    for rungs in ([KNOWS_A, KNOWS_ALL], [Broken(), KNOWS_A, KNOWS_ALL], [alone, KNOWS_ALL]):
        proposals = Ladder(rungs).propose(histories, 5, had)
        items = ["".join(one.item_id for one in each.candidates) for each in proposals]
        answers = [(each.source, its, each.seen) for each, its in zip(proposals, items, strict=True)]
        assert answers == [("best", "c", 1), ("last", "y", 1), ("best", "", 2), ("last", "x", 1)]


def test_the_next_rung_answers_for_one_that_failed() -> None:
    assert sources([Broken(), KNOWS_A, KNOWS_ALL], ["a"], ["z"]) == ["best", "last"]


def test_a_history_that_a_rung_fails_for_does_not_change_what_its_neighbours_get() -> None:
    class FailsForZ(Uniform):
        def propose(self, histories, count, had=None):  # type: ignore[no-untyped-def]
            if ["z"] in histories:
                raise GeneratorFailed("not a finite number")
            return super().propose(histories, count, had)

    assert sources([FailsForZ("ab", source="best"), KNOWS_ALL], ["a"], ["z"], ["b"]) == ["best", "last", "best"]


def test_where_no_rung_answers_the_proposal_is_empty() -> None:
    proposal = Ladder([Broken(), KNOWS_A]).propose([["z"]], 5)[0]
    assert (proposal.source, proposal.candidates) == ("none", ())


def test_a_rung_is_not_asked_where_a_better_one_has_answered() -> None:
    class Untouched(Uniform):
        def propose(self, histories, count, had=None):  # type: ignore[no-untyped-def]
            raise AssertionError("asked")

    assert sources([KNOWS_ALL, Untouched("z")], ["a"]) == ["last"]


def test_an_error_that_is_no_failure_of_a_model_is_not_hidden() -> None:
    class Buggy(Uniform):
        def propose(self, histories, count, had=None):  # type: ignore[no-untyped-def]
            raise KeyError("bug")

    with pytest.raises(KeyError):
        sources([Buggy("z"), KNOWS_ALL], ["a"])


def test_a_rung_that_answers_for_too_few_is_an_error() -> None:
    class Short(Uniform):
        def propose(self, histories, count, had=None):  # type: ignore[no-untyped-def]
            return super().propose(histories, count, had)[:-1]

    with pytest.raises(ValueError, match="shorter"):
        sources([Short("z")], ["a"], ["b"])
