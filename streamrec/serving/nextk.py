"""GPTRec's Next-K (Petrov & Macdonald, arXiv 2306.11114): the slate is written item by item, each knowing those before it.

Greedy, and never repeating: neither what the user must not be offered nor what the slate holds already. The
history is read once, into a cache. After the slate's last item the rest of the catalogue follows in the order
of the next step: filters may drop some of the slate without emptying it.

An item's log-probability is that of the slate up to and including it. So it falls from slot to slot, and a scorer that only
calibrates it keeps the order, which is the point of a slate.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.serving.cached import Cache, CachedGPT
from streamrec.serving.gptrec import GPTRec, Indexes
from streamrec.serving.trie import log_softmax
from streamrec.serving.vocabulary import Vocabulary


class NextK(GPTRec):
    """Implements Generator.

    Args:
        model: the graph of training.export_cached. Where it was tuned (training.tuning), its metadata say for how many items,
            ``slate``, what is written beyond these being ranked; and each item's ``tags``, which say what is alike.
        slate: how many items are written one by one.
        diversity: the dial of a tuned graph, 0 to 1; without meaning for another.
    """

    def __init__(
        self, model: bytes, vocabulary: Vocabulary, context: int, threads: int = 1, *, slate: int = 10, diversity: float = 0.0
    ) -> None:
        super().__init__(model, vocabulary, context, threads)
        self._network = CachedGPT(self._session)
        tuned = self._network.metadata.get("slate", 0)
        self.slate = max(1, min(slate, tuned or context // 2, len(vocabulary)))
        self._places = context if tuned else 0  # where a tuned slate's own places begin
        self._tags = tag_table(self._network.metadata.get("tags", []), len(vocabulary))
        self._dial = np.array([diversity], np.float32)
        if not tuned:  # what is written needs places after the history's
            self.context = context - self.slate + 1

    def _answer(
        self,
        items: NDArray[np.int64],
        lengths: NDArray[np.int64],
        had: Sequence[Indexes],
    ) -> NDArray[np.float32]:
        batch, columns = items.shape
        rows = np.arange(batch)
        allowed = np.ones((batch, len(self._vocabulary)), bool)
        for row, kept_out in zip(allowed, had, strict=True):
            row[np.asarray(kept_out, np.intp)] = False
        scores = np.full(allowed.shape, -np.inf)
        total = np.zeros(batch)
        alike = np.zeros(allowed.shape, np.float32)
        logits, first, cache = self._network.read(items, lengths, self.slate - 1, more=self._unmoved(batch))
        before = self._network.last(items, lengths)
        for step in range(self.slate):
            chances = log_softmax(logits[:, 0], allowed)
            chosen = chances.argmax(axis=1)  # of equal ones the lower index, which is the lower id
            left = allowed.any(axis=1)  # of few items a user may have had all
            total[left] += chances[rows, chosen][left]
            scores[rows[left], chosen[left]] = total[left]
            allowed[rows, chosen] = False
            if step + 1 == self.slate:
                break
            alike += jaccard(self._tags[chosen], self._tags)
            places = np.full(batch, self._places + step) if self._places else lengths + step
            logits, _, new = self._network.extend(
                chosen[:, None],
                before[:, None],
                places[:, None],
                np.ones((1, 1, 1), bool),
                np.zeros((batch, 1), np.int64),
                cache,
                {
                    "first": first,
                    "alike": alike[:, None],
                    "own": np.zeros(1, np.float32),
                    "dial": self._dial,
                    "step": np.array([step]),
                },
            )
            _remember(cache, new, columns + step)
            before = np.concatenate([chosen[:, None], before], axis=1)[:, : before.shape[1]]
        rest = log_softmax(logits[:, 0], allowed)
        scores = np.where(allowed, total[:, None] + rest, scores)
        return scores.astype(np.float32)

    def _unmoved(self, batch: int) -> dict[str, NDArray[Any]]:
        """Inputs of a tuned graph under which it says what the network says."""
        return {
            "first": np.zeros((batch, 1, self._network.dim), np.float32),
            "alike": np.zeros((batch, 1, len(self._vocabulary)), np.float32),
            "own": np.ones(1, np.float32),
            "dial": np.zeros(1, np.float32),
            "step": np.zeros(1, np.int64),
        }


def tag_table(tags: Sequence[Sequence[int]], items: int) -> NDArray[np.float32]:
    """(items, tags), 1 where an item has a tag; at least one column, of a tag that nobody has."""
    table = np.zeros((items, 1 + max((tag for each in tags for tag in each), default=0)), np.float32)
    for row, each in zip(table, tags, strict=False):
        row[list(each)] = 1
    return table


def jaccard(one: NDArray[np.float32], tags: NDArray[np.float32]) -> NDArray[np.float32]:
    """How like each item is to that of each row: (rows, tags) and (items, tags) to (rows, items), the same bits in any batch."""
    both = one @ tags.T  # counts: whole numbers, exact in any order
    either = one.sum(axis=1, keepdims=True) + tags.sum(axis=1) - both
    alike: NDArray[np.float32] = both / np.maximum(either, np.float32(1))
    return alike


def _remember(cache: Cache, new: Cache, column: int) -> None:
    for old, made in zip(cache.keys, new.keys, strict=True):
        old[:, :, :, column] = made[:, :, :, 0]
    for old, made in zip(cache.values, new.values, strict=True):
        old[:, :, column] = made[:, :, 0]
    cache.known[:, column] = True
