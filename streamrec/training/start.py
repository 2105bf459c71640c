"""Where a network starts: what a log tells at once.

The item embeddings are the SVD of its windowed co-occurrence, worth more than all else in the first minutes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamrec.serving.counting import TABLE, count_pairs

WINDOW = 8
DECAY = 0.8
STD = 0.05
OVERSAMPLING = 16
ITERATIONS = 6


def start_embeddings(users: NDArray[Any], items: NDArray[Any], size: int, dim: int, generator: torch.Generator) -> Tensor:
    """A vector for each item; items that share neighbours point the same way.

    It is a truncated eigendecomposition of the symmetric PPMI matrix (positive pointwise mutual information: how much more
    often than by chance two items are near each other), by subspace iteration. Dimensions it cannot fill stay random.
    """
    noise = torch.randn(size, dim, generator=generator)
    ppmi = _ppmi(users, items, size)
    if size * size <= TABLE:
        ppmi = ppmi.to_dense()  # a product with it is then twice as fast
    rank = min(dim, size)
    basis = torch.randn(size, min(rank + OVERSAMPLING, size), generator=generator)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(ppmi @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ (ppmi @ basis))
    strongest = values.abs().argsort(descending=True, stable=True)[:rank]
    found = basis @ vectors[:, strongest] * values[strongest].abs().sqrt()
    found = found / found.std().clamp_min(1e-6)
    vectors = 0.01 * noise
    vectors[:, :rank] += found
    return STD * vectors


def repeat_offset(users: NDArray[Any], items: NDArray[Any], shares: NDArray[Any]) -> float:
    """How much more probable an item becomes for a user who has had it: the log-odds of a repeat, less those by popularity alone.

    Args:
        users, items: those of one user together and in order.
        shares: of each item among all interactions.
    """
    first_time = np.zeros(len(items), bool)
    first_time[np.unique(users.astype(np.int64) * len(shares) + items, return_index=True)[1]] = True
    begins = np.diff(users, prepend=-1) != 0
    had = np.cumsum(np.where(first_time, shares[items], 0.0))
    before = had - np.where(first_time, shares[items], 0.0)  # each target's user had so much of the popularity, ...
    before -= np.repeat(before[begins], np.diff(np.append(np.flatnonzero(begins), len(users))))  # ... counted from the user's first
    repeats, targets = int((~first_time).sum()), int((~begins).sum())
    by_popularity = np.clip(before[~begins].mean(), 1e-6, 1 - 1e-6)
    odds = (repeats + 0.5) / (targets - repeats + 0.5)
    return float(np.log(odds) - np.log(by_popularity / (1 - by_popularity)))


def _ppmi(users: NDArray[Any], items: NDArray[Any], size: int) -> Tensor:
    pairs = count_pairs(users, items, size, window=WINDOW, decay=DECAY)
    one_way = _sparse(torch.from_numpy(np.stack([pairs.leader, pairs.follower])), torch.from_numpy(pairs.weight), size)
    both = (one_way + one_way.T).coalesce()
    row, column = both.indices()
    totals = torch.zeros(size, dtype=torch.float64).index_add_(0, row, both.values())
    information = (both.values() * totals.sum() / (totals[row] * totals[column])).log().clamp_min(0)
    return _sparse(both.indices(), information.float(), size).coalesce()


def _sparse(places: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.sparse_coo_tensor(places, values, (size, size), check_invariants=False)
