"""The additive scorer: a candidate's score is a sum of named parts, and its relevance a calibrated function of the score."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamrec.core.generate import Candidate
from streamrec.core.pipeline import DIGITS
from streamrec.core.score import Scored
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary

FEATURES = ("generator", "transitions", "next", "popularity")


class ScorerWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned: a weight for each feature, and the line from the score to the log-odds of a hit."""

    generator: float
    transitions: float
    next: float  # first-order transitions
    popularity: float
    slope: float
    intercept: float
    threshold: float  # of relevance

    @property
    def of_features(self) -> NDArray[np.float64]:
        """The features' weights, in the order of FEATURES."""
        return np.array([getattr(self, name) for name in FEATURES])


UNFITTED = ScorerWeights(generator=1.0, transitions=0.0, next=0.0, popularity=0.0, slope=1.0, intercept=0.0, threshold=0.0)


class AdditiveScorer:
    """Implements core.score.Scorer. Its features are log-probabilities: the generator's, those of the transitions from the last
    items and from the last one alone, and recent popularity.

    Parts are rounded to the digits that records carry, and the score is their sum: in a record they add up to the last digit.
    """

    def __init__(
        self, vocabulary: Vocabulary, transitions: Transitions, popularity: NDArray[np.float64], weights: ScorerWeights
    ) -> None:
        self._index = vocabulary.index
        self._vocabulary = vocabulary
        self._transitions = transitions
        self._log_popularity = np.log(popularity)
        self._weights = weights
        self._of_features = weights.of_features

    @property
    def threshold(self) -> float:
        """The relevance below which a candidate is not worth showing."""
        return self._weights.threshold

    def judge(self, history: Sequence[str], candidates: Sequence[Candidate]) -> list[Scored]:
        """One judgement a candidate, in the same order; each is independent of the other candidates."""
        items = np.array([self._index[candidate.item_id] for candidate in candidates], np.intp)
        log_probs = np.array([candidate.log_prob for candidate in candidates])
        parts, scores, relevances = self.score(self.features(self._vocabulary.known(history), items, log_probs))
        return [
            Scored(candidate.item_id, candidate.source, score, relevance, dict(zip(FEATURES, part, strict=True)))
            for candidate, score, relevance, part in zip(
                candidates, scores.tolist(), relevances.tolist(), parts.tolist(), strict=True
            )
        ]

    def features(self, history: Sequence[int], items: NDArray[np.intp], log_probs: NDArray[Any]) -> NDArray[np.float64]:
        """One row for each candidate item, one column for each of FEATURES."""
        chances, after_last = self._transitions.probabilities(history)[items], self._transitions.next_probabilities(history)[items]
        return np.stack([log_probs, np.log(chances), np.log(after_last), self._log_popularity[items]], axis=-1)

    def score(self, features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Parts, scores and relevances of rows of features."""
        parts = np.round(features * self._of_features, DIGITS)
        scores = np.round(parts.sum(axis=-1), DIGITS)
        relevances = 1 / (1 + np.exp(-np.clip(self._weights.slope * scores + self._weights.intercept, -50, 50)))
        return parts, scores, relevances
