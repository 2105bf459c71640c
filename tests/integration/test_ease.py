"""EASE: what is fitted is what the paper minimises, and what is kept of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from streamrec.serving.ease import Ease, EaseWeights
from streamrec.training import ease as module
from streamrec.training.ease import REGULARISATION, fit_ease

SIZE = 6
LOGS = st.lists(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=8), min_size=1, max_size=20)


def fitted(logs: list[list[int]]) -> EaseWeights:
    users = np.repeat(np.arange(len(logs)), [len(log) for log in logs])
    return fit_ease(users, np.concatenate(logs), SIZE)


def dense(weights: EaseWeights) -> np.ndarray:
    ease = Ease(weights, SIZE)
    return np.array([ease.scores([item]) for item in range(SIZE)])


@settings(deadline=None)
@given(LOGS)
def test_each_column_is_the_ridge_regression_of_an_item_on_all_others(logs: list[list[int]]) -> None:
    had = np.array([[item in log for item in range(SIZE)] for log in logs], float)
    expected = np.zeros((SIZE, SIZE))
    for item in range(SIZE):
        others = [other for other in range(SIZE) if other != item]
        known = had[:, others]
        expected[others, item] = np.linalg.solve(known.T @ known + REGULARISATION * np.eye(SIZE - 1), known.T @ had[:, item])
    np.testing.assert_allclose(dense(fitted(logs)), np.maximum(expected, 0), rtol=1e-3, atol=1e-4)


def test_of_each_item_the_greatest_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [[0, 1], [0, 1], [0, 1], [0, 2], [0, 2], [0, 3]]
    whole = dense(fitted(logs))
    monkeypatch.setattr(module, "KEEP", 2)
    kept = dense(fitted(logs))
    assert np.flatnonzero(kept[0]).tolist() == [1, 2]
    assert (kept[kept > 0] == whole[kept > 0]).all()


def test_a_large_catalogue_is_fitted_on_its_most_frequent_items(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [[0, 3, 5], [3, 5], [5, 1], [3, 5]]
    monkeypatch.setattr(module, "MOST_ITEMS", 2)
    found = dense(fitted(logs))
    assert sorted(zip(*np.nonzero(found), strict=True)) == [(3, 5), (5, 3)]


def test_a_log_of_one_item_says_nothing() -> None:
    assert not dense(fitted([[2, 2, 2]])).any()
