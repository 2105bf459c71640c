"""What can be counted in a log: which item follows which, and which are popular. It knows no ids, only indexes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

WINDOW = 10
DECAY = 0.8  # of a transition's weight, for each step further apart
KEEP = 500  # followers of each item; with all of them Markov is no better on ml-1m
TABLE = 2**24  # cells of a table of all pairs that is better than sorting them
BAND = 2**21  # cells of it at a time
RECENT = 0.1  # of the log: after so many interactions one counts half as much for recent popularity


class TransitionCounts(Struct, frozen=True):
    """Who follows whom, as sparse rows: those of item i stand at ``starts[i]`` up to ``starts[i + 1]``, by index."""

    starts: NDArray[np.int64]
    followers: NDArray[Any]  # item index
    times: NDArray[Any]  # how often the follower came within the window after the item
    direct: NDArray[Any]  # how often of these it came directly after it
    shares: NDArray[np.float32]  # the same with decay, as a share of all that followed the item (also of what was pruned)


class Pairs(Struct, frozen=True):
    """Each pair of items of which one came within the window after the other, ordered by leader, then by follower."""

    leader: NDArray[np.int64]
    follower: NDArray[np.int64]
    times: NDArray[np.integer[Any]]
    direct: NDArray[np.integer[Any]]  # of these, at a distance of one
    weight: NDArray[np.float64]  # times, each with its decay


def count_pairs(users: NDArray[Any], items: NDArray[Any], size: int, *, window: int = WINDOW, decay: float = DECAY) -> Pairs:
    """Counts over each user's interactions, which stand together and in order.

    An interaction counts once for each item that came within the window before it, by the nearest one where it came twice.

    Args:
        size: the number of items.
    """
    place = np.arange(len(items))
    again = _next_of_the_same(users, items)
    cell = np.int32 if size * size <= TABLE else np.int64  # ten keys for each interaction are much
    keys, weights = [np.empty(0, cell)], [1.0]
    for lag in range(1, min(window, len(items) - 1) + 1):
        pair = (users[:-lag] == users[lag:]) & (again[:-lag] >= place[lag:])
        keys.append(items[:-lag][pair].astype(cell) * cell(size) + items[lag:][pair].astype(cell))
        weights.append(decay ** (lag - 1))
    return _summed_in_a_table(keys, weights, size) if size * size <= TABLE else _summed_by_sorting(keys, weights, size)


def _summed_in_a_table(keys: list[NDArray[Any]], weights: list[float], size: int) -> Pairs:
    """Three times as fast as sorting. The table is filled band by band, so that it is never whole in memory."""
    parts = []
    for low in range(0, size * size, BAND):
        cells = min(BAND, size * size - low)
        times, direct, weight = np.zeros(cells, np.int32), np.zeros(cells, np.int32), np.zeros(cells)
        for lag, (key, each) in enumerate(zip(keys, weights, strict=True)):
            counted = np.bincount(key[(key >= low) & (key < low + cells)] - low, minlength=cells).astype(np.int32)
            times += counted
            weight += each * counted
            if lag == 1:
                direct = counted
        found = np.flatnonzero(times)
        parts.append(((found + low).astype(np.int32), times[found], direct[found], weight[found]))
    columns = [list(column) for column in zip(*parts, strict=True)]
    del parts
    keys.clear()  # here a training needs the most memory
    cell, times, direct, weight = (np.concatenate(columns.pop(0)) for _ in range(4))
    return Pairs((cell // size).astype(np.int64), (cell % size).astype(np.int64), times, direct, weight)


def _summed_by_sorting(keys: list[NDArray[Any]], weights: list[float], size: int) -> Pairs:
    found, inverse, times = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    each = np.repeat(weights, [len(key) for key in keys])
    direct = np.bincount(inverse[: len(keys[1])] if len(keys) > 1 else inverse, minlength=len(found))
    return Pairs(found // size, found % size, times, direct, np.bincount(inverse, each, len(found)).astype(np.float64))


def sum_pairs(added: Sequence[Pairs], taken: Sequence[Pairs], size: int) -> Pairs:
    """The sum of what was ``added``, less what was ``taken``; pairs of which nothing is left are left out."""
    parts = [*((1, pairs) for pairs in added), *((-1, pairs) for pairs in taken)]
    keys = np.concatenate([pairs.leader * size + pairs.follower for _, pairs in parts])
    found, inverse = np.unique(keys, return_inverse=True)
    times, direct = np.zeros((2, len(found)), np.int64)
    np.add.at(times, inverse, np.concatenate([sign * pairs.times.astype(np.int64) for sign, pairs in parts]))
    np.add.at(direct, inverse, np.concatenate([sign * pairs.direct.astype(np.int64) for sign, pairs in parts]))
    weight = np.bincount(inverse, np.concatenate([sign * pairs.weight for sign, pairs in parts]), len(found))
    left = times > 0
    found, times, direct, weight = found[left], times[left], direct[left], weight[left]
    return Pairs(found // size, found % size, times, np.maximum(direct, 0), np.maximum(weight, np.finfo(np.float64).tiny))


def as_transitions(pairs: Pairs, size: int, keep: int = KEEP) -> TransitionCounts:
    """The pairs as rows to look up; of each item at most ``keep`` followers, those of the greatest weight."""
    totals = np.bincount(pairs.leader, pairs.weight, size)
    kept = _heaviest(pairs, keep)
    leader, follower, times = pairs.leader[kept], pairs.follower[kept], pairs.times[kept]
    return TransitionCounts(
        starts=np.searchsorted(leader, np.arange(size + 1)),
        followers=follower.astype(_smallest(size)),
        times=times.astype(_smallest(int(times.max(initial=0)))),
        direct=pairs.direct[kept].astype(_smallest(int(times.max(initial=0)))),
        shares=(pairs.weight[kept] / totals[leader]).astype(np.float32),
    )


def count_interactions(items: NDArray[Any], size: int) -> NDArray[np.int64]:
    """How often each item was interacted with."""
    return np.bincount(items, minlength=size).astype(np.int64)


def recent_popularity(items_by_time: NDArray[Any], size: int, half_life: float = RECENT) -> NDArray[np.float64]:
    """Each item's share of the interactions, the newest counting most; every item has a little, so that none is impossible.

    Args:
        half_life: as a part of the log: ages are counted in interactions, so a quiet night makes nothing old.
    """
    ages = np.arange(len(items_by_time))[::-1]
    weights = 0.5 ** (ages / (half_life * max(len(items_by_time), 1)))
    counted = np.bincount(items_by_time, weights, size) + 0.5 / size
    shares: NDArray[np.float64] = counted / counted.sum()
    return shares


def _next_of_the_same(users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.int64]:
    """Where the user comes back to the item of each place; beyond the end where never."""
    order = np.lexsort((items, users))  # stable: the places of one user and item stay in order
    same = (users[order][:-1] == users[order][1:]) & (items[order][:-1] == items[order][1:])
    again = np.full(len(items), len(items), np.int64)
    again[order[:-1][same]] = order[1:][same]
    return again


def _heaviest(pairs: Pairs, keep: int) -> NDArray[np.bool_]:
    order = np.lexsort((pairs.follower, -pairs.weight, pairs.leader))
    place_in_row = np.arange(len(order)) - np.searchsorted(pairs.leader, pairs.leader)  # of the ordered ones: the rows are the same
    kept = np.zeros(len(order), bool)
    kept[order[place_in_row < keep]] = True
    return kept


def _smallest(most: int) -> Any:
    return np.uint16 if most < 2**16 else np.uint32
