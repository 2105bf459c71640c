"""Laws that metrics, protocols, baselines and online counts keep on any log; what they are worth by hand is tested beside this."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.types import Item
from streamrec.evaluation import baselines as module
from streamrec.evaluation.baselines import baselines, ease, item_knn, markov
from streamrec.evaluation.metrics import MISSED, TOP, Tally, rank_of
from streamrec.evaluation.online import OnlineCounts
from streamrec.evaluation.protocols import split
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.counting import RECENT, count_interactions, recent_popularity

ITEMS = 6
SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=12)
RANKS = st.lists(st.one_of(st.integers(1, 30).map(float), st.just(MISSED)), min_size=1, max_size=20)
LOGS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, ITEMS - 1), st.integers(0, 9)), min_size=1, max_size=60)


def dataset(rows: list[tuple[int, int, int]]) -> Dataset:
    """Clicks as (user, item, time), in any order; every item is in the catalogue."""
    rows = sorted(rows, key=lambda row: row[2])
    ids = tuple(f"i{n}" for n in range(ITEMS))
    users, items, times = (np.array(column) for column in zip(*rows, strict=True))
    items_of = {item_id: Item(schema_version=1, item_id=item_id) for item_id in ids}
    of_users = tuple(f"u{n}" for n in range(5))
    clicks = np.zeros(len(rows), np.int8)
    return Dataset(of_users, ids, users.astype(np.int32), items.astype(np.int32), times, clicks, {}, items_of, "0" * 64)


@given(SCORES, st.data())
def test_a_rank_depends_on_no_order_and_a_tie_never_helps(scores: list[float], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    order = data.draw(st.permutations(range(len(scores))))
    rank = rank_of(np.array(scores), target)
    assert rank == rank_of(np.array([scores[place] for place in order]), order.index(target))
    above = sum(score > scores[target] for score in scores)
    tied = sum(score == scores[target] for score in scores)
    assert rank == above + tied  # the last place among those that tie
    assert rank_of(np.array([*scores, scores[target]]), target) == rank + 1


def tally(ranks: list[float]) -> Tally:
    made = Tally([["x"]] * 3, np.array([3, 2, 1]))
    for user, rank in enumerate(ranks):
        made.add(user, rank, [0, 1])
    return made


@given(RANKS, st.data())
def test_metrics_are_bounded_ordered_and_never_fall_when_a_rank_improves(ranks: list[float], data: st.DataObject) -> None:
    metrics = tally(ranks).metrics()
    assert 0 <= metrics.ndcg <= metrics.recall <= 1
    assert metrics.ndcg_interval[0] <= metrics.ndcg_interval[1]
    assert min(tally(ranks).gains) - 1e-6 <= metrics.ndcg_interval[0]
    assert metrics.ndcg_interval[1] <= max(tally(ranks).gains) + 1e-6
    place = data.draw(st.integers(0, len(ranks) - 1))
    better = ranks.copy()
    better[place] = max(1.0, min(ranks[place], 40.0) - data.draw(st.integers(0, 12)))
    improved = tally(better).metrics()
    assert improved.ndcg >= metrics.ndcg
    assert improved.recall >= metrics.recall
    assert improved.mrr >= metrics.mrr


@given(RANKS, st.randoms(use_true_random=False))
def test_a_lead_is_a_difference_with_an_interval_that_turns_with_it(ranks: list[float], random: object) -> None:
    other = ranks.copy()
    random.shuffle(other)  # type: ignore[attr-defined]
    ahead, behind = tally(ranks).lead_over(tally(other)), tally(other).lead_over(tally(ranks))
    assert ahead.ndcg == pytest.approx(-behind.ndcg, abs=2e-6)
    assert ahead.ndcg_interval == pytest.approx((-behind.ndcg_interval[1], -behind.ndcg_interval[0]), abs=2e-6)
    assert tally(ranks).lead_over(tally(ranks)).ndcg_interval == (0, 0)


def test_showing_items_as_often_as_they_are_chosen_is_no_popularity_bias() -> None:
    made = Tally([[], []], np.array([3, 1]))
    for slate in ([0], [0], [0], [1]):
        made.add(0, 1.0, slate)
    assert made.metrics().popularity_bias == 1.0
    popular, rare = Tally([[], []], np.array([3, 1])), Tally([[], []], np.array([3, 1]))
    popular.add(0, 1.0, [0])
    rare.add(0, 1.0, [1])
    assert popular.metrics().popularity_bias == pytest.approx(3 / 2.5, abs=1e-6)
    assert rare.metrics().popularity_bias == pytest.approx(1 / 2.5, abs=1e-6)


@given(LOGS)
def test_leave_one_out_asks_each_user_once_and_shows_nothing_of_what_it_asks(rows: list[tuple[int, int, int]]) -> None:
    log = dataset(rows)
    parts = split(log, "leave-one-out")
    asked = parts.asked
    sizes = np.bincount(log.user_index, minlength=5)
    assert sorted(parts.users[asked].tolist()) == np.flatnonzero(sizes >= 3).tolist()
    assert parts.skipped == {
        "users_with_fewer_than_3_events": int(((sizes > 0) & (sizes < 3)).sum()),
        "targets_already_seen": len(parts.repeats),
    }
    assert not parts.learned[asked].any()
    assert not parts.counted[asked].any()
    assert not parts.learned[parts.validation].any()
    for position in asked.tolist():
        history = parts.history(position)
        assert (parts.items[position] in history) == (position in parts.repeats)
        assert len(history) == sizes[parts.users[position]] - 1
        assert not parts.learned[position - 1]  # the last but one belongs to the input, and is learned when it has chosen
        assert parts.counted[position - 1]
        assert (parts.occurred_at[parts.start[position] : position] <= parts.occurred_at[position]).all()


@given(LOGS)
def test_time_split_learns_nothing_from_the_time_of_its_first_target_on(rows: list[tuple[int, int, int]]) -> None:
    log = dataset([*rows, (0, 0, -1)])  # something stands before
    parts = split(log, "time-split")
    asked = parts.asked
    assert not (set(asked.tolist()) & set(np.flatnonzero(parts.counted | parts.learned).tolist()))
    assert len(asked) + parts.counted.sum() == len(log)
    assert parts.occurred_at[parts.counted].max() < parts.occurred_at[asked].min()
    assert len(parts.repeats) == parts.skipped["targets_already_seen"]


def by_user(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    parts = split(dataset(rows), "none")
    return parts.users, parts.items


@given(LOGS, st.integers(0, 60))
def test_learning_one_by_one_is_counting_all_at_once(rows: list[tuple[int, int, int]], known: int) -> None:
    parts = split(dataset(rows), "none")
    start = parts.row < max(1, min(known, len(rows)))
    made = OnlineCounts(parts.users[start], parts.items[start], parts.by_time(start), ITEMS, keep=None)
    for position in np.flatnonzero(~start)[np.argsort(parts.row[~start])].tolist():
        made.learn(parts.history(position).tolist(), int(parts.items[position]))
    everything = np.ones(len(rows), bool)
    half_life = RECENT * start.sum() / len(rows)
    np.testing.assert_array_equal(made.interactions, count_interactions(parts.items, ITEMS))
    np.testing.assert_allclose(made.decayed_popularity, recent_popularity(parts.by_time(everything), ITEMS, half_life), rtol=1e-9)
    chain = markov(parts.users, parts.items, tuple(f"i{n}" for n in range(ITEMS)))
    for history in ([], [0], [1, 1], [3, 2, 5, 0, 1, 4, 2, 2, 2, 1, 3, 0]):
        np.testing.assert_allclose(made.probabilities(history, made.popularity), chain(np.array(history, int)), rtol=1e-5)


@given(LOGS)
def test_ease_is_its_closed_form(rows: list[tuple[int, int, int]]) -> None:
    users, items = by_user(rows)
    matrix = np.zeros((5, ITEMS))
    matrix[users, items] = 1
    inverse = np.linalg.inv(matrix.T @ matrix + 2.0 * np.eye(ITEMS))
    weights = np.eye(ITEMS) - inverse / np.diag(inverse)
    scores, known = ease(users, items, ITEMS, regularisation=2.0), np.unique(items)
    for item in known.tolist():
        np.testing.assert_allclose(scores(np.array([item]))[known], weights[item, known], atol=1e-5)


@given(LOGS)
def test_item_knn_is_the_cosine_of_the_items_users(rows: list[tuple[int, int, int]]) -> None:
    users, items = by_user(rows)
    matrix = np.zeros((5, ITEMS))
    matrix[users, items] = 1
    norms = np.maximum(np.sqrt(matrix.sum(axis=0)), 1)
    cosine = matrix.T @ matrix / norms / norms[:, None]
    np.fill_diagonal(cosine, 0)
    scores = item_knn(users, items, ITEMS)
    for item in range(ITEMS):
        np.testing.assert_allclose(scores(np.array([item])), cosine[item], atol=1e-9)


@given(LOGS)
def test_every_baseline_scores_every_item_and_gives_a_fresh_array(rows: list[tuple[int, int, int]]) -> None:
    log = dataset(rows)
    parts = split(log, "none")
    made, left_out = baselines(parts, parts.counted, log)
    assert set(made) == {"popularity", "decayed_popularity", "markov", "item_knn", "ease"}
    assert left_out == {}
    for baseline in made.values():
        first = baseline(parts.items[:3])
        assert first.shape == (ITEMS,)
        assert not np.isnan(first).any()
        kept = first.copy()
        first[:] = -np.inf
        np.testing.assert_array_equal(baseline(parts.items[:3]), kept)


def test_a_catalogue_too_large_for_ease_is_said_not_died_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EASE_MOST_ITEMS", 2)
    log = dataset([(0, 0, 1), (0, 1, 2), (1, 2, 3)])
    parts = split(log, "none")
    made, left_out = baselines(parts, np.ones(3, bool), log)
    assert "ease" not in made
    assert "3 × 3 items" in left_out["ease"]
    assert TOP == 10
