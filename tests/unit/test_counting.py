"""Transitions and popularity against counts made by hand."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.serving import counting
from streamrec.serving.counting import Pairs, as_transitions, count_pairs, recent_popularity, sum_pairs
from streamrec.serving.popularity import Popularity
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary

SIZE = 5
IDS = [f"i{n}" for n in range(SIZE)]
LOGS = st.lists(st.lists(st.integers(0, SIZE - 1), max_size=12), min_size=1, max_size=4)


def flat(logs: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    users = np.array([user for user, log in enumerate(logs) for _ in log], np.int32)
    return users, np.array([item for log in logs for item in log], np.int32)


def transitions(logs: list[list[int]], window: int = 10, keep: int = SIZE) -> Transitions:
    users, items = flat(logs)
    counts = as_transitions(count_pairs(users, items, SIZE, window=window), SIZE, keep)
    return Transitions(Vocabulary(IDS), counts, np.full(SIZE, 1 / SIZE), np.bincount(items, minlength=SIZE), window)


def brute_force(logs: list[list[int]], window: int, decay: float) -> tuple[Counter[tuple[int, int]], dict[tuple[int, int], float]]:
    """For each interaction, each item before it within the window once, by its nearest occurrence."""
    times: Counter[tuple[int, int]] = Counter()
    weight: dict[tuple[int, int], float] = defaultdict(float)
    for log in logs:
        for place, follower in enumerate(log):
            nearest = {leader: lag for lag in range(window, 0, -1) if place >= lag for leader in [log[place - lag]]}
            for leader, lag in nearest.items():
                times[leader, follower] += 1
                weight[leader, follower] += decay ** (lag - 1)
    return times, weight


@given(LOGS, st.integers(1, 4), st.sampled_from([0.5, 1.0]))
def test_pairs_are_what_counting_by_hand_gives(logs: list[list[int]], window: int, decay: float) -> None:
    pairs = count_pairs(*flat(logs), SIZE, window=window, decay=decay)
    times, weight = brute_force(logs, window, decay)
    found = list(zip(pairs.leader.tolist(), pairs.follower.tolist(), strict=True))
    assert found == sorted(times)
    assert dict(zip(found, pairs.times.tolist(), strict=True)) == dict(times)
    np.testing.assert_allclose(pairs.weight, [weight[pair] for pair in found])
    direct = brute_force(logs, 1, decay)[0]
    assert pairs.direct.tolist() == [direct[pair] for pair in found]


@given(LOGS, st.integers(1, 4), st.integers(1, SIZE**2))
def test_sorting_counts_what_a_table_counts(logs: list[list[int]], window: int, band: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counting, "BAND", band)
        table = count_pairs(*flat(logs), SIZE, window=window)
        patched.setattr(counting, "TABLE", 0)
        assert_same(count_pairs(*flat(logs), SIZE, window=window), table)


@given(LOGS, st.integers(0, 4))
def test_pairs_of_two_parts_are_summed_and_taken_away(logs: list[list[int]], cut: int) -> None:
    users, items = flat(logs)
    whole = count_pairs(users, items, SIZE)
    one, other = (count_pairs(users[of], items[of], SIZE) for of in (users < cut, users >= cut))
    assert_same(sum_pairs([one, other], [], SIZE), whole)
    assert_same(sum_pairs([whole], [one], SIZE), other)


def test_counts_do_not_fall_below_nothing() -> None:
    """A late item stands between two whose pair was pruned, so there is nothing to take it from."""
    users = np.zeros(12, np.int32)
    apart = np.array([0, *[2] * 10, 1])
    taken = count_pairs(users[:2], np.array([0, 1]), SIZE)
    made = sum_pairs([count_pairs(users, apart, SIZE)], [taken], SIZE)
    assert (made.times > 0).all()
    assert (made.direct >= 0).all()
    assert (made.weight > 0).all()
    assert (0, 1) not in zip(made.leader.tolist(), made.follower.tolist(), strict=True)


def assert_same(one: Pairs, other: Pairs) -> None:
    for name in ("leader", "follower", "times", "direct"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    np.testing.assert_allclose(one.weight, other.weight)


@given(LOGS, st.integers(1, 4))
def test_followed_and_interactions_tell_the_plain_counts(logs: list[list[int]], window: int) -> None:
    log = transitions(logs, window)
    times, _ = brute_force(logs, window, 1)
    assert log.window == window
    for a in range(SIZE):
        assert log.interactions(IDS[a]) == sum(each.count(a) for each in logs)
        for b in range(SIZE):
            assert log.followed(IDS[a], by=IDS[b]) == times[a, b]


def test_what_the_log_does_not_know_was_followed_by_nothing() -> None:
    log = transitions([[0, 1]])
    assert (log.followed("new", by="i1"), log.followed("i0", by="new"), log.interactions("new")) == (0, 0, 0)


def test_only_the_heaviest_followers_are_kept_and_shares_still_count_the_rest() -> None:
    log = transitions([[0, 1], [0, 1], [0, 2], [0, 3], [1, 4]], keep=1)
    assert [log.followed("i0", by=item) for item in IDS] == [0, 2, 0, 0, 0]
    assert log.followed("i1", by="i4") == 1
    spread = log.probabilities([0])
    np.testing.assert_allclose(spread[1] - spread[2], 0.9 * 0.5, rtol=1e-6)


@given(LOGS, st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=15))
def test_probabilities_are_a_distribution_and_none_is_zero(logs: list[list[int]], history: list[int]) -> None:
    if all(len(set(log)) == len(log) == SIZE for log in logs):
        return
    chances = transitions(logs).probabilities(history)
    assert (chances > 0).all()
    assert chances.sum() <= 1 + 1e-6  # less where an item of the history was never followed


def test_the_last_item_weighs_most() -> None:
    log = transitions([[0, 1], [2, 3]])
    assert log.propose([["i0", "i2"]], 1)[0].candidates[0].item_id == "i3"
    assert log.propose([["i2", "i0"]], 1)[0].candidates[0].item_id == "i1"


def test_transitions_know_nothing_of_an_unknown_history_and_popularity_always_answers() -> None:
    assert transitions([[0, 1]]).propose([["new"], []], 3) == [transitions([[0, 1]]).propose([[]], 3)[0]] * 2
    assert transitions([[0, 1]]).propose([["new"]], 3)[0].candidates == ()
    popularity = Popularity(Vocabulary(IDS), np.array([0.1, 0.3, 0.3, 0.2, 0.1]))
    proposals = popularity.propose([["new"], []], 4)
    assert [[candidate.item_id for candidate in proposal.candidates] for proposal in proposals] == [["i1", "i2", "i3", "i0"]] * 2
    assert proposals[0].source == "popularity"


@given(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=20))
def test_recent_popularity_is_a_distribution_in_which_the_newest_counts_most(items: list[int]) -> None:
    shares = recent_popularity(np.array(items), SIZE)
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(), 1)
    assert shares.argmax() == items[-1] or items.count(items[-1]) < items.count(int(shares.argmax()))
