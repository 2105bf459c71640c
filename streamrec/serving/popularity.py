"""The last rung: what is popular. It looks at no history, so it always answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamrec.core.generate import Candidate, Proposal
from streamrec.serving.topk import best
from streamrec.serving.vocabulary import Vocabulary

SOURCE = "popularity"


class Popularity:
    """Implements Generator.

    Args:
        shares: each item's share of the recent interactions, all above zero.
    """

    def __init__(self, vocabulary: Vocabulary, shares: NDArray[np.float64]) -> None:
        order = best(shares, len(shares)).tolist()
        ids, log_shares = vocabulary.item_ids, np.log(shares).tolist()
        self._ranked = tuple(Candidate(ids[item], SOURCE, log_shares[item]) for item in order)

    def propose(self, histories: Sequence[Sequence[str]], count: int) -> list[Proposal]:
        """The same ``count`` items for everybody."""
        return [Proposal(SOURCE, self._ranked[:count])] * len(histories)
