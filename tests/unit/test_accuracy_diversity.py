"""MMR, which the dial of a tuned slate is held against."""

import numpy as np
import pytest

from benchmarks.accuracy.diversity import at_equal_ndcg, mmr, similarity
from streamrec.evaluation.metrics import Tally

CHANCES = np.log([0.4, 0.3, 0.2, 0.1])
ALIKE = similarity([frozenset("ab"), frozenset("ab"), frozenset("bc"), frozenset()])


def test_similarity_is_jaccard_and_nothing_is_like_what_has_no_tags() -> None:
    assert ALIKE[0].tolist() == [1, 1, pytest.approx(1 / 3), 0]
    assert ALIKE[3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("mean", [False, True])
def test_mmr_takes_the_best_first_and_then_what_it_is_told_to_weigh(mean: bool) -> None:
    assert mmr(CHANCES, ALIKE, 1.0, mean=mean) == [0, 1, 2, 3]
    assert mmr(CHANCES, ALIKE, 0.0, mean=mean)[:3] == [0, 3, 2]


def test_the_greatest_similarity_and_the_mean_one_differ() -> None:
    alike = np.eye(4)
    alike[0, 1] = alike[1, 0] = 0.6  # candidate 3 is like the first, as much as 2 is like both
    alike[0, 3] = alike[3, 0] = 0.5
    alike[0, 2] = alike[2, 0] = alike[1, 2] = alike[2, 1] = 0.4
    orders = {mean: mmr(np.log([0.9, 0.5, 0.3, 0.3]), alike, 0.3, mean=mean) for mean in (False, True)}
    assert sorted(orders[False]) == sorted(orders[True]) == [0, 1, 2, 3]
    assert orders[False] != orders[True]


def test_a_curve_is_read_between_its_points_and_not_beyond() -> None:
    def point(rank: int, slate: list[int]):
        tally = Tally([["a"], ["b"], ["a"]], np.ones(3, np.int64))
        tally.add(0, rank, slate)
        return tally.metrics()

    points = [point(1, [0, 2]), point(3, [0, 1])]  # NDCG 1 and .5, diversity 0 and 1
    assert at_equal_ndcg(points, 0.75) == pytest.approx(0.5)
    assert at_equal_ndcg(points, 0.4) is None
