"""Metrics by hand."""

import math

import msgspec
import numpy as np
import pytest

from streamrec.evaluation.metrics import MISSED, Tally, rank_of


def tally(tags: list[list[str]] | None = None, interactions: list[int] | None = None) -> Tally:
    return Tally(tags or [["x"], ["x"], ["y"], ["x", "y"]], np.array(interactions or [1, 1, 1, 1]))


def test_ties_count_against_the_target() -> None:
    assert rank_of(np.array([1.0, 1.0, 1.0, 0.5]), 1) == 3
    assert rank_of(np.array([1.0, 2.0, -np.inf]), 1) == 1


def test_ndcg_recall_and_mrr_are_means_over_targets_missed_ones_included() -> None:
    made = tally()
    for rank in (1.0, 3.0, 10.0, 11.0, MISSED):
        made.add(0, rank, [0])
    metrics = made.metrics(seed=0)
    assert metrics.ndcg == pytest.approx((1 + 0.5 + 1 / math.log2(11)) / 5, abs=1e-6)
    assert metrics.recall == 0.6
    assert metrics.mrr == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 11) / 5, abs=1e-6)


def test_coverage_diversity_and_novelty_are_what_their_definitions_say() -> None:
    made = tally(interactions=[8, 4, 2, 1])
    made.add(0, 1.0, [0, 1, 2])  # distances 0, 1, 1
    made.add(1, 1.0, [0, 3])  # distance 1/2
    metrics = made.metrics(seed=0)
    assert metrics.coverage == 1.0
    assert metrics.diversity == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-6)
    shares = np.array([8.5, 4.5, 2.5, 1.5]) / 17
    assert metrics.novelty == pytest.approx(-np.log2(shares)[[0, 1, 2, 0, 3]].mean(), abs=1e-6)


def test_diversity_is_unknown_without_tags() -> None:
    made = tally(tags=[[], [], [], []])
    made.add(0, 1.0, [0, 1])
    assert made.metrics(seed=0).diversity is None


def test_the_interval_is_of_users_not_of_targets() -> None:
    few, many = tally(), tally()
    for target in range(400):
        few.add(target % 2, 1.0 if target % 2 else MISSED, [0])
        many.add(target, 1.0 if target % 2 else MISSED, [0])
    low, high = many.metrics(seed=0).ndcg_interval
    assert 0.4 < low < 0.5 < high < 0.6
    assert few.metrics(seed=0).ndcg_interval == (0.0, 1.0)
    assert many.metrics(seed=0) == many.metrics(seed=0)


def test_the_names_are_those_that_others_script_against() -> None:
    made = tally()
    made.add(0, 1.0, [0])
    written = msgspec.to_builtins(made.metrics(seed=0))
    assert {"ndcg@10", "recall@10", "mrr", "coverage", "diversity", "novelty"} <= set(written)
