"""Facts that support a recommended item: which are found, and which are none."""

from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.evidence import LEAST_COUNT, RECENT, find_evidence
from streamrec.core.types import Evidence, Item
from tests.make import NOW, Counts, interaction, item, session, view

NAMES = "abcd"
PAIRS = st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), st.integers(0, 4))


def found(item_id: str, *history: str, log: Counts | None = None, items: tuple[Item, ...] = ()) -> list[Evidence]:
    """The evidence for an item; a minus stands for a skip."""
    past = [interaction(name.strip("-"), NOW + n, skipped=name.startswith("-")) for n, name in enumerate(history)]
    return list(find_evidence(item_id, session(*past), log or Counts(), view(*items)))


@given(
    history=st.lists(st.sampled_from([*NAMES, *(f"-{name}" for name in NAMES)]), min_size=1, max_size=15),
    pairs=PAIRS,
    creators=st.fixed_dictionaries({name: st.sampled_from(["", "x", "y"]) for name in NAMES}),
    counts=st.fixed_dictionaries({name: st.integers(0, 3) for name in NAMES}),
)
def test_every_fact_is_true(
    history: list[str], pairs: dict[tuple[str, str], int], creators: dict[str, str], counts: dict[str, int]
) -> None:
    log = Counts(pairs, counts, window=7)
    facts = found("a", *history, log=log, items=tuple(item(name, creator=creators[name]) for name in NAMES))
    played = {
        f"{name}@{NOW + n}": name for n, name in enumerate(history) if not name.startswith("-") and n >= len(history) - RECENT
    }
    for fact in facts:
        if fact.kind == "popular":
            assert fact == Evidence(kind="popular", count=counts["a"])
            assert len(facts) == 1
        else:
            assert played[fact.event_id or ""] == fact.item_id != "a"
        if fact.kind == "often_after":
            assert (fact.count, fact.window) == (log.followed(fact.item_id or "", "a"), 7)
            assert (fact.count or 0) >= LEAST_COUNT
        if fact.kind == "same_creator":
            assert creators[fact.item_id or ""] == creators["a"] != ""


def test_the_strongest_transition_is_cited() -> None:
    facts = found("x", "a", "b", "c", log=Counts({("a", "x"): 3, ("b", "x"): 5, ("c", "x"): 4}))
    assert facts == [Evidence(kind="often_after", item_id="b", event_id=f"b@{NOW + 1}", count=5, window=5)]


def test_of_equal_transitions_the_more_recent_is_cited() -> None:
    assert [fact.item_id for fact in found("x", "a", "b", log=Counts({("a", "x"): 3, ("b", "x"): 3}))] == ["b"]


def test_once_is_no_pattern() -> None:
    assert found("x", "a", log=Counts({("a", "x"): 1}, {"x": 1})) == []


def test_the_most_recent_item_of_the_creator_is_cited() -> None:
    items = (item("x", creator="Nina"), item("a", creator="Nina"), item("b", creator="Nina"), item("c", creator="Ella"))
    assert found("x", "a", "b", "c", items=items) == [Evidence(kind="same_creator", item_id="b", event_id=f"b@{NOW + 1}")]


def test_two_items_without_a_creator_have_none_in_common() -> None:
    for creator in ("", "  "):
        assert found("x", "a", items=(item("x", creator=creator), item("a", creator=creator))) == []


def test_popularity_is_a_reason_only_where_there_is_no_other() -> None:
    log = Counts({("a", "x"): 2}, {"x": 9, "y": 9})
    assert [fact.kind for fact in found("x", "a", log=log)] == ["often_after"]
    assert found("y", "a", log=log) == [Evidence(kind="popular", count=9)]


def test_a_skip_and_the_item_itself_are_never_cited() -> None:
    assert found("x", "-a", "x", log=Counts({("a", "x"): 5, ("x", "x"): 5})) == []


def test_nothing_is_cited_from_further_back_than_ten() -> None:
    log = Counts({("a", "x"): 5})
    assert found("x", "a", *"bcdefghij", log=log) != []
    assert found("x", "a", *"bcdefghijk", log=log) == []
