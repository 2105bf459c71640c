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
    are positions; the history of a target is everything of its user before it. A skip is history and nothing
    else: it is neither learned, nor counted, nor a target.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    row: NDArray[np.int64]  # in the data set, which is ordered by time
    start: NDArray[np.int64]  # the user's first position
    is_skip: NDArray[np.bool_]
    known: NDArray[np.bool_]  # counted by the bundle that is continued; it validates nothing
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

    @property
    def new(self) -> NDArray[np.bool_]:
        """Which of ``counted`` no bundle has counted before."""
        return self.counted & ~self.known

    def past(self, position: int) -> NDArray[np.int64]:
        """The user's earlier positions, oldest first."""
        return np.arange(self.start[position], position)

    def history(self, position: int) -> NDArray[np.int32]:
        """The items that the user had before."""
        return self.items[self.start[position] : position]

    def heard(self, past: NDArray[np.int64]) -> NDArray[np.int32]:
        """The items at these positions that tell of a taste: without skips, unless there is nothing else."""
        played = past[~self.is_skip[past]]
        return self.items[played if len(played) else past]

    def had(self, position: int) -> NDArray[np.int32]:
        """Those of them that a session remembers: they are not recommended again."""
        return self.memory.had(position)

    def by_time(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        """The items of the interactions in ``mask``, in the order of the data set."""
        return self.items[mask][np.argsort(self.row[mask])]


def split(dataset: Dataset, holdout: Holdout, known: NDArray[np.bool_] | None = None) -> Split:
    """Parts the log as ``holdout`` asks. Skips do not count as interactions here.

    - ``leave-one-out``: each user's last interaction is the test, the one before it the validation. Users with fewer than
      three are only learned from, and counted.
    - ``time-split``: everything from the time of the 80 % interaction on is the test; the newest 5 % before it the validation.
    - ``none``: the newest 5 % are the validation.

    A target that its user had before is left out if the session remembers it: only what it has forgotten may
    be recommended again.

    What the validation holds has chosen before it is learned: see training.train.

    Args:
        known: the rows of the data set that a bundle which is continued has counted; the validation is of the others.
    """
    if holdout not in get_args(Holdout):
        raise UserError(f"holdout {holdout!r}: choose {', '.join(get_args(Holdout))}")
    rows = np.flatnonzero(dataset.is_interaction)
    rows = rows[np.argsort(dataset.user_index[rows], kind="stable")]
    is_skip = dataset.is_skip[rows]
    if is_skip.all():
        only = "skips, which teach nothing" if len(rows) else "impressions"
        raise UserError(f"the data set has no clicks or listens, only {only}; there is nothing to learn from")
    users, items, occurred_at = dataset.user_index[rows], dataset.item_index[rows], dataset.occurred_at[rows]
    first = np.flatnonzero(np.diff(users, prepend=-1))
    start = np.repeat(first, np.diff(first, append=len(users)))
    plays, new = ~is_skip, np.ones(len(rows), bool) if known is None else ~known[rows]
    skipped = {}
    if holdout == "leave-one-out":
        sizes, later = _sizes_and_later(plays, first)
        asked = plays & (sizes >= 3)
        test, validation = asked & (later == 0), asked & (later == 1) & new
        counted = plays & ~test
        skipped["users_with_fewer_than_3_events"] = int((sizes[first] < 3).sum())
    else:
        test = np.zeros(len(users), bool)
        if holdout == "time-split":
            test = plays & (occurred_at >= _time_of(TIME_SPLIT, occurred_at[plays]))
        counted = plays & ~test
        if not counted.any():
            raise UserError("time-split: the first 80 % of the interactions have one time; nothing is left to learn from")
        validation = counted & new
        if validation.any():
            validation &= occurred_at >= _time_of(1 - VALIDATION, occurred_at[validation])
    memory = Memory(users, items, start, dataset.item_ids)
    again = memory.repeats()
    skipped["targets_already_seen"] = int((test & again).sum())
    return Split(
        users=users,
        items=items,
        occurred_at=occurred_at,
        row=rows,
        start=start,
        is_skip=is_skip,
        known=~new,
        learned=counted & ~validation,
        counted=counted,
        validation=np.flatnonzero(validation & ~again),
        test=np.flatnonzero(test & ~again),
        repeats=np.flatnonzero(test & again),
        memory=memory,
        skipped=skipped,
    )


def _sizes_and_later(counts: NDArray[np.bool_], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each position how many interactions of its user count, and how many of these come after it."""
    sizes = np.add.reduceat(counts.astype(np.int64), first)
    of_each = np.diff(first, append=len(counts))
    until = np.cumsum(counts)
    return np.repeat(sizes, of_each), np.repeat(np.cumsum(sizes), of_each) - until


def _time_of(part: float, occurred_at: NDArray[np.int64]) -> np.int64:
    ordered = np.sort(occurred_at)
    time: np.int64 = ordered[min(int(part * len(ordered)), len(ordered) - 1)]
    return time
