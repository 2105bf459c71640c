"""The program in one sentence: a session is given, a generator proposes, a scorer judges, rules filter, and a
recommendation and its explanation go out.

The worker and the replay both run exactly this; it sees no clock, no randomness and no live global.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal
from uuid import UUID, uuid5

from msgspec import Struct

from streamrec.core.catalogue import Catalogue, CatalogueView
from streamrec.core.evidence import TrainingLog, find_evidence
from streamrec.core.explain import explain
from streamrec.core.filter import Dropped, apply_filters, below_threshold, seen, unavailable
from streamrec.core.generate import Generator, Proposal
from streamrec.core.score import Scored, Scorer, judge_all
from streamrec.core.session import model_history
from streamrec.core.types import Explanation, Recommendation, RecommendedItem, Session, Trigger, Versions

_NAMESPACE = UUID("6d7e0f0c-6c3e-5c0a-9a57-0d6b1d1f3a52")  # of recommendation ids; never to be changed
DIGITS = 6  # of scores in records
SEEN = "seen"  # the reason of what the user had and the generator knows


class SlateRules(Struct, frozen=True, kw_only=True):
    """What a slate may hold."""

    slate_size: int = 10
    least: int = 3  # slots that are filled even below the threshold
    candidates: int = 100  # judged for each slate; what the user had is none
    repeats: Literal["never", "next-session"] = "never"
    diversity: float = 0.5  # 0 to 1: the dial of a generator that writes slates (Next-K), and only of that
    relevance_threshold: float | None = None  # 0 fills the slate; None leaves it to the scorer

    def threshold(self, fitted: float) -> float:
        """The relevance that a slot needs. ``fitted`` is the scorer's own."""
        return fitted if self.relevance_threshold is None else self.relevance_threshold


class Pipeline:
    """Everything between a session and its recommendation.

    Args:
        versions: what to name in each record; the catalogue's version is the session's.
    """

    def __init__(self, generator: Generator, scorer: Scorer, log: TrainingLog, rules: SlateRules, versions: Versions) -> None:
        self._generator = generator
        self._scorer = scorer
        self._log = log
        self._rules = rules
        self._versions = versions

    @property
    def threshold(self) -> float:
        """The relevance that a slot needs, beyond the first few."""
        return self._rules.threshold(self._scorer.threshold)

    def recommend(self, sessions: Sequence[Session], catalogue: Catalogue) -> list[Recommendation]:
        """One recommendation a session, in the same order; a batch gives the same as its sessions one by one.

        ``catalogue`` must reach the version that each session names.
        """
        histories = [model_history(session) for session in sessions]
        had = [seen(session, self._rules.repeats) for session in sessions]
        proposals = self._generator.propose(histories, self._rules.candidates, had)
        return [
            self._recommend(session, history, proposal, catalogue.at(session.catalogue))
            for session, history, proposal in zip(sessions, histories, proposals, strict=True)
        ]

    def explain(self, recommendation: Recommendation, catalogue: Catalogue) -> Explanation:
        """The reasons for a recommendation, in words; ``catalogue`` must reach the version that it names."""
        return explain(recommendation, catalogue.at(recommendation.versions.catalogue))

    def _recommend(self, session: Session, history: Sequence[str], proposal: Proposal, catalogue: CatalogueView) -> Recommendation:
        judged = judge_all(self._scorer, history, proposal.candidates)
        allowed, barred = apply_filters((unavailable(catalogue),), judged)
        kept, dropped = below_threshold(self.threshold, allowed, self._rules.least).run(allowed)
        return Recommendation(
            schema_version=1,
            recommendation_id=recommendation_id(session.trigger),
            user_id=session.user_id,
            trigger=session.trigger,
            occurred_at=session.history[-1].occurred_at,
            versions=self._name_versions(catalogue),
            history=tuple(history),
            items=self._slate(kept, session, catalogue),
            source=proposal.source,
            dropped=_count(proposal.seen, [*barred, *dropped]),
        )

    def _slate(self, kept: Sequence[Scored], session: Session, catalogue: CatalogueView) -> tuple[RecommendedItem, ...]:
        return tuple(
            RecommendedItem(
                item_id=scored.item_id,
                rank=rank,
                score=round(scored.score, DIGITS),
                relevance=round(scored.relevance, DIGITS),
                parts={name: round(part, DIGITS) for name, part in scored.parts.items()},
                source=scored.source,
                propensity=1.0,  # the slate is the best by score, always
                evidence=find_evidence(scored.item_id, session, self._log, catalogue),
            )
            for rank, scored in enumerate(kept[: self._rules.slate_size], start=1)
        )

    def _name_versions(self, catalogue: CatalogueView) -> Versions:
        named = self._versions
        return Versions(model=named.model, catalogue=catalogue.version, rules=named.rules, runtime=named.runtime)


def recommendation_id(trigger: Trigger) -> str:
    """The id that every recommendation for this trigger has, however often it is computed (UUID version 5)."""
    return str(uuid5(_NAMESPACE, f"{trigger.topic}/{trigger.partition}/{trigger.offset}/{trigger.event_id}"))


def _count(had: int, dropped: Sequence[Dropped]) -> dict[str, int]:
    reasons = Counter(each.reason for each in dropped)
    if had:
        reasons[SEEN] = had
    return dict(sorted(reasons.items()))
