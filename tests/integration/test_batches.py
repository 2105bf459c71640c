"""Batches of real shapes: everything is learned once an epoch, and there are few shapes, because each costs memory."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

from streamrec.training.batches import STEP, TOKENS, Batch, batches

CONTEXT = 35
SIZES = [1, 2, 3, 34, 35, 36, 37, 300, *range(2, 90)]  # interactions of each user


def epoch(users: np.ndarray, items: np.ndarray, seed: int = 0) -> list[Batch]:
    found: list[Batch] = []
    for batch in batches(users, items, CONTEXT, seed):
        found.append(batch)
        if sum((each.targets >= 0).sum() for each in found) >= len(items) - len(SIZES):
            return found
    raise AssertionError("batches have no end")


@pytest.fixture
def log() -> tuple[np.ndarray, np.ndarray]:
    users = np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES)
    return users, np.arange(len(users))


def test_every_interaction_but_a_users_first_is_a_target_once(log: tuple[np.ndarray, np.ndarray]) -> None:
    users, items = log
    targets = np.concatenate([batch.targets[batch.targets >= 0] for batch in epoch(users, items)])
    assert sorted(targets) == [item for item in items if item and users[item - 1] == users[item]]


def test_a_target_comes_after_its_item(log: tuple[np.ndarray, np.ndarray]) -> None:
    for batch in epoch(*log):
        asked = batch.targets >= 0
        assert (batch.targets[asked] == batch.items[asked] + 1).all()


def test_batches_have_few_shapes_and_a_bounded_size(log: tuple[np.ndarray, np.ndarray]) -> None:
    made = epoch(*log)
    widths = {batch.items.shape[1] for batch in made}
    assert widths <= {STEP, 2 * STEP, 3 * STEP, CONTEXT}
    assert all(batch.items.size <= TOKENS for batch in made)
    assert sum(len(batch.items) < TOKENS // batch.items.shape[1] for batch in made) <= 1  # what is left over
