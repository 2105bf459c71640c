"""Fits EASE: one matrix of the size of the catalogue is inverted, and of each item the greatest weights are kept."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamrec.serving.counting import count_interactions, count_together, smallest
from streamrec.serving.ease import EaseWeights
from streamrec.training.continued import Base

REGULARISATION = 300.0  # from 100 to 1,000 nothing changes on ml-1m
MOST_ITEMS = 5_000  # the most frequent ones: the matrix takes their square, and time their cube
KEEP = 30  # weights of each item; with all of them the scorer is hardly better on ml-1m (.2168, .2162)
LEAST = 2.0**-14  # smaller ones would lose digits


def fit_ease(users: NDArray[Any], items: NDArray[Any], size: int) -> EaseWeights:
    """The weights that a log gives.

    Args:
        users, items: those of one user together.
        size: the number of items.
    """
    counted = count_interactions(items, size)
    known = np.sort(np.argsort(-counted, kind="stable")[: min(MOST_ITEMS, int((counted > 0).sum()))])
    place = np.full(size, -1)
    place[known] = np.arange(len(known))
    use = place[items] >= 0
    gram = torch.from_numpy(count_together(users[use], place[items[use]], len(known)))
    gram.diagonal().add_(REGULARISATION)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse.div_(inverse.diagonal().neg()).numpy()  # column by column, as in the paper
    np.fill_diagonal(weights, 0)
    return _greatest(weights, known, size)


def ease_before(base: Base, size: int, places: NDArray[np.int64]) -> EaseWeights:
    """The base's weights in a larger vocabulary: its log is not there any more, and what is new says nothing yet.

    Args:
        size: the number of items of the larger vocabulary.
        places: where each of the base's items stands in it.
    """
    before = base.bundle.ease
    rows = np.zeros(size, np.int64)
    rows[places] = np.diff(before.starts)  # the vocabulary is sorted, so the rows keep their order
    return EaseWeights(np.concatenate([[0], np.cumsum(rows)]), places[before.items].astype(smallest(size)), before.weights)


def _greatest(weights: NDArray[np.float32], known: NDArray[np.int64], size: int) -> EaseWeights:
    """Of each row the greatest positive weights, by index."""
    rows = np.zeros(size, np.int64)
    items, kept = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for place, row in zip(known.tolist(), weights, strict=True):
        chosen = np.sort(np.argsort(-row, kind="stable")[:KEEP])
        chosen = chosen[row[chosen] > LEAST]
        rows[place] = len(chosen)
        items.append(known[chosen])
        kept.append(row[chosen])
    starts = np.concatenate([[0], np.cumsum(rows)])
    return EaseWeights(starts, np.concatenate(items).astype(smallest(size)), np.concatenate(kept).astype(np.float16))
