"""What a protocol withholds from training, and what it then asks. It knows positions in the log, no ids and no model."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.evaluation.memory import Memory
from streamrec.eventlog.dataset import Dataset

Holdout = Literal["none", "leave-one-out", "time-split"]
TIME_SPLIT = 0.8  # of the interactions come before the test
VALIDATION = 0.05  # of what training may see, the newest part


@dataclass(frozen=True, eq=False)
class Split:
    """Every interaction of a log, those of one user together and in order, and what may be done with each.

    ``learned`` are for what is chosen by the validation, ``counted``, these and the validation, for what is served. Targets
    are positions; the history of a target is everything of its user before it.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    row: NDArray[np.int64]  # in the data set, which is ordered by time
    start: NDArray[np.int64]  # the user's first position
    learned: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    repeats: NDArray[np.int64]  # what would be test if the user had not had it before
    memory: Memory
    skipped: dict[str, int]  # what was left out of the test, by reason

    @property
    def asked(self) -> NDArray[np.int64]:
        """Test and repeats."""
        return np.sort(np.concatenate([self.test, self.repeats]))

    def history(self, position: int) -> NDArray[np.int32]:
        """The items that the user had before."""
        return self.items[self.start[position] : position]

    def had(self, position: int) -> NDArray[np.int32]:
        """Those of them that a session remembers: they are not recommended again."""
        return self.memory.had(position)

    def by_time(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The items of the interactions in ``mask``, in the order of the data set."""
        return self.items[mask][np.argsort(self.row[mask])]


def split(dataset: Dataset, holdout: Holdout) -> Split:
    """Parts the log as ``holdout`` asks.

    - ``leave-one-out``: each user's last interaction is the test, the one before it the validation. Users with fewer than
      three are only learned from, and counted.
    - ``time-split``: everything from the time of the 80 % interaction on is the test; the newest 5 % before it the validation.
    - ``none``: the newest 5 % are the validation.

    A target that its user had before is left out if the session remembers it: only what it has forgotten may
    be recommended again.

    What the validation holds has chosen before it is learned: see training.train.
    """
    if holdout not in get_args(Holdout):
        raise UserError(f"holdout {holdout!r}: choose {', '.join(get_args(Holdout))}")
    rows = np.flatnonzero(dataset.is_interaction)
    rows = rows[np.argsort(dataset.user_index[rows], kind="stable")]
    if len(rows) == 0:
        raise UserError("the data set has no clicks or listens, only impressions; there is nothing to learn from")
    users, items, occurred_at = dataset.user_index[rows], dataset.item_index[rows], dataset.occurred_at[rows]
    first = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(first, append=len(users))
    start, end = np.repeat(first, sizes), np.repeat(first + sizes, sizes)
    position = np.arange(len(users))
    skipped = {}
    if holdout == "leave-one-out":
        asked = (end - start) >= 3
        test, validation = asked & (position == end - 1), asked & (position == end - 2)
        counted = ~test
        learned = counted & ~validation
        skipped["users_with_fewer_than_3_events"] = int((sizes < 3).sum())
    else:
        test = occurred_at >= _time_of(TIME_SPLIT, occurred_at) if holdout == "time-split" else np.zeros(len(users), bool)
        counted = ~test
        if not counted.any():
            raise UserError("time-split: the first 80 % of the interactions have one time; nothing is left to learn from")
        validation = counted & (occurred_at >= _time_of(1 - VALIDATION, occurred_at[counted]))
        learned = counted & ~validation
    memory = Memory(users, items, start, dataset.item_ids)
    again = memory.repeats()
    skipped["targets_already_seen"] = int((test & again).sum())
    return Split(
        users=users,
        items=items,
        occurred_at=occurred_at,
        row=rows,
        start=start,
        learned=learned,
        counted=counted,
        validation=np.flatnonzero(validation & ~again),
        test=np.flatnonzero(test & ~again),
        repeats=np.flatnonzero(test & again),
        memory=memory,
        skipped=skipped,
    )


def _time_of(part: float, occurred_at: NDArray[np.int64]) -> np.int64:
    ordered = np.sort(occurred_at)
    time: np.int64 = ordered[min(int(part * len(ordered)), len(ordered) - 1)]
    return time
