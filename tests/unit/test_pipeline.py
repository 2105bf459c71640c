"""A recommendation: what a slate may hold, what its record says, and that a batch changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamrec.core.catalogue import Catalogue
from streamrec.core.generate import Ladder
from streamrec.core.pipeline import DIGITS, Pipeline, SlateRules, recommendation_id
from streamrec.core.types import Recommendation, Session, Trigger
from streamrec.core.wire import decode, encode
from tests.make import Broken, Counts, Following, Linear, Uniform, catalogue, item, pipeline, session, trigger

NAMES = "abcdefghijklmnop"
HISTORIES = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8)
WEIGHTS = st.lists(st.integers(-21, 21), min_size=16, max_size=16).map(
    lambda drawn: {name: n / 7 for name, n in zip(NAMES, drawn, strict=True)}
)
RULES = st.builds(
    SlateRules,
    slate_size=st.integers(1, 6),
    least=st.integers(0, 3),
    candidates=st.integers(1, 12),
    repeats=st.sampled_from(["never", "next-session"]),
)


Made = tuple[Recommendation, Session, Catalogue, SlateRules, float]


@st.composite
def slates(draw: st.DrawFn) -> Made:
    """A recommendation, and all that it was made from."""
    history = draw(HISTORIES)
    started = draw(st.integers(0, len(history) - 1))
    known = session(*history)
    known = replace(known, started_at=known.history[started].occurred_at)
    offered = catalogue(*(item(name, available=draw(st.integers(0, 3)) > 0) for name in NAMES if draw(st.integers(0, 5)) > 0))
    rules, threshold = draw(RULES), draw(st.sampled_from([0.0, 0.1, 0.5, 0.99]))
    made = pipeline(Uniform(NAMES), Linear(draw(WEIGHTS), threshold), rules=rules)
    return made.recommend([known], offered)[0], known, offered, rules, threshold


@given(slates())
def test_a_slate_holds_nothing_that_the_user_has_had(made: Made) -> None:
    told, known, _, rules, _ = made
    since = 0 if rules.repeats == "never" else known.started_at
    seen = {past.item_id for past in known.history if past.occurred_at >= since}
    assert not seen & {slot.item_id for slot in told.items}


@given(slates())
def test_a_slate_holds_only_what_is_offered_and_relevant(
    made: Made,
) -> None:
    told, _, offered, rules, threshold = made
    for slot in told.items:
        found = offered.at(0).get(slot.item_id)
        assert found is not None
        assert found.available
        assert slot.rank <= rules.least or slot.relevance >= threshold - 10**-DIGITS


@given(slates())
def test_a_slate_is_ranked_from_one_and_within_its_size(
    made: Made,
) -> None:
    told, _, _, rules, _ = made
    assert [slot.rank for slot in told.items] == list(range(1, len(told.items) + 1))
    assert len(told.items) <= rules.slate_size
    assert len({slot.item_id for slot in told.items}) == len(told.items)
    scores = [slot.score for slot in told.items]
    assert scores == sorted(scores, reverse=True)


@given(slates())
def test_parts_add_up_to_the_score(made: Made) -> None:
    for slot in made[0].items:
        assert sum(slot.parts.values()) == pytest.approx(slot.score, abs=(len(slot.parts) + 1) * 10**-DIGITS / 2)


@given(slates())
def test_every_candidate_is_on_the_slate_or_dropped_or_below_it(
    made: Made,
) -> None:
    told, _, _, rules, _ = made
    had = told.dropped.get("seen", 0)
    judged = min(len(NAMES) - had, rules.candidates)
    kept = judged - (sum(told.dropped.values()) - had)
    assert len(told.items) == min(kept, rules.slate_size)
    assert list(told.dropped) == sorted(told.dropped)
    assert set(told.dropped) <= {"seen", "unavailable", "below_threshold"}
    assert all(count > 0 for count in told.dropped.values())


@given(slates())
def test_a_record_can_be_read_again(made: Made) -> None:
    for written_as in ("msgpack", "json"):
        assert decode(Recommendation, encode(made[0], written_as), written_as) == made[0]


@given(histories=st.lists(HISTORIES, min_size=1, max_size=5), weights=WEIGHTS, rules=RULES)
def test_batch_mates_do_not_influence_each_other(histories: list[list[str]], weights: dict[str, float], rules: SlateRules) -> None:
    made, offered = pipeline(Uniform(NAMES), Linear(weights), rules=rules), catalogue(*NAMES)
    batch = [session(*history, trigger=trigger(n)) for n, history in enumerate(histories)]
    together = [encode(told) for told in made.recommend(batch, offered)]
    assert together == [encode(made.recommend([one], offered)[0]) for one in batch]


def one(made: Pipeline, known: Session, offered: Catalogue | None = None) -> Recommendation:
    return made.recommend([known], offered or catalogue(*NAMES))[0]


def test_the_best_are_shown_however_irrelevant() -> None:
    told = one(pipeline(Uniform(NAMES), Linear(threshold=1.0), rules=SlateRules(least=2)), session("a"))
    assert [slot.item_id for slot in told.items] == [name for name in sorted(NAMES) if name != "a"][:2]


def test_dropped_candidates_are_counted_by_reason() -> None:
    offered = catalogue("a", "b", item("c", available=False), "d")
    told = one(pipeline(Uniform("abcdx"), Linear({"b": 9.0}, threshold=0.5), rules=SlateRules(least=0)), session("a"), offered)
    assert [slot.item_id for slot in told.items] == ["b"]
    assert told.dropped == {"seen": 1, "unavailable": 2, "below_threshold": 1}


def test_an_empty_slate_is_a_value() -> None:
    told = one(pipeline(Uniform("a")), session("a"))
    assert (told.items, told.dropped, told.source) == ((), {"seen": 1}, "uniform")


def test_a_recommendation_says_when_no_generator_answered() -> None:
    told = one(pipeline(Ladder([Broken()])), session("a"))
    assert (told.items, told.source) == ((), "none")


def test_a_record_names_what_it_is_a_function_of() -> None:
    offered = catalogue("a", "b")
    offered.apply(0, "c", item("c"))
    known = session("a", "b", "b", catalogue=1, trigger=trigger(17, partition=3, event_id="e17"))
    told = one(pipeline(Uniform("abc")), known, offered)
    assert told.trigger == known.trigger
    assert told.history == ("a", "b")
    assert told.occurred_at == known.history[-1].occurred_at
    assert (told.versions.model, told.versions.catalogue) == ("fake", 1)
    assert [(slot.item_id, slot.source, slot.propensity) for slot in told.items] == [("c", "uniform", 1.0)]


def test_the_catalogue_is_the_one_that_the_session_names() -> None:
    offered = catalogue("a", "b")
    offered.apply(0, "b", None)
    offered.apply(1, "c", item("c"))
    slates = [[slot.item_id for slot in one(pipeline(Uniform("abc")), session("a", catalogue=n), offered).items] for n in range(3)]
    assert slates == [["b"], [], ["c"]]


def test_what_the_user_has_seen_does_not_use_up_the_candidates() -> None:
    told = one(pipeline(Uniform(NAMES), rules=SlateRules(candidates=3)), session("a", "b", "c", "d"))
    assert [slot.item_id for slot in told.items] == ["e", "f", "g"]


def test_the_scorer_overrules_the_generator() -> None:
    told = one(pipeline(Following({"a": ["b", "c", "d"]}), Linear({"d": 5.0})), session("a"))
    assert [slot.item_id for slot in told.items] == ["d", "b", "c"]


def test_a_slot_carries_its_evidence() -> None:
    told = one(pipeline(Uniform("b"), log=Counts({("a", "b"): 3})), session("a"))
    assert [(fact.kind, fact.item_id, fact.count) for fact in told.items[0].evidence] == [("often_after", "a", 3)]


def test_an_id_is_of_the_trigger_alone_and_never_changes() -> None:
    told = one(pipeline(Uniform("ab")), session("a", trigger=trigger(17)))
    assert told.recommendation_id == one(pipeline(Uniform("xy")), session("b", "c", trigger=trigger(17))).recommendation_id
    assert told.recommendation_id == "8982c934-9f74-516b-a7a0-3bedfcdf42da"  # consumers have stored ids like it


@pytest.mark.parametrize("other", [trigger(18), trigger(17, topic="clicks"), trigger(17, partition=1), trigger(17, event_id="f")])
def test_another_trigger_has_another_id(other: Trigger) -> None:
    assert recommendation_id(other) != recommendation_id(trigger(17))
