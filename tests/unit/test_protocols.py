"""What each protocol withholds, and what it asks."""

import msgspec
import numpy as np
import pytest

from streamrec.core.errors import UserError
from streamrec.core.session import SessionRules
from streamrec.core.types import Item
from streamrec.evaluation.memory import KEPT
from streamrec.evaluation.protocols import Holdout, Split, split
from streamrec.eventlog.dataset import EVENT_TYPES, Dataset


def dataset(*rows: str) -> Dataset:
    """Rows like "anna a 3" (a click; a fourth word is another event type), in the order of time."""
    fields = [row.split() for row in rows]
    users, items = sorted({field[0] for field in fields}), sorted({field[1] for field in fields})
    return Dataset(
        user_ids=tuple(users),
        item_ids=tuple(items),
        user_index=np.array([users.index(field[0]) for field in fields], np.int32),
        item_index=np.array([items.index(field[1]) for field in fields], np.int32),
        occurred_at=np.array([int(field[2]) for field in fields], np.int64),
        event_type=np.array([EVENT_TYPES.index((field[3:] or ["click"])[0]) for field in fields], np.int8),
        extras={},
        items={item: Item(schema_version=1, item_id=item) for item in items},
        sha256="0" * 64,
    )


def named(parts: Split, of: Dataset, positions: np.ndarray) -> list[str]:
    positions = np.flatnonzero(positions) if positions.dtype == bool else positions
    return sorted(f"{of.user_ids[parts.users[place]]} {of.item_ids[parts.items[place]]}" for place in positions)


def test_leave_one_out_asks_for_the_last_and_keeps_the_one_before_from_training() -> None:
    log = dataset("anna a 1", "bert a 2", "anna b 3", "bert b 3", "anna c 4", "anna d 4", "bert c 9", "cleo a 9", "cleo b 9")
    parts = split(log, "leave-one-out")
    assert named(parts, log, parts.test) == ["anna d", "bert c"]
    assert named(parts, log, parts.validation) == ["anna c", "bert b"]
    assert named(parts, log, parts.learned) == ["anna a", "anna b", "bert a", "cleo a", "cleo b"]
    assert named(parts, log, parts.counted) == sorted([*named(parts, log, parts.learned), "anna c", "bert b"])
    assert parts.skipped == {"users_with_fewer_than_3_events": 1, "targets_already_seen": 0}
    anna = next(place for place in parts.test if log.user_ids[parts.users[place]] == "anna")
    assert [log.item_ids[item] for item in parts.history(anna)] == ["a", "b", "c"]  # the last but one belongs to the input


def test_of_equal_times_the_later_row_is_the_last() -> None:
    log = dataset("anna c 4", "anna b 4", "anna a 4")
    assert named(split(log, "leave-one-out"), log, split(log, "leave-one-out").test) == ["anna a"]


def test_time_split_withholds_everything_from_the_time_of_the_80_percent_interaction_on() -> None:
    log = dataset(*[f"anna i{n} {n}" for n in range(7)], "anna i7 8", "bert i0 8", "bert i1 9")
    parts = split(log, "time-split")
    assert named(parts, log, parts.test) == ["anna i7", "bert i0", "bert i1"]  # the 80 % one is bert's first; anna's has its time
    assert named(parts, log, parts.validation) == ["anna i6"]
    assert named(parts, log, parts.counted) == [f"anna i{n}" for n in range(7)]
    assert named(parts, log, parts.learned) == [f"anna i{n}" for n in range(6)]
    last = parts.test[-1]
    assert [log.item_ids[item] for item in parts.history(last)] == ["i0"]  # also what happened after the split


def test_impressions_are_neither_history_nor_target() -> None:
    log = dataset("anna a 1", "anna b 2 impression", "anna c 3", "anna d 4", "anna e 5 impression")
    parts = split(log, "leave-one-out")
    assert named(parts, log, parts.test) == ["anna d"]
    assert [log.item_ids[item] for item in parts.history(parts.test[0])] == ["a", "c"]


def test_targets_that_were_seen_before_are_skipped_and_counted() -> None:
    log = dataset("anna a 1", "anna b 2", "anna a 3", "bert a 3", "bert b 4", "bert c 5")
    parts = split(log, "leave-one-out")
    assert named(parts, log, parts.test) == ["bert c"]
    assert parts.skipped["targets_already_seen"] == 1


def test_without_a_holdout_nothing_is_a_test_and_the_newest_are_kept_for_validation() -> None:
    log = dataset(*[f"anna i{n:02} {n}" for n in range(40)])
    parts = split(log, "none")
    assert len(parts.test) == 0
    assert named(parts, log, parts.validation) == ["anna i38", "anna i39"]
    assert parts.counted.all()


@pytest.mark.parametrize("holdout", ["none", "time-split", "leave-one-out"])
def test_only_what_a_session_has_forgotten_is_asked_again(holdout: Holdout) -> None:
    """The validation without a holdout, the test of each protocol: all remember what a session does."""
    remembered = KEPT + SessionRules().max_had

    def ask_again(between: int) -> tuple[bool, Split]:
        log = dataset("anna x 0", *[f"anna i{n} 1" for n in range(between)], "anna x 2")
        parts = split(log, holdout)
        return between + 1 in (parts.validation if holdout == "none" else parts.test), parts

    forgotten, parts = ask_again(remembered)
    assert forgotten
    assert remembered + 1 not in parts.repeats
    assert len(np.unique(parts.had(remembered + 1))) == remembered
    forgotten, parts = ask_again(remembered - 1)
    assert not forgotten
    assert (remembered in parts.repeats) == (holdout != "none")


def test_popularity_is_counted_in_the_order_of_time_across_users() -> None:
    log = dataset("bert b 1", "anna a 2", "bert c 3", "anna d 4")
    parts = split(log, "none")
    assert [log.item_ids[item] for item in parts.by_time(parts.counted)] == ["b", "a", "c", "d"]


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match="one time"):
        split(dataset("anna a 1", "anna b 1"), "time-split")
    with pytest.raises(UserError, match="only impressions"):
        split(dataset("anna a 1 impression"), "none")
    with pytest.raises(UserError, match="choose none"):
        split(dataset("anna a 1"), msgspec.convert("sideways", str))  # type: ignore[arg-type]
