"""What a session remembers of its user at each position of a log: `core.session` and `core.had`, by position.

The history is the last interactions. Of the items that have left it, the latest are known by their hashes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.core.had import item_hash
from streamrec.core.session import SessionRules

USUAL = SessionRules()
KEPT = USUAL.max_history  # interactions in a history


class Memory:
    """Looks up what a user had before a position. Items are indexes of the data set.

    Args:
        users, items: every interaction of a log, those of one user together and in order.
        start: the first position of each interaction's user.
        item_ids: the data set's.
    """

    def __init__(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        start: NDArray[np.int64],
        item_ids: Sequence[str],
        rules: SessionRules = USUAL,
    ) -> None:
        self._items = items
        self._start = start
        self._rules = rules
        hashes = np.fromiter(map(item_hash, item_ids), np.uint32, len(item_ids))
        _, hash_index, times = np.unique(hashes, return_inverse=True, return_counts=True)
        self._alike = hash_index if times.max(initial=1) > 1 else None  # by item; None if no two share a hash
        position = np.arange(len(items))
        self._previous, following = _neighbours(users, items)
        leaves = following > position + rules.max_history  # else the history still holds the item then
        self._until = np.full(len(items), -1, np.int64)
        places = np.flatnonzero(leaves)
        _, again = _neighbours(users[places], hash_index[items[places]])
        self._until[places] = np.append(places, len(items))[again]

    def had(self, position: int) -> NDArray[np.int32]:
        """The items that the session before ``position`` remembers; an item may stand there twice."""
        start, left = int(self._start[position]), position - self._rules.max_history
        history = self._items[max(start, left) : position]
        if left <= start:
            return history
        beyond = start + np.flatnonzero(self._until[start:left] >= left)[-self._rules.max_had :]
        remembered = self._items[beyond]
        if self._alike is not None:
            remembered = np.flatnonzero(np.isin(self._alike, self._alike[remembered])).astype(np.int32)
        return np.concatenate([remembered, history])

    def repeats(self) -> NDArray[np.bool_]:
        """Which interactions are with an item that the session before them remembers."""
        again = self._previous >= 0
        certain = self._rules.max_history + self._rules.max_had  # no nearer item is forgotten
        doubtful = again & (np.arange(len(again)) - self._previous > certain)
        if self._alike is not None:
            doubtful |= np.bincount(self._alike)[self._alike][self._items] > 1
        for position in np.flatnonzero(doubtful).tolist():
            again[position] = self._items[position] in self.had(position)
        return again


def _neighbours(users: NDArray[Any], items: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each interaction's user had its item before, and has it next; -1 and the length if never."""
    order = np.lexsort((items, users))  # stable: the positions of one user and item stay in order
    same = (users[order][1:] == users[order][:-1]) & (items[order][1:] == items[order][:-1])
    earlier, later = order[:-1][same], order[1:][same]
    before, after = np.full(len(items), -1, np.int64), np.full(len(items), len(items), np.int64)
    before[later], after[earlier] = earlier, later
    return before, after
