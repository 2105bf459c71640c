"""Judging candidates: what a scorer is, and what it promises."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from streamrec.core.generate import Candidate


class Scored(Struct, frozen=True):
    """A judged candidate: ``parts`` add up to ``score``; ``relevance`` is the calibrated probability of a good outcome."""

    item_id: str
    source: str
    score: float
    relevance: float
    parts: dict[str, float]


class Scorer(Protocol):
    """Judges candidates, each one independently of the others, so that a score can be cached, tested and explained."""

    @property
    def threshold(self) -> float:
        """The relevance below which a candidate is not worth showing."""
        ...

    def judge(self, history: Sequence[str], candidates: Sequence[Candidate]) -> list[Scored]:
        """One judgement a candidate, in the same order."""
        ...


def judge_all(scorer: Scorer, history: Sequence[str], candidates: Sequence[Candidate]) -> list[Scored]:
    """The candidates judged and ranked, best first, ties by item id.

    Raises:
        RuntimeError: the scorer broke its promise of one judgement a candidate.
    """
    judged = scorer.judge(history, candidates)
    if [scored.item_id for scored in judged] != [candidate.item_id for candidate in candidates]:
        raise RuntimeError(f"{type(scorer).__name__} judged {len(judged)} of {len(candidates)} candidates, or reordered them")
    return sorted(judged, key=lambda scored: (-scored.score, scored.item_id))
