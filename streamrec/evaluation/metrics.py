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
    - ``popularity_bias``: how often the shown items were interacted with, averaged over slots, divided by the same average over
      the interactions that training saw. Above 1 the slates are more popular than what users choose. None without interactions.
    """

    ndcg: float
    ndcg_interval: tuple[float, float]
    recall: float
    mrr: float
    coverage: float
    diversity: float | None
    novelty: float
    popularity_bias: float | None


class Lead(Struct, frozen=True, kw_only=True, rename=NAMES):
    """How much higher one NDCG@10 is than another, target by target; its interval is above 0 where the lead is no luck."""

    ndcg: float
    ndcg_interval: tuple[float, float]


class Tally:
    """Takes one slate after the other and keeps what the metrics need."""

    def __init__(self, tags: Sequence[Sequence[str]], interactions: NDArray[np.int64]) -> None:
        bits: dict[str, int] = {}
        self._tags = [sum(1 << bits.setdefault(tag, len(bits)) for tag in set(each)) for each in tags]  # sets, as bits of a number
        self._interactions = interactions
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
        tags = [self._tags[item] for item in slate]
        distances = [
            1 - (one & other).bit_count() / either.bit_count()
            for place, one in enumerate(tags)
            for other in tags[:place]
            if (either := one | other)
        ]
        if distances:
            self._distance += sum(distances) / len(distances)
            self._slates_with_tags += 1

    @property
    def gains(self) -> NDArray[np.float64]:
        """What each target adds to NDCG@10, in the order in which they came."""
        ranks = np.array(self._ranks)
        return np.where(ranks <= TOP, 1 / np.log2(ranks + 1), 0.0)

    @property
    def mean_slate_size(self) -> float:
        """How many items a slate holds on average."""
        return _rounded(self._shown.sum() / max(len(self._ranks), 1))

    def metrics(self, seed: int = 0) -> Metrics:
        """The means; the seed is of the bootstrap."""
        ranks, gains = np.array(self._ranks), self.gains
        slots = max(int(self._shown.sum()), 1)
        return Metrics(
            ndcg=_rounded(gains.mean()),
            ndcg_interval=_interval(np.array(self._users), gains, seed),
            recall=_rounded((ranks <= TOP).mean()),
            mrr=_rounded((1 / ranks).mean()),
            coverage=_rounded((self._shown > 0).mean()),
            diversity=_rounded(self._distance / self._slates_with_tags) if self._slates_with_tags else None,
            novelty=_rounded((self._shown * self._novelty).sum() / slots),
            popularity_bias=self._popularity_bias(slots),
        )

    def lead_over(self, other: "Tally", seed: int = 0) -> Lead:
        """This one against another that was given the same targets in the same order; the interval is of the differences."""
        ahead = self.gains - other.gains
        return Lead(ndcg=_rounded(ahead.mean()), ndcg_interval=_interval(np.array(self._users), ahead, seed))

    def _popularity_bias(self, slots: int) -> float | None:
        counted = self._interactions.astype(np.float64)
        if not counted.any():
            return None
        chosen = (counted * counted).sum() / counted.sum()
        return _rounded((self._shown * counted).sum() / slots / chosen)


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
