"""The best of many scores, in one exact order: ties go to the lower index."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[Any], count: int, without: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """The indexes of the ``count`` highest scores, best first; fewer if fewer are left.

    >>> best(np.array([0.5, 0.9, 0.5, 0.5]), 2).tolist()
    [1, 0]
    >>> best(np.array([0.5, -np.inf, 0.5, 0.9]), 4, without=np.array([3])).tolist()
    [0, 2]

    Args:
        without: indexes that are left out. An item whose score is -inf is left out, too.
    """
    if without is not None and len(without):
        scores = scores.copy()
        scores[without] = -np.inf
    if count <= 0:
        return np.empty(0, np.intp)
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        contenders = np.flatnonzero(scores >= least)  # more than count, where scores tie at the boundary
    else:
        contenders = np.arange(len(scores))
    contenders = contenders[scores[contenders] != -np.inf]
    chosen: NDArray[np.intp] = contenders[np.argsort(-scores[contenders], kind="stable")[:count]]
    return chosen
