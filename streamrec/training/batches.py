"""The log as batches of token rows, the same for a seed and an epoch. It knows no network."""

from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TOKENS = 2000  # in a batch, padding included
STEP = 10  # rows are padded to a multiple: each new shape of a batch costs memory, for the kernels that are compiled for it


class Batch(NamedTuple):
    """Rows of items, padded on the right; ``targets`` are what comes next, -1 where nothing does."""

    items: NDArray[np.int64]
    targets: NDArray[np.int64]


def without_repeats_in_a_row(users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
    """Which interactions a generator sees: of the same item again and again only the first, as in core.session.model_history."""
    kept = np.ones(len(items), bool)
    kept[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    return kept


def batches(users: NDArray[Any], items: NDArray[Any], context: int, seed: int) -> Iterator[Batch]:
    """Batches without end, epoch after epoch. Each interaction but a user's first is a target once an epoch.

    A long log is cut into rows of ``context``; where, changes from epoch to epoch, so that every item is met at every position.
    Rows of similar length share a batch, which leaves little padding.
    """
    first = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(first, append=len(users))
    for epoch in count():
        random = np.random.default_rng([seed, epoch])
        rows = _cut(first, sizes, context, random)
        widths = np.minimum(-(-rows[:, 1] // STEP) * STEP, context)
        for batch in _grouped(rows, widths, random):
            yield _padded(items, rows[batch], widths[batch].max())


def _cut(first: NDArray[Any], sizes: NDArray[Any], context: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Where rows begin and how many inputs they have; the last input's target is one further."""
    rows = []
    for start, inputs in zip(first.tolist(), (sizes - 1).tolist(), strict=True):
        cuts = list(range(int(random.integers(1, context + 1)) if inputs > context else context, inputs, context))
        bounds = [0, *cuts, inputs]
        rows += [(start + low, high - low) for low, high in pairwise(bounds) if high > low]
    return np.array(rows, np.int64).reshape(-1, 2)


def _grouped(rows: NDArray[np.int64], widths: NDArray[np.int64], random: np.random.Generator) -> list[NDArray[np.int64]]:
    by_length = np.lexsort((random.random(len(rows)), rows[:, 1]))
    groups: list[NDArray[np.int64]] = []
    group: list[int] = []
    widest = 0
    for row in by_length[::-1].tolist():
        widest = widest or int(widths[row])
        if group and (len(group) + 1) * widest > TOKENS:
            groups.append(np.array(group))
            group, widest = [], int(widths[row])
        group.append(row)
    groups.append(np.array(group))
    return [groups[place] for place in random.permutation(len(groups))]


def _padded(items: NDArray[Any], rows: NDArray[np.int64], width: int) -> Batch:
    step = np.arange(width)
    inside = step < rows[:, 1:]
    places = np.where(inside, rows[:, :1] + step, 0)
    return Batch(np.where(inside, items[places], 0), np.where(inside, items[np.minimum(places + 1, len(items) - 1)], -1))
