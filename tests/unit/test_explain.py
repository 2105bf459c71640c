"""Explanations in words: every sentence is one claim, and says nothing that is not in its evidence."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamrec.core.explain import NO_REASON, explain, word
from streamrec.core.types import Evidence, ExplainedItem, Item
from streamrec.core.wire import encode
from tests.make import Counts, Uniform, catalogue, item, pipeline, recommended, session, trigger, view

OFTEN = Evidence(kind="often_after", item_id="a", event_id="e1", count=3, window=5)
SAME = Evidence(kind="same_creator", item_id="a", event_id="e1")
POPULAR = Evidence(kind="popular", count=12)

# The closed grammar, as somebody who did not write the templates would read the sentences back.
SENTENCES = {
    "often_after": r"Came (?P<count>\d+) times within (?P<window>\d+) steps after (?P<cited>“[^“”]*”|item .+?), "
    r"which is in your recent history\.",
    "same_creator": r"By (?P<creator>.+?), like (?P<cited>“[^“”]*”|item .+?) in your recent history\.",
    "popular": r"Chosen (?P<count>\d+) times in the log that the model learned from\.",
}
NASTY = [
    "{count}",
    "{",
    "}}{0.__class__}",
    "%s",
    "$title",
    'say "no"',
    "“quoted”",
    "two\nlines",
    "\x1b[31mred\x00",
    "a\u202eb",
    "\ttab ",
]


def _shows(name: str) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in name)


def explained(*evidence: Evidence, items: tuple[Item, ...] = ()) -> ExplainedItem:
    told = pipeline(Uniform("")).recommend([session("a")], catalogue())[0]
    return explain(replace(told, items=(recommended("x", *evidence),)), view(*items)).items[0]


def test_a_transition_in_words() -> None:
    told = explained(OFTEN, items=(item("a", title="Roxanne"),))
    assert told.text == "Came 3 times within 5 steps after “Roxanne”, which is in your recent history."


def test_a_creator_in_common_in_words() -> None:
    told = explained(SAME, items=(item("a", title="Roxanne"), item("x", creator="The Police")))
    assert told.text == "By The Police, like “Roxanne” in your recent history."


def test_popularity_in_words() -> None:
    assert explained(POPULAR).text == "Chosen 12 times in the log that the model learned from."


def test_without_evidence_no_reason_is_given() -> None:
    told = explained()
    assert (told.text, told.claims) == (NO_REASON, ())


def test_an_item_without_a_title_is_called_by_its_id() -> None:
    for items in ((), (item("a"),), (item("a", title=" \n"),)):
        assert "after item a, which" in explained(OFTEN, items=items).text


def test_each_claim_has_its_evidence_and_its_sentence() -> None:
    told = explained(OFTEN, SAME, items=(item("a", title="Roxanne"), item("x", creator="The Police")))
    assert [claim.evidence for claim in told.claims] == [OFTEN, SAME]
    assert [claim.kind for claim in told.claims] == ["often_after", "same_creator"]
    assert told.text == (
        "Came 3 times within 5 steps after “Roxanne”, which is in your recent history. "
        "By The Police, like “Roxanne” in your recent history."
    )


def test_never_says_because() -> None:
    told = explained(OFTEN, SAME, POPULAR, items=(item("a", title="Roxanne"), item("x", creator="The Police")))
    assert "because" not in (told.text + NO_REASON).lower()


@pytest.mark.parametrize("name", NASTY)
def test_a_name_stays_on_its_line_and_within_its_quotes(name: str) -> None:
    text = explained(OFTEN, SAME, items=(item("a", title=name), item("x", creator=name))).text
    assert text.isprintable()
    assert text.count("“") == text.count("”") == 2
    assert re.fullmatch(" ".join(SENTENCES[kind].replace("?P<cited>", "") for kind in ("often_after", "same_creator")), text)


@pytest.mark.parametrize("name", ["{count}", "{", "}}{0.__class__}", "%s", "$title", 'say "no"', "Ø 👩‍🎤 می‌خواهم"])
def test_a_name_is_said_as_it_is(name: str) -> None:
    assert f"“{name}”" in explained(OFTEN, items=(item("a", title=name),)).text


@given(
    title=st.text(max_size=12),
    creator=st.text(min_size=1, max_size=12).filter(_shows),
    item_id=st.text(min_size=1, max_size=6).filter(_shows),
)
def test_every_sentence_can_be_read_back_to_its_evidence(title: str, creator: str, item_id: str) -> None:
    facts = {
        "often_after": Evidence(kind="often_after", item_id=item_id, event_id="e", count=3, window=5),
        "same_creator": Evidence(kind="same_creator", item_id=item_id, event_id="e"),
        "popular": POPULAR,
    }
    for kind, fact in facts.items():
        text = explained(fact, items=(item(item_id, title=title), item("x", creator=creator))).text
        assert "\n" not in text
        assert not re.search(r"\{(count|window|cited|creator)\}", text) or "{" in title + creator + item_id
        read = re.fullmatch(SENTENCES[kind], text)
        assert read, text
        for name in ("count", "window"):
            if name in read.groupdict():
                assert int(read[name]) == getattr(fact, name)


def test_an_explanation_follows_its_slate() -> None:
    offered = catalogue(*"abc")
    made = pipeline(Uniform("abc"), log=Counts({("a", "c"): 4}))
    told = made.recommend([session("a", trigger=trigger(17))], offered)[0]
    reasons = made.explain(told, offered)
    assert (reasons.recommendation_id, reasons.user_id) == (told.recommendation_id, "anna")
    assert [each.item_id for each in reasons.items] == [slot.item_id for slot in told.items]
    assert [tuple(claim.evidence for claim in each.claims) for each in reasons.items] == [slot.evidence for slot in told.items]


def test_an_explanation_names_things_as_the_recommendation_knew_them() -> None:
    offered = catalogue(item("a", title="Old"), "b")
    made = pipeline(Uniform("ab"), log=Counts({("a", "b"): 4}))
    told = made.recommend([session("a")], offered)[0]
    before = encode(made.explain(told, offered))
    offered.apply(0, "a", item("a", title="New"))
    assert encode(made.explain(told, offered)) == before
    assert b"Old" in before


def test_a_long_title_does_not_make_a_long_record() -> None:
    offered = catalogue(item("a", title="x" * 20_000), item("b"))
    told = word("b", Evidence(kind="often_after", item_id="a", event_id="e", count=3, window=10), offered.at(0))
    assert len(told) < 400
    assert "x…”" in told
