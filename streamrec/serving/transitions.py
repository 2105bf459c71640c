"""The rung below the model: what followed the user's last items in the training log; also that log's facts for evidence."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamrec.core.generate import Candidate, Had, Proposal
from streamrec.serving.counting import DECAY, TransitionCounts
from streamrec.serving.topk import best
from streamrec.serving.vocabulary import Vocabulary

LAST = 10  # items of the history that are looked at; 30 find no more
BACK_OFF = 0.1  # share of popularity in the mixture, so that no item is impossible
NEXT_BACK_OFF = 0.3  # the same for the last item alone, of which fewer counts are known
SOURCE = "transitions"


class Transitions:
    """A decayed Markov chain over the last items, mixed with popularity. Implements Generator and TrainingLog.

    Args:
        popularity: each item's share; sums to one.
        interactions: how often each item was interacted with.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        counts: TransitionCounts,
        popularity: NDArray[np.float64],
        interactions: NDArray[np.int64],
        window: int,
    ) -> None:
        self._vocabulary = vocabulary
        self._counts = counts
        self._background = BACK_OFF * popularity
        self._interactions = interactions
        self._window = window
        self._starts = counts.starts.tolist()
        self._followers = memoryview(counts.followers)  # type: ignore[arg-type]  # faster than numpy, one at a time

    @property
    def window(self) -> int:
        """How many interactions after an item still count as "after" it."""
        return self._window

    def followed(self, item_id: str, by: str) -> int:
        """How many interactions with ``by`` came within the window after ``item_id``; 0 also where that was pruned."""
        index = self._vocabulary.index
        if item_id not in index or by not in index:
            return 0
        start, end = self._starts[index[item_id]], self._starts[index[item_id] + 1]
        place = bisect_left(self._followers, index[by], start, end)
        return int(self._counts.times[place]) if place < end and self._followers[place] == index[by] else 0

    def interactions(self, item_id: str) -> int:
        """How often the item was interacted with."""
        index = self._vocabulary.index.get(item_id)
        return 0 if index is None else int(self._interactions[index])

    def probabilities(self, history: Sequence[int]) -> NDArray[np.float64]:
        """How probable each item of the vocabulary is as the next one; of an empty history, a little of its popularity."""
        last = history[: -LAST - 1 : -1]
        if not last:
            return self._background
        nearest = (1 - BACK_OFF) * (1 - DECAY) / (1 - DECAY ** len(last))
        rows = [slice(self._starts[item], self._starts[item + 1]) for item in last]
        followers = np.concatenate([self._counts.followers[row] for row in rows])
        shares = np.concatenate([nearest * DECAY**age * self._counts.shares[row] for age, row in enumerate(rows)])
        return self._background + np.bincount(followers, shares, len(self._background))

    def next_probabilities(self, history: Sequence[int]) -> NDArray[np.float64]:
        """The same from the last item alone, and from what came directly after it: a first-order Markov chain."""
        if not history:
            return self._background
        row = slice(self._starts[history[-1]], self._starts[history[-1] + 1])
        shares = self._counts.direct[row] * ((1 - NEXT_BACK_OFF) / max(int(self._interactions[history[-1]]), 1))
        return self._background * (NEXT_BACK_OFF / BACK_OFF) + np.bincount(
            self._counts.followers[row], shares, len(self._background)
        )

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        """For each history up to ``count`` candidates; none if no item of it is known."""
        known = [self._vocabulary.known(history) for history in histories]
        had = had or [Had()] * len(histories)
        return [self._propose(history, count, each) for history, each in zip(known, had, strict=True)]

    def _propose(self, history: Sequence[int], count: int, had: Had) -> Proposal:
        if not history:
            return Proposal(SOURCE, ())
        without = self._vocabulary.had(had)
        chances = self.probabilities(history)
        chosen = best(chances, count, without)
        log_probs, ids = np.log(chances[chosen]).tolist(), self._vocabulary.item_ids
        pairs = zip(chosen.tolist(), log_probs, strict=True)
        candidates = tuple(Candidate(ids[item], SOURCE, value) for item, value in pairs)
        return Proposal(SOURCE, candidates, len(without))
