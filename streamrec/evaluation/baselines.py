"""What any model must beat: each baseline gives a score to every item, given a history, and is fitted on what training saw.

Where the literature lets a baseline see the whole history, it is given the newest items only: that makes these baselines better,
and a model that beats them has shown more.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.evaluation.memory import KEPT
from streamrec.evaluation.protocols import Split
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.counting import as_transitions, count_interactions, count_pairs, recent_popularity
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary

Scores = Callable[[NDArray[Any]], NDArray[np.float64]]  # a history (item indexes, oldest first) in, a fresh array out

EASE_MOST_ITEMS = 10_000  # its matrix is inverted whole: 0.4 GB and a few minutes at this size
EASE_REGULARISATION = 300.0
EASE_RECENT, EASE_DECAY = 10, 0.8  # items of the history that are looked at, and the weight of each against the one after it
KNN_RECENT, KNN_DECAY = 10, 0.8
KNN_NEIGHBOURS = 200
KNN_HISTORY = 500  # of a user's items that are compared; more would cost its square


def baselines(parts: Split, rows: NDArray[np.bool_], dataset: Dataset) -> tuple[dict[str, Scores], dict[str, str]]:
    """The baselines, fitted on the interactions in ``rows``; and which of them the catalogue is too large for, with the reason."""
    size = len(dataset.item_ids)
    users, items = parts.users[rows], parts.items[rows]
    counted = count_interactions(items, size).astype(np.float64)
    decayed = recent_popularity(parts.by_time(rows), size)
    made: dict[str, Scores] = {
        "popularity": lambda history: counted.copy(),
        "decayed_popularity": lambda history: decayed.copy(),
        "markov": markov(users, items, dataset.item_ids),
        "item_knn": item_knn(users, items, size),
    }
    left_out = {}
    known = int((counted > 0).sum())
    if known <= EASE_MOST_ITEMS:
        made["ease"] = ease(users, items, size)
    else:
        left_out["ease"] = f"inverts a matrix of {known:,} × {known:,} items; tried up to {EASE_MOST_ITEMS:,}"
    return made, left_out


def markov(users: NDArray[Any], items: NDArray[Any], item_ids: tuple[str, ...]) -> Scores:
    """A decayed Markov chain over a window, mixed with popularity: the rung below the model, with nothing pruned."""
    size = len(item_ids)
    counted = count_interactions(items, size)
    counts = as_transitions(count_pairs(users, items, size), size, keep=size)
    chain = Transitions(Vocabulary(item_ids), counts, (counted + 0.5 / size) / (counted.sum() + 0.5), counted, 0)
    return lambda history: chain.probabilities(history[-KEPT:].tolist()).copy()


def ease(users: NDArray[Any], items: NDArray[Any], size: int, regularisation: float = EASE_REGULARISATION) -> Scores:
    """EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019; arXiv 1905.03375), over recent items."""
    known, index = np.unique(items, return_inverse=True)
    gram = np.zeros((len(known), len(known)), np.float32)
    for history in _histories(users, index):
        gram[np.ix_(history, history)] += 1
    gram[np.diag_indices_from(gram)] += regularisation
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0
    place = np.full(size, -1)
    place[known] = np.arange(len(known))

    def scores(history: NDArray[Any]) -> NDArray[np.float64]:
        recent, weight = _recent(place[history], EASE_RECENT, EASE_DECAY)
        made = np.full(size, -1e9)  # behind everything that was learned
        made[known] = weight @ weights[recent]
        return made

    return scores


def item_knn(users: NDArray[Any], items: NDArray[Any], size: int, neighbours: int = KNN_NEIGHBOURS) -> Scores:
    """Cosine similarity of the items' users, the nearest neighbours of each (Sarwar et al., WWW 2001), over recent items."""
    by_user = list(_histories(users, items, KNN_HISTORY))
    sizes = [len(history) for history in by_user]
    flat = np.concatenate(by_user)
    owner = np.repeat(np.arange(len(by_user)), sizes)[np.argsort(flat, kind="stable")]  # ordered by item
    counted = np.bincount(flat, minlength=size)
    starts = np.concatenate([[0], np.cumsum(counted)])
    near: list[tuple[NDArray[Any], NDArray[np.float64]]] = []
    for item in range(size):
        together = [by_user[user] for user in owner[starts[item] : starts[item + 1]]]
        if not together:
            near.append((np.empty(0, np.int64), np.empty(0)))
            continue
        other, times = _count(np.concatenate(together), size)
        similarity = times / np.sqrt(counted[item] * counted[other])
        similarity[other == item] = 0
        nearest = np.argsort(-similarity, kind="stable")[:neighbours]
        near.append((other[nearest], similarity[nearest]))

    def scores(history: NDArray[Any]) -> NDArray[np.float64]:
        made = np.zeros(size)
        recent, weight = _recent(history, KNN_RECENT, KNN_DECAY)
        for item, each in zip(recent.tolist(), weight.tolist(), strict=True):
            other, similarity = near[item]
            made[other] += each * similarity
        return made

    return scores


def _histories(users: NDArray[Any], items: NDArray[Any], most: int | None = None) -> list[NDArray[Any]]:
    """Each user's distinct items; of one with more than ``most`` interactions, those of the newest."""
    ends = np.flatnonzero(np.diff(users, append=-1)) + 1
    starts = np.concatenate([[0], ends[:-1]])
    return [np.unique(items[start:end][-most if most else 0 :]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _count(items: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The distinct items and how often each stands there."""
    if 4 * len(items) < size:
        return np.unique(items, return_counts=True)
    times = np.bincount(items, minlength=size)
    distinct = np.flatnonzero(times)
    return distinct, times[distinct]


def _recent(history: NDArray[Any], most: int, decay: float) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The newest items, newest first, and the weight of each; what is not known (below 0) is left out."""
    newest = history[history >= 0][: -most - 1 : -1]
    return newest, np.power(decay, np.arange(len(newest)), dtype=np.float64)
