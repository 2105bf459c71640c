"""Items as the models know them: `item_id` outside, `item_index` inside, and the one place that converts."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamrec.core.generate import Had
from streamrec.core.had import item_hash


class Vocabulary:
    """The items that were trained on, in the order of their ids: ties by index are ties by id."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        if list(item_ids) != sorted(set(item_ids)):
            raise ValueError("item ids must be sorted, each once")
        self.item_ids = tuple(item_ids)
        self.index = {item_id: index for index, item_id in enumerate(self.item_ids)}
        hashes = np.fromiter(map(item_hash, self.item_ids), np.uint32, len(self.item_ids))
        self._by_hash = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._by_hash]
        self._next_has_it_too = np.append(self._hashes[1:] == self._hashes[:-1], False)

    def __len__(self) -> int:
        return len(self.item_ids)

    def known(self, history: Sequence[str]) -> list[int]:
        """The indexes of the history's items, oldest first; items that were not trained on are left out."""
        index = self.index
        return [index[item_id] for item_id in history if item_id in index]

    def had(self, had: Had) -> NDArray[np.intp]:
        """The indexes of what a user had, each once, in order; what was not trained on is left out."""
        index = self.index
        mask = np.zeros(len(self), bool)
        mask[[index[item_id] for item_id in had.items if item_id in index]] = True
        if len(self) and had.hashes:
            wanted = np.sort(np.frombuffer(array("I", had.hashes), np.uint32))  # sorted, for speed
            place = np.searchsorted(self._hashes, wanted)
            place = place[self._hashes.take(place, mode="clip") == wanted]
            while len(place):
                mask[self._by_hash[place]] = True
                place = place[self._next_has_it_too[place]] + 1
        return np.flatnonzero(mask)
