"""The additive scorer and how it is fitted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.generate import Candidate
from streamrec.evaluation.slates import CANDIDATES
from streamrec.serving.counting import as_transitions, count_pairs
from streamrec.serving.relevance import FEATURES, UNFITTED, AdditiveScorer, ScorerWeights
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training.fit import Slates, calibrate, fit, listwise, measure, ndcg

IDS = ["a", "b", "c"]
WEIGHTS = ScorerWeights(
    generator=0.7, transitions=0.31, next=0.2, popularity=-0.123456789, slope=1.5, intercept=0.3, threshold=0.01
)


def scorer(weights: ScorerWeights = WEIGHTS) -> AdditiveScorer:
    users, items = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    counts = as_transitions(count_pairs(users, items, 3), 3)
    popularity = np.array([0.5, 0.3, 0.2])
    vocabulary = Vocabulary(IDS)
    transitions = Transitions(vocabulary, counts, popularity, np.array([2, 2, 1]), 10)
    return AdditiveScorer(vocabulary, transitions, popularity, weights)


def candidates(*log_probs: float) -> list[Candidate]:
    return [Candidate(item_id, "gptrec", log_prob) for item_id, log_prob in zip(IDS, log_probs, strict=False)]


@given(st.lists(st.floats(-30, 0), min_size=3, max_size=3), st.lists(st.sampled_from([*IDS, "new"]), max_size=5))
def test_parts_add_up_to_the_score_to_the_last_digit_that_records_carry(log_probs: list[float], history: list[str]) -> None:
    for judged in scorer().judge(history, candidates(*log_probs)):
        assert set(judged.parts) == set(FEATURES)
        assert judged.score == round(sum(judged.parts.values()), 6)
        assert all(part == round(part, 6) for part in judged.parts.values())
        assert judged.relevance == pytest.approx(1 / (1 + math.exp(-(1.5 * judged.score + 0.3))))


@given(st.lists(st.floats(-30, 0), min_size=3, max_size=3))
def test_a_candidate_is_judged_the_same_alone_and_among_others(log_probs: list[float]) -> None:
    together = scorer().judge(["a"], candidates(*log_probs))
    alone = [scorer().judge(["a"], [each])[0] for each in candidates(*log_probs)]
    assert together == alone


def test_what_often_follows_scores_higher() -> None:
    only = ScorerWeights(generator=0, transitions=1, next=0, popularity=0, slope=1, intercept=0, threshold=0)
    a, b, c = scorer(only).judge(["a"], candidates(-1, -1, -1))
    assert b.score > c.score > a.score


def test_of_what_followed_the_last_item_only_the_direct_step_counts_for_next() -> None:
    only = ScorerWeights(generator=0, transitions=0, next=1, popularity=0, slope=1, intercept=0, threshold=0)
    a, b, c = scorer(only).judge(["c", "a"], candidates(-1, -1, -1))  # b came directly after a, twice; c never
    assert b.score == pytest.approx(math.log(0.7 * 2 / 2 + 0.3 * 0.3), abs=1e-6)
    assert c.score == pytest.approx(math.log(0.3 * 0.2), abs=1e-6)
    assert a.score == pytest.approx(math.log(0.3 * 0.5), abs=1e-6)


def test_no_candidates_are_judged_to_nothing() -> None:
    assert scorer().judge(["a"], []) == []


def made_slates(weights: list[float], count: int = 4000, width: int = 12, seed: int = 0, miss: float = 0.0) -> Slates:
    """Slates whose hit is drawn with the probabilities that ``weights`` give."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width, len(FEATURES)))
    gumbel = -np.log(-np.log(random.random((count, width))))
    hit = (features @ np.array(weights) + gumbel).argmax(axis=1)
    return Slates(features, np.where(random.random(count) < miss, -1, hit))


def test_the_listwise_fit_finds_the_weights_that_made_the_data() -> None:
    np.testing.assert_allclose(listwise(made_slates([1.5, 0.5, 0.2, -0.3], miss=0.3)), [1.5, 0.5, 0.2, -0.3], atol=0.08)


def test_the_listwise_fit_stands_where_its_likelihood_is_highest() -> None:
    slates = made_slates([1.0, 0.2, 0.0, 0.0], count=200)
    found = listwise(slates)

    def objective(weights: np.ndarray) -> float:
        scores = slates.features @ weights
        chosen = scores[np.arange(200), slates.hit] - np.log(np.exp(scores).sum(axis=1))
        return float(chosen.sum() - 0.5 * ((weights - UNFITTED.of_features) ** 2).sum())

    for nudge in np.concatenate([np.eye(4), -np.eye(4)]) * 0.01:
        assert objective(found) > objective(found + nudge)


def test_calibration_makes_a_relevance_of_30_percent_mean_30_percent() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(-3, 2, 200_000)
    outcomes = (random.random(200_000) < 1 / (1 + np.exp(-(0.8 * scores - 0.5)))).astype(float)
    slope, intercept = calibrate(scores, outcomes)
    assert (slope, intercept) == (pytest.approx(0.8, abs=0.03), pytest.approx(-0.5, abs=0.05))


def test_calibration_survives_outcomes_that_are_all_alike() -> None:
    for outcomes in (np.zeros(50), np.ones(50)):
        assert np.isfinite(calibrate(np.linspace(-5, 0, 50), outcomes)).all()
    assert np.isfinite(calibrate(np.zeros(50), np.zeros(50))).all()


def test_calibration_arrives_where_few_items_stand_out() -> None:
    """Four of a hundred, one of which is the hit, far above the others: steps of one length never arrived."""
    slates = sharp(CANDIDATES, poor=0.2)
    weights = fit(slates)
    relevances = 1 / (1 + np.exp(-(weights.slope * (slates.features @ weights.of_features) + weights.intercept)))
    assert relevances[:, :4].mean() == pytest.approx(0.25, abs=0.01)
    assert relevances[:, 4:].max() < 0.01


def test_the_threshold_costs_at_most_one_hit_of_a_hundred_in_the_top_ten() -> None:
    slates = made_slates([2.0, 0.5, 0.0, 0.0], width=CANDIDATES)
    weights = fit(slates)
    scores = slates.features @ weights.of_features
    relevances = 1 / (1 + np.exp(-(weights.slope * scores + weights.intercept)))
    hits = relevances[np.arange(len(slates.hit)), slates.hit]
    in_top = (scores >= scores[np.arange(len(slates.hit)), slates.hit][:, None]).sum(axis=1) <= 10
    lost = (hits[in_top] < weights.threshold).mean()
    assert 0.005 < lost <= 0.01
    assert (relevances < weights.threshold).mean() > 0.2


def test_the_threshold_leaves_half_of_the_slates_full() -> None:
    """Four items of a hundred follow, the others never: all hits are of the four, but a slate is not of four."""
    slates = sharp(CANDIDATES, poor=0.7)
    weights, features = fit(slates), slates.features
    relevances = 1 / (1 + np.exp(-(weights.slope * (features @ weights.of_features) + weights.intercept)))
    full = ((relevances >= weights.threshold).sum(axis=1) >= 10).mean()
    assert full == pytest.approx(0.5, abs=0.01)
    assert weights.threshold > 0


def test_a_small_catalogue_has_no_threshold() -> None:
    assert fit(sharp(CANDIDATES - 1, poor=0.7)).threshold == 0


def sharp(width: int, poor: float) -> Slates:
    """A thousand slates in which one of the first four comes next; in the ``poor`` share all but six are hopeless."""
    random = np.random.default_rng(0)
    features = random.normal(-9, 0.3, size=(1000, width, len(FEATURES)))
    features[:, :4] += 8
    features[np.arange(1000) % 10 < 10 * poor, 6:] -= 4
    return Slates(features, random.integers(4, size=1000))


def test_a_hundredth_of_fewer_than_a_hundred_hits_is_not_guessed() -> None:
    assert fit(made_slates([2.0, 0.5, 0.0, 0.0], count=90, width=CANDIDATES)).threshold == 0.0
    assert fit(made_slates([2.0, 0.5, 0.0, 0.0], count=400, width=CANDIDATES)).threshold > 0.0


def test_too_few_hits_leave_the_generator_s_order() -> None:
    few = made_slates([0.0, 3.0, 0.0, 0.0], count=10)
    assert fit(few) == UNFITTED
    assert fit(Slates(np.empty((0, 5, len(FEATURES))), np.empty(0, np.intp))) == UNFITTED


def test_what_a_fit_is_worth_is_measured_on_slates_that_it_has_not_seen() -> None:
    slates = made_slates([0.5, 1.5, 0.0, 0.0], count=400)
    worth = measure(slates)
    assert worth.fitted > worth.generator
    even, odd = slates.take(np.arange(0, 400, 2)), slates.take(np.arange(1, 400, 2))
    halves = [ndcg(one.features @ listwise(other), one.hit) for one, other in ((even, odd), (odd, even))]
    assert worth.fitted == pytest.approx(sum(halves) / 2)


def test_a_fit_that_ranks_worse_than_the_generator_is_not_used() -> None:
    slates = made_slates([1.0, 0.0, 0.0, 0.0], count=60, seed=3)
    assert measure(slates).fitted <= measure(slates).generator  # noise was learned
    weights = fit(slates)
    assert weights.of_features.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert weights.slope > 0.5  # calibrated all the same


def test_ndcg_counts_ties_against_and_absent_items_as_nothing() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert ndcg(scores, np.array([1, 0, -1])) == pytest.approx((1 / np.log2(3) + 1 / np.log2(3) + 0) / 3)
    assert ndcg(scores[:1], np.array([0])) == 1.0


def test_a_feature_that_tells_everything_is_found_from_far_away() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 30, len(FEATURES)))
    hit = random.integers(30, size=40)
    features[..., 2] = -6.0  # as of what never came after: where it did, far more
    features[np.arange(40), hit, 2] = -1.0
    features[..., 0] -= 0.5 * features[..., 2]
    slates = Slates(features, hit)
    assert ndcg(features @ listwise(slates), hit) > 0.95
