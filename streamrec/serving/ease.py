"""What goes together: EASE, the scorer's view of a whole history, whatever its order.

A linear model from the items that a user has had to the one that is missing (Steck, "Embarrassingly Shallow Autoencoders for Sparse
Data", WWW 2019; arXiv 1905.03375). What is served of it are each item's greatest weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class EaseWeights(Struct, frozen=True):
    """What each item speaks for, as sparse rows: those of item i stand at ``starts[i]`` up to ``starts[i + 1]``, by index."""

    starts: NDArray[np.int64]
    items: NDArray[Any]  # item index
    weights: NDArray[np.float16]


class Ease:
    """The weights as a question that can be asked.

    Args:
        size: the number of items.
    """

    def __init__(self, weights: EaseWeights, size: int) -> None:
        self._weights = weights
        self._starts = weights.starts.tolist()
        self._size = size

    def scores(self, history: Sequence[int]) -> NDArray[np.float64]:
        """For each item of the vocabulary the sum of what the history's items say for it; an item that came twice says it once."""
        rows = [slice(self._starts[item], self._starts[item + 1]) for item in dict.fromkeys(history)]
        if not rows:
            return np.zeros(self._size)
        items = np.concatenate([self._weights.items[row] for row in rows])
        weights = np.concatenate([self._weights.weights[row] for row in rows])
        return np.bincount(items, weights, self._size).astype(np.float64)
