"""GPTRec over sub-tokens (Petrov & Macdonald, arXiv 2306.11114): an item is a string of t tokens, chosen one after the other.

An item's probability is the product of its sub-tokens', each among those that still lead to an item: what does not exist cannot
be proposed, and all items' probabilities add up to one. Only the most probable branches are followed with the network; the items
of another branch share its probability evenly.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamrec.serving.cached import Cache, CachedGPT
from streamrec.serving.gptrec import GPTRec, Indexes
from streamrec.serving.topk import best
from streamrec.serving.trie import Level, grow, log_softmax
from streamrec.serving.vocabulary import Vocabulary

BRANCHES = 64  # that are followed at each depth: the ten best items of ml-1m are then those of an exhaustive search


class SubTokens(GPTRec):
    """Implements Generator.

    Args:
        model: the graph of training.export_cached; its metadata hold ``codes``, each item's sub-tokens, and ``values``.
    """

    def __init__(self, model: bytes, vocabulary: Vocabulary, context: int, threads: int = 1, branches: int = BRANCHES) -> None:
        super().__init__(model, vocabulary, context, threads)
        self._network = CachedGPT(self._session)
        self._values = int(self._network.metadata["values"])
        codes = np.array(self._network.metadata["codes"], np.int64)
        self._levels = grow(codes, self._values)
        self._tokens = codes + self._values * np.arange(codes.shape[1])  # each sub-token has a vocabulary of its own
        self._branches = branches

    def _answer(
        self,
        items: NDArray[np.int64],
        lengths: NDArray[np.int64],
        had: Sequence[Indexes],
    ) -> NDArray[np.float32]:
        batch, depths = len(items), self._tokens.shape[1]
        tokens = self._tokens[items].reshape(batch, -1)
        logits, _, cache = self._network.read(tokens, lengths * depths, repeat=depths)
        last = self._network.last(items, lengths)
        root = self._levels[0]
        scores = log_softmax(logits[:, 0, : self._values], root.valid)[:, root.value]
        for depth, level in enumerate(self._levels[1:], start=1):
            followed = _most_probable(level, scores, self._branches)
            slot = np.full(scores.shape, -1)
            np.put_along_axis(slot, followed, np.arange(followed.shape[1])[None], axis=1)
            conditional = np.broadcast_to(level.share, (batch, len(level.parent)))
            if followed.shape[1]:
                chances = self._follow(level, depth, followed, lengths, last, cache)
                of = slot[:, level.parent]
                conditional = np.where(of >= 0, chances[np.arange(batch)[:, None], of, level.value], conditional)
            scores = scores[:, level.parent] + conditional
        return scores.astype(np.float32)

    def _follow(
        self,
        level: Level,
        depth: int,
        nodes: NDArray[np.intp],
        lengths: NDArray[np.int64],
        last: NDArray[np.int64],
        cache: Cache,
    ) -> NDArray[np.float64]:
        """What comes after each of these nodes' prefixes: (batch, nodes, values). All of them are one run, side by side."""
        batch, width = nodes.shape
        tokens = (level.prefixes[nodes] + self._values * np.arange(depth)).reshape(batch, -1)
        branch, step = np.divmod(np.arange(width * depth), depth)
        sees = (branch[:, None] == branch) & (step[:, None] >= step)
        asked = np.broadcast_to(np.arange(width) * depth + depth - 1, (batch, width))
        places = np.broadcast_to(lengths[:, None], tokens.shape)
        before = np.where(last[:, None] >= 0, self._tokens[last[:, None], step[:, None]], -1)  # of the same depth
        logits, _, _ = self._network.extend(tokens, before, places, sees[None], asked, cache)
        of_depth = slice(depth * self._values, (depth + 1) * self._values)
        return log_softmax(logits[:, :, of_depth], level.valid[nodes])


def _most_probable(level: Level, scores: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Of each row the most probable nodes that branch."""
    among = scores[:, level.branching]
    return np.array([level.branching[best(row, most)] for row in among], np.intp).reshape(len(scores), -1)
