"""The last rung: what is popular. It looks at no history, so it always answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamrec.core.generate import Candidate, Had, Proposal
from streamrec.serving.topk import best
from streamrec.serving.vocabulary import Vocabulary

SOURCE = "popularity"


class Popularity:
    """Implements Generator.

    Args:
        shares: each item's share of the recent interactions, all above zero.
    """

    def __init__(self, vocabulary: Vocabulary, shares: NDArray[np.float64]) -> None:
        self._vocabulary = vocabulary
        self._order = best(shares, len(shares))
        pairs = zip(vocabulary.item_ids, np.log(shares).tolist(), strict=True)
        self._candidates = tuple(Candidate(item_id, SOURCE, log_share) for item_id, log_share in pairs)

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        """The same list for everybody, without what each user had."""
        return [self._propose(count, each) for each in had or [Had()] * len(histories)]

    def _propose(self, count: int, had: Had) -> Proposal:
        without = self._vocabulary.had(had)
        left = np.ones(len(self._order), bool)
        left[without] = False
        chosen = self._order[left[self._order]][:count].tolist()
        return Proposal(SOURCE, tuple(self._candidates[item] for item in chosen), len(without))
