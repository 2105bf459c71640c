"""What a list of ranks and slates is worth, each measure with its definition."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

TOP = 10
RESAMPLES = 1000
MISSED = np.inf  # the rank of an item that is not in the list


NAMES = {"ndcg": "ndcg@10", "ndcg_interval": "ndcg@10_interval", "recall": "recall@10"}


class Metrics(Struct, frozen=True, kw_only=True, rename=NAMES):
    """Means over all targets.

    - ``ndcg@10``: 1 / log2(rank + 1) where the target is in the first ten, else 0; with its 95 % interval, by a bootstrap
      over users (the targets of one user are not independent).
    - ``recall@10``: the share of targets in the first ten.
    - ``mrr``: 1 / rank over the whole list.
    - ``coverage``: the share of the catalogue that stands in the first ten of at least one slate.
    - ``diversity``: of two items of a slate, 1 - the Jaccard similarity of their tags, averaged over pairs (each pair once), then
      over slates. None where no item has tags.
    - ``novelty``: -log2 of an item's share of the interactions that training saw (plus one half each), averaged over slots.
    """

    ndcg: float
    ndcg_interval: tuple[float, float]
    recall: float
    mrr: float
    coverage: float
    diversity: float | None
    novelty: float


class Tally:
    """Takes one slate after the other and keeps what the metrics need."""

    def __init__(self, tags: Sequence[Sequence[str]], interactions: NDArray[np.int64]) -> None:
        self._tags = [frozenset(each) for each in tags]
        smoothed = interactions + 0.5
        self._novelty = -np.log2(smoothed / smoothed.sum())
        self._users: list[int] = []
        self._ranks: list[float] = []
        self._shown = np.zeros(len(interactions), np.int64)
        self._distance = 0.0
        self._slates_with_tags = 0

    def add(self, user: int, rank: float, slate: Sequence[int]) -> None:
        """A target's rank (1 is best; MISSED where it is not in the list) and the first ten items, as indexes of the catalogue."""
        self._users.append(user)
        self._ranks.append(rank)
        self._shown[list(slate)] += 1
        distances = [
            1 - len(self._tags[one] & self._tags[other]) / len(either)
            for place, one in enumerate(slate)
            for other in slate[:place]
            if (either := self._tags[one] | self._tags[other])
        ]
        if distances:
            self._distance += sum(distances) / len(distances)
            self._slates_with_tags += 1

    def metrics(self, seed: int) -> Metrics:
        """The means; the seed is of the bootstrap."""
        ranks = np.array(self._ranks)
        gains = np.where(ranks <= TOP, 1 / np.log2(ranks + 1), 0.0)
        slots = max(int(self._shown.sum()), 1)
        return Metrics(
            ndcg=_rounded(gains.mean()),
            ndcg_interval=_interval(np.array(self._users), gains, seed),
            recall=_rounded((ranks <= TOP).mean()),
            mrr=_rounded((1 / ranks).mean()),
            coverage=_rounded((self._shown > 0).mean()),
            diversity=_rounded(self._distance / self._slates_with_tags) if self._slates_with_tags else None,
            novelty=_rounded((self._shown * self._novelty).sum() / slots),
        )


def rank_of(scores: NDArray[Any], target: int) -> float:
    """The target's place when everything is ordered by score; whatever ties with it stands before it.

    >>> rank_of(np.array([0.3, 0.9, 0.3]), 0)
    3.0
    """
    return float((scores >= scores[target]).sum())


def _interval(users: NDArray[Any], gains: NDArray[np.float64], seed: int) -> tuple[float, float]:
    _, user = np.unique(users, return_inverse=True)
    sums, sizes = np.bincount(user, gains), np.bincount(user)
    random = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(sums), len(sums))
        means.append(sums[drawn].sum() / sizes[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return _rounded(low), _rounded(high)


def _rounded(value: Any) -> float:
    return round(float(value), 6)
