"""The best of many, in one exact order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamrec.serving.topk import best


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, -np.inf, 1.0]), min_size=1, max_size=40), st.integers(1, 50))
def test_the_best_are_those_of_a_full_sort_with_ties_by_index(scores: list[float], count: int) -> None:
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]
    assert best(np.array(scores, np.float32), count).tolist() == expected
