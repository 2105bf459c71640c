"""Rules that remove candidates. A filter gives back what it kept and what it dropped: "why is this missing?" has an answer."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from streamrec.core.catalogue import CatalogueView
from streamrec.core.generate import Had
from streamrec.core.score import Scored
from streamrec.core.types import Session


class Dropped(Struct, frozen=True):
    """A removed candidate and the rule that removed it."""

    item_id: str
    reason: str


class Filter(Struct, frozen=True):
    """One rule: candidates for which ``drops`` holds are removed, for ``reason``."""

    reason: str
    drops: Callable[[Scored], bool]

    def run(self, candidates: Sequence[Scored]) -> tuple[list[Scored], list[Dropped]]:
        """What is kept, in the same order, and what is dropped."""
        kept: list[Scored] = []
        dropped: list[Dropped] = []
        for candidate in candidates:
            if self.drops(candidate):
                dropped.append(Dropped(candidate.item_id, self.reason))
            else:
                kept.append(candidate)
        return kept, dropped


def seen(session: Session, repeats: str) -> Had:
    """What the user had and may not have again.

    That is all that the session remembers (``never``), or the items of the current session (``next-session``).
    It is left out before the candidates are chosen, so that a long history does not use them up.
    """
    if repeats == "next-session":
        current = (past.item_id for past in session.history if past.occurred_at >= session.started_at)
        return Had(frozenset(current))
    return Had(frozenset(past.item_id for past in session.history), session.had)


def unavailable(catalogue: CatalogueView) -> Filter:
    """Drops what the catalogue does not hold, or holds as not available."""

    def drops(candidate: Scored) -> bool:
        item = catalogue.get(candidate.item_id)
        return item is None or not item.available

    return Filter("unavailable", drops)


def below_threshold(threshold: float, ranked: Sequence[Scored], spare: int) -> Filter:
    """Drops what is not relevant enough to be worth a slot, but never the best ``spare`` of the ranked: a slate is not empty."""
    spared = {candidate.item_id for candidate in ranked[:spare]}

    def drops(candidate: Scored) -> bool:
        return candidate.item_id not in spared and not candidate.relevance >= threshold  # a NaN is not

    return Filter("below_threshold", drops)


def apply_filters(filters: Sequence[Filter], candidates: Sequence[Scored]) -> tuple[list[Scored], list[Dropped]]:
    """One filter after the other; a candidate is dropped for the first reason that holds."""
    kept, dropped = list(candidates), []
    for rule in filters:
        kept, removed = rule.run(kept)
        dropped += removed
    return kept, dropped
