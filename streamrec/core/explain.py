"""Explanations in words: closed templates, each stating one claim of the evidence and nothing that is not in it.

A template says what happened in the user's history and in the training log. It never says "because": that an item follows
another is a fact of the log, that it was the cause of a choice would be a claim about the model. Names come from outside: each
stays on one line and within its quotes.
"""

import re
from collections.abc import Mapping

from streamrec.core.catalogue import CatalogueView
from streamrec.core.types import Claim, Evidence, ExplainedItem, Explanation, Recommendation, RecommendedItem

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")  # white space, control, changes of direction
_QUOTES = str.maketrans("“”", "‘’")

LONGEST_NAME = 200  # characters of a title or creator; a record must not grow with what a catalogue holds
NO_REASON = "Suggested by the model from your recent history; no single reason stands out."


def explain(recommendation: Recommendation, catalogue: CatalogueView) -> Explanation:
    """The reasons for a slate, from the evidence that its record carries. ``catalogue`` must be the version it names."""
    return Explanation(
        schema_version=1,
        recommendation_id=recommendation.recommendation_id,
        user_id=recommendation.user_id,
        items=tuple(_explain_item(item, catalogue) for item in recommendation.items),
    )


def _explain_item(item: RecommendedItem, catalogue: CatalogueView) -> ExplainedItem:
    claims = tuple(Claim(kind=fact.kind, evidence=fact) for fact in item.evidence)
    sentences = [word(item.item_id, fact, catalogue) for fact in item.evidence]
    return ExplainedItem(item_id=item.item_id, text=" ".join(sentences) or NO_REASON, claims=claims)


def word(item_id: str, fact: Evidence, catalogue: CatalogueView) -> str:
    """The sentence for one fact about the recommended item."""
    return _TEMPLATES[fact.kind].format_map(_words(item_id, fact, catalogue))


_TEMPLATES = {
    "often_after": "Came {count} times within {window} steps after {cited}, which is in your recent history.",
    "same_creator": "By {creator}, like {cited} in your recent history.",
    "popular": "Chosen {count} times in the log that the model learned from.",
}


def _words(item_id: str, fact: Evidence, catalogue: CatalogueView) -> Mapping[str, object]:
    item = catalogue.get(item_id)
    return {
        "count": fact.count,
        "window": fact.window,
        "creator": _plain(item.creator) if item else "",
        "cited": _name(fact.item_id, catalogue) if fact.item_id else "",
    }


def _name(item_id: str, catalogue: CatalogueView) -> str:
    item = catalogue.get(item_id)
    title = _plain(item.title) if item else ""
    return f"“{title}”" if title else f"item {_plain(item_id)}"


def _plain(name: str) -> str:
    plain = _BREAKS.sub(" ", name).strip().translate(_QUOTES)
    return plain if len(plain) <= LONGEST_NAME else plain[: LONGEST_NAME - 1] + "…"
