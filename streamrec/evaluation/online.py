"""Counts that learn as a log goes on: the transitions and popularity of `serving.counting`, one interaction at a time.

At the start they say what the counts of training say; after ``learn`` of each later interaction, what a worker would know that
kept counting. The prequential protocol asks first and learns then.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.evaluation.baselines import Scores
from streamrec.evaluation.memory import KEPT
from streamrec.evaluation.protocols import Split
from streamrec.evaluation.slates import vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Bundle
from streamrec.serving.counting import DECAY, KEEP, RECENT, WINDOW, as_transitions, count_interactions, count_pairs
from streamrec.serving.relevance import FEATURES, AdditiveScorer
from streamrec.serving.transitions import BACK_OFF, LAST


class OnlineCounts:
    """Transitions, popularity and decayed popularity over ``size`` items.

    Args:
        users, items: what is known at the start; those of one user together and in order.
        by_time: the same items, oldest first.
        keep: followers of each item that are kept from the start; all where None. What is learned later is always kept.
    """

    def __init__(self, users: NDArray[Any], items: NDArray[Any], by_time: NDArray[Any], size: int, keep: int | None = KEEP) -> None:
        self.interactions = count_interactions(items, size).astype(np.float64)
        ages = np.arange(len(by_time))[::-1]
        half_life = RECENT * max(len(by_time), 1)
        self._growth = 2 ** (1 / half_life)  # instead of all weights shrinking, that of the next one grows
        self._newest = 1.0
        self._recent: NDArray[np.float64] = np.bincount(by_time, 0.5 ** (ages / half_life), size).astype(np.float64)
        self.decayed_popularity: NDArray[np.float64] = np.empty(size)  # always of now: changes in place
        self._refresh()
        pairs = count_pairs(users, items, size)
        self._counts = as_transitions(pairs, size, keep or size)
        self._at_start: NDArray[np.float64] = np.bincount(pairs.leader, pairs.weight, size).astype(np.float64)
        self._added: list[dict[int, float]] = [{} for _ in range(size)]
        self._added_sum = np.zeros(size)

    def learn(self, before: Sequence[int], item: int) -> None:
        """An interaction with ``item`` happened; ``before`` are its user's earlier items, oldest first."""
        self.interactions[item] += 1
        self._newest *= self._growth
        self._recent[item] += self._newest
        if self._newest > 1e100:
            self._recent /= self._newest
            self._newest = 1.0
        self._refresh()
        counted = set()
        for lag, leader in enumerate(before[: -WINDOW - 1 : -1]):
            if leader not in counted:  # an item that came twice within the window leads once, by its nearest place
                counted.add(leader)
                row = self._added[leader]
                row[item] = row.get(item, 0.0) + DECAY**lag
                self._added_sum[leader] += DECAY**lag

    @property
    def popularity(self) -> NDArray[np.float64]:
        """Each item's share of all interactions."""
        size = len(self.interactions)
        shares: NDArray[np.float64] = (self.interactions + 0.5 / size) / (self.interactions.sum() + 0.5)
        return shares

    def probabilities(self, history: Sequence[int], popularity: NDArray[np.float64]) -> NDArray[np.float64]:
        """How probable each item is as the next one: `Transitions.probabilities`, over the counts as they stand."""
        chances = BACK_OFF * popularity
        last = history[: -LAST - 1 : -1]
        if not last:
            return chances
        nearest = (1 - BACK_OFF) * (1 - DECAY) / (1 - DECAY ** len(last))
        for age, leader in enumerate(last):
            total = self._at_start[leader] + self._added_sum[leader]
            if total == 0:
                continue
            row = slice(self._counts.starts[leader], self._counts.starts[leader + 1])
            share = nearest * DECAY**age / total
            chances[self._counts.followers[row]] += share * self._at_start[leader] * self._counts.shares[row]
            added = self._added[leader]
            if added:
                chances[np.fromiter(added, np.intp, len(added))] += share * np.fromiter(added.values(), np.float64, len(added))
        return chances

    def _refresh(self) -> None:
        """As `counting.recent_popularity` says it."""
        np.divide(self._recent, self._newest, out=self.decayed_popularity)
        self.decayed_popularity += 0.5 / len(self._recent)
        self.decayed_popularity /= self.decayed_popularity.sum()


class OnlineScorer:
    """The bundle's scorer, its weights as they are, over counts that go on learning."""

    def __init__(self, counts: OnlineCounts, fitted: AdditiveScorer) -> None:
        self._counts = counts
        self._fitted = fitted
        self.threshold = fitted.threshold
        self.score = fitted.score

    def features(self, history: Sequence[int], items: NDArray[np.intp], log_probs: NDArray[Any]) -> NDArray[np.float64]:
        """`AdditiveScorer.features`, with what is counted as it stands now."""
        made = self._fitted.features(history, items, log_probs)
        popularity = self._counts.decayed_popularity
        made[:, FEATURES.index("transitions")] = np.log(self._counts.probabilities(history, popularity)[items])
        made[:, FEATURES.index("popularity")] = np.log(popularity[items])
        return made


class Learning:
    """A log that is learned interaction by interaction: for the model by the bundle's indexes, for baselines by the data set's."""

    def __init__(self, bundle: Bundle, dataset: Dataset, parts: Split, known: NDArray[np.bool_]) -> None:
        self._parts = parts
        later = np.flatnonzero(~known & ~parts.is_skip)
        self._later: list[int] = later[np.argsort(parts.row[later])].tolist()
        self._learned = 0
        self._items = vocabulary_index(dataset, bundle.vocabulary)[parts.items]
        shared = known & (self._items >= 0)
        by_time = self._items[shared][np.argsort(parts.row[shared])]
        counts = OnlineCounts(parts.users[shared], self._items[shared], by_time, len(bundle.vocabulary))
        self._of_model = counts
        self._of_all = OnlineCounts(parts.users[known], parts.items[known], parts.by_time(known), len(dataset.item_ids), keep=None)
        self.scorer = OnlineScorer(counts, bundle.scorer())
        self.popularity = counts.decayed_popularity
        self.interactions = self._of_all.interactions
        self.baselines: dict[str, Scores] = {
            "popularity": lambda history: self.interactions.copy(),
            "decayed_popularity": lambda history: self._of_all.decayed_popularity.copy(),
            "markov": lambda history: self._of_all.probabilities(history[-KEPT:].tolist(), self._of_all.popularity),
        }

    def until(self, row: int) -> None:
        """Learns what stands before ``row`` of the data set and was not known yet."""
        parts = self._parts
        while self._learned < len(self._later) and parts.row[self._later[self._learned]] < row:
            position = self._later[self._learned]
            self._learned += 1
            past = parts.past(position)
            past = past[~parts.is_skip[past]][-WINDOW:]
            self._of_all.learn(parts.items[past].tolist(), int(parts.items[position]))
            if self._items[position] >= 0:
                before = self._items[past]
                self._of_model.learn(before[before >= 0].tolist(), int(self._items[position]))
