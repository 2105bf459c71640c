"""Rules that remove candidates, each with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.filter import Dropped, Filter, apply_filters, below_threshold, unavailable
from tests.make import item, scored, view

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)


def kept_by(rule: Filter, *items: str) -> list[str]:
    return [each.item_id for each in rule.run([scored(name) for name in items])[0]]


def test_a_filter_says_what_it_kept_and_what_it_dropped_for_which_reason() -> None:
    kept, dropped = Filter("no b", lambda each: each.item_id == "b").run([scored("a"), scored("b"), scored("c")])
    assert [each.item_id for each in kept] == ["a", "c"]
    assert dropped == [Dropped("b", "no b")]


@given(candidates=NAMES, first=st.sets(st.sampled_from("abcdefgh")), second=st.sets(st.sampled_from("abcdefgh")))
def test_every_candidate_is_kept_in_its_place_or_dropped_for_the_first_reason(
    candidates: list[str], first: set[str], second: set[str]
) -> None:
    filters = [Filter("first", lambda each: each.item_id in first), Filter("second", lambda each: each.item_id in second)]
    kept, dropped = apply_filters(filters, [scored(name) for name in candidates])
    assert [each.item_id for each in kept] == [name for name in candidates if name not in first | second]
    reasons = {each.item_id: each.reason for each in dropped}
    assert reasons == {name: "first" if name in first else "second" for name in candidates if name in first | second}
    assert len(kept) + len(dropped) == len(candidates)


def test_without_filters_everything_is_kept() -> None:
    assert apply_filters([], [scored("a")]) == ([scored("a")], [])


def test_what_the_catalogue_does_not_offer_is_dropped() -> None:
    assert kept_by(unavailable(view("a", item("b", available=False))), "a", "b", "unknown") == ["a"]


@pytest.mark.parametrize(("relevance", "kept"), [(0.29, []), (0.3, ["a"]), (0.31, ["a"])])
def test_the_threshold_itself_is_relevant_enough(relevance: float, kept: list[str]) -> None:
    assert [each.item_id for each in below_threshold(0.3, ranked=[], spare=0).run([scored("a", relevance=relevance)])[0]] == kept
