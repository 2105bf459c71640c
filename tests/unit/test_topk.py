"""The best of many, in one exact order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.serving.topk import best


@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, -np.inf, 1.0]), max_size=40),
    count=st.integers(-2, 50),
    without=st.sets(st.integers(0, 39)),
)
def test_the_best_are_those_of_a_full_sort_with_ties_by_index(
    scores: list[float],
    count: int,
    without: set[int],
) -> None:
    """What is left out, and what scores -inf, is never among them, however few are left."""
    possible = [index for index, score in enumerate(scores) if score > -np.inf and index not in without]
    expected = sorted(possible, key=lambda index: (-scores[index], index))[: max(count, 0)]
    given_scores = np.array(scores, np.float32)
    left_out = np.array(sorted(each for each in without if each < len(scores)), np.intp)
    assert best(given_scores, count, left_out).tolist() == expected
    assert given_scores.tolist() == scores  # as they were


@pytest.mark.parametrize("count", [0, -1])
def test_the_best_none_are_none(count: int) -> None:
    assert best(np.array([0.5, 0.9]), count).tolist() == []
    assert best(np.empty(0), 5).tolist() == []
