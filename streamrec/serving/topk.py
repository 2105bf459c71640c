"""The best of many scores, in one exact order: ties go to the lower index."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """The indexes of the ``count`` highest scores, best first.

    >>> best(np.array([0.5, 0.9, 0.5, 0.5]), 2).tolist()
    [1, 0]
    """
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        contenders = np.flatnonzero(scores >= least)  # more than count, where scores tie at the boundary
    else:
        contenders = np.arange(len(scores))
    return contenders[np.argsort(-scores[contenders], kind="stable")[:count]]
