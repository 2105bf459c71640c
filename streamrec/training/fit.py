"""Learns the relevance scorer from slates whose outcome is known: weights, calibration and threshold. Plain numpy, no torch."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamrec.evaluation.slates import CANDIDATES, Slate
from streamrec.serving.relevance import FEATURES, UNFITTED, ScorerWeights

RIDGE = 1.0  # pulls weights towards the generator's own order: felt with a few slates, not with hundreds
LEAST_SLATES = 20  # with a hit in them; fewer teach nothing
TOP = 10
LOSS = 0.01  # of the hits in the top 10 that the threshold may cost
SHORT = 0.5  # of the slates that it may leave with fewer than 10


class Slates(Struct, frozen=True):
    """Judged candidates whose outcome is known, best by the generator first."""

    features: NDArray[np.float64]  # (slates, candidates, FEATURES)
    hit: NDArray[np.intp]  # which candidate came next; -1 where none of them did

    def take(self, rows: NDArray[Any]) -> "Slates":
        return Slates(self.features[rows], self.hit[rows])


def collect(made: Iterable[Slate], size: int) -> Slates:
    """The slates' features and hits, without their log-probabilities for every item, which would be much.

    Args:
        size: the number of items. Of a few items, who has had most of them has no whole slate, and is left out.
    """
    width = min(CANDIDATES, max(1, size // 2))
    kept = [(slate.features[:width], slate.candidates[:width] == slate.target) for slate in made if len(slate.candidates) >= width]
    features = np.array([each for each, _ in kept]).reshape(len(kept), width, len(FEATURES))
    matches = np.array([each for _, each in kept], bool).reshape(len(kept), width)
    return Slates(features, np.where(matches.any(axis=1), matches.argmax(axis=1), -1))


class Worth(Struct, frozen=True):
    """NDCG@10 of slates in the generator's order, and in that of weights that were fitted without them."""

    generator: float
    fitted: float


def fit(slates: Slates, *, keep_order: bool = False) -> ScorerWeights:
    """The weights under which the item that came next most probably wins its slate, and what a score then means.

    Where they do not rank better than the generator does, its order stays, and is only calibrated; so too with ``keep_order``,
    where it is more than a ranking.
    """
    if (slates.hit >= 0).sum() < LEAST_SLATES:
        return UNFITTED
    worth = measure(slates)
    better = worth.fitted > worth.generator and not keep_order
    found = listwise(slates) if better else UNFITTED.of_features
    weights = replace(UNFITTED, **dict(zip(FEATURES, found.tolist(), strict=True)))
    scores = slates.features @ weights.of_features
    slope, intercept = calibrate(scores.ravel(), _outcomes(slates).ravel())
    weights = replace(weights, slope=slope, intercept=intercept)
    return replace(weights, threshold=_threshold(scores, slates.hit, weights))


def measure(slates: Slates) -> Worth:
    """What fitting is worth, honestly: each half of the slates is scored by the weights that the other half gives."""
    scores = np.empty(slates.features.shape[:2])
    odd = np.arange(len(slates.hit)) % 2 == 1
    for half in (odd, ~odd):
        scores[half] = slates.features[half] @ listwise(slates.take(~half))
    return Worth(ndcg(slates.features @ UNFITTED.of_features, slates.hit), ndcg(scores, slates.hit))


def ndcg(scores: NDArray[np.float64], hit: NDArray[np.intp]) -> float:
    """Mean NDCG@10 of slates in the order of ``scores``; ties count against, a slate without its item counts as 0."""
    found = hit >= 0
    ranks = _ranks(scores[found], hit[found])
    return float(np.where(ranks <= TOP, 1 / np.log2(ranks + 1), 0).sum() / max(len(hit), 1))


def listwise(slates: Slates) -> NDArray[np.float64]:
    """Maximises the likelihood of the hits among their candidates (conditional logit), by Newton's method.

    A step that makes it less likely is halved: from far away a whole one overshoots, and would not come back.
    """
    known = slates.hit >= 0
    features, hit = slates.features[known], slates.hit[known]
    chosen = features[np.arange(len(hit)), hit].sum(axis=0)
    prior = UNFITTED.of_features
    weights = prior.copy()

    def loss(at: NDArray[np.float64]) -> float:
        scores = features @ at
        most = scores.max(axis=1)
        log_sums = most + np.log(np.exp(scores - most[:, None]).sum(axis=1))
        return float(log_sums.sum() - chosen @ at + 0.5 * RIDGE * ((at - prior) ** 2).sum())

    lost = loss(weights)
    for _ in range(50):
        chances = _softmax(features @ weights)
        means = np.einsum("sc,scf->sf", chances, features)
        gradient = chosen - means.sum(axis=0) - RIDGE * (weights - prior)
        curvature = np.einsum("sc,scf,scg->fg", chances, features, features) - means.T @ means + RIDGE * np.eye(len(FEATURES))
        step = np.linalg.solve(curvature, gradient)
        while (then := loss(weights + step)) > lost and np.abs(step).max() > 1e-9:
            step /= 2
        if np.abs(step).max() < 1e-9:
            break
        weights, lost = weights + step, then
    return weights


def calibrate(scores: NDArray[np.float64], outcomes: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the log-odds of a good outcome, as a function of the score (Platt)."""
    centre, spread = scores.mean(), max(float(scores.std()), 1e-9)
    inputs = np.stack([(scores - centre) / spread, np.ones_like(scores)], axis=1)
    rate = np.clip(outcomes.mean(), 1e-9, 1 - 1e-9)
    line = np.array([0.0, np.log(rate / (1 - rate))])
    most, before = 2.0, np.zeros(2)  # a full step can overshoot where nearly every outcome is the same
    for _ in range(100):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ line, -50, 50)))
        gradient = inputs.T @ (outcomes - chances) - 1e-3 * line
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        if step @ before < 0:
            most /= 2  # a step that turns back was too long: of one length they could go to and fro for ever
        before = np.clip(step, -most, most)
        line = line + before
        if np.abs(step).max() < 1e-9:
            break
    slope = float(line[0] / spread)
    return slope, float(line[1] - slope * centre)


def _threshold(scores: NDArray[np.float64], hit: NDArray[np.intp], weights: ScorerWeights) -> float:
    """The highest relevance that costs at most one in a hundred hits of the top 10, and leaves half of the slates
    full.

    If only a few items ever follow another, all hits are of these, and the first condition alone would leave every
    slate with so few. With fewer than a hundred such hits it is 0; so it is in a small catalogue, which has little
    else to show.
    """
    found = np.flatnonzero(hit >= 0)
    shown = found[_ranks(scores[found], hit[found]) <= TOP]
    if weights.slope <= 0 or LOSS * len(shown) < 1 or scores.shape[1] < CANDIDATES:
        return 0.0
    lowest = np.sort(scores[shown, hit[shown]])[int(LOSS * len(shown))]
    tenth = np.sort(scores, axis=1)[:, -TOP]
    lowest = min(lowest, np.sort(tenth)[int(SHORT * len(tenth))])
    return float(1 / (1 + np.exp(-(weights.slope * lowest + weights.intercept))))


def _outcomes(slates: Slates) -> NDArray[np.float64]:
    outcomes = np.zeros(slates.features.shape[:2])
    known = np.flatnonzero(slates.hit >= 0)
    outcomes[known, slates.hit[known]] = 1
    return outcomes


def _ranks(scores: NDArray[np.float64], hit: NDArray[np.intp]) -> NDArray[np.intp]:
    ranks: NDArray[np.intp] = (scores >= scores[np.arange(len(hit)), hit][:, None]).sum(axis=1)
    return ranks


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = grown / grown.sum(axis=1, keepdims=True)
    return shares
