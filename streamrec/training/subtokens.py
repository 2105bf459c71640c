"""The network over sub-tokens: GPT-2 that reads and writes each item as a string of t tokens. It knows no data and no loop."""

import json

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from streamrec.serving.subtokens import SubTokens
from streamrec.serving.trie import grow
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training.export_cached import to_cached_onnx
from streamrec.training.network import Network, Softmax

AT_ONCE = 32  # histories in a validation: of 200 items, each is 800 tokens that look at each other


class SubTokenNetwork(Network):
    """A network whose vocabulary are the sub-tokens; the t tokens of an item share its place.

    The loss is that of the item: each sub-token's among those that lead to an item. Where only one does, there is none.

    Args:
        codes: (items, t), each item's sub-tokens, below ``values``.
    """

    checked = 256  # an answer takes twenty times as long as with a token for each item

    def __init__(
        self, codes: NDArray[np.int64], values: int, *, dim: int, layers: int, heads: int, context: int, dropout: float
    ) -> None:
        depths = codes.shape[1]
        super().__init__(values * depths, dim=dim, layers=layers, heads=heads, context=context + 1, dropout=dropout)
        self.codes, self.values, self.depths = codes, values, depths
        self.stride = depths
        self._levels = [(torch.from_numpy(level.node), torch.from_numpy(level.valid)) for level in grow(codes, values)]
        self._tokens = torch.from_numpy(codes + values * np.arange(depths))

    def forward(self, items: Tensor) -> Tensor:
        """The state after each sub-token: (batch, t * steps, dim) for items (batch, steps)."""
        tokens = self._tokens[items].flatten(1)
        places = torch.arange(tokens.shape[1])[None] // self.depths
        # Without a mask of its own, transformers takes places that do not count up for sequences packed into one row.
        everything = torch.ones_like(tokens)
        states: Tensor = self.gpt2(
            inputs_embeds=self.embed(tokens), position_ids=places, attention_mask=everything
        ).last_hidden_state
        return states

    def loss(self, items: Tensor, targets: Tensor, precision: torch.dtype, softmax: Softmax) -> Tensor:
        """Mean cross-entropy of the targets (-1 where there is none), each the sum over its sub-tokens.

        The softmaxes are small ones of its own; ``softmax`` is not used.
        """
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            states = self(torch.cat([items[:, :1], targets.clamp_min(0)], dim=1))  # the targets are the items, one step earlier
            return -self._log_probs(states, targets).mean()

    def _log_probs(self, states: Tensor, targets: Tensor) -> Tensor:
        """Of each target (-1 where there is none), given the states after every sub-token of the first item and the targets."""
        row, step = (targets >= 0).nonzero(as_tuple=True)
        target = targets[row, step]
        total = torch.zeros(len(target))
        for depth, (node, valid) in enumerate(self._levels):
            allowed = valid[node[target]]
            chosen = (allowed.sum(dim=1) > 1).nonzero().squeeze(1)
            state = states[row[chosen], (step[chosen] + 1) * self.depths + depth - 1]
            of_depth = slice(depth * self.values, (depth + 1) * self.values)
            logits = state @ self.embeddings[of_depth].T + self.bias[of_depth]
            logits = logits.float().masked_fill(~allowed[chosen], -torch.inf)
            value = self._tokens[target[chosen], depth] - depth * self.values
            total = total.index_add(0, chosen, -functional.cross_entropy(logits, value, reduction="none"))
        return total

    @torch.no_grad()
    def start(self, vectors: Tensor, popularity: Tensor, again: float) -> None:
        """Each sub-token begins with the mean of the vectors, and the sum of the shares, of the items that hold it.

        ``again`` has no use here: a row has had items, not sub-tokens.
        """
        size = len(self.bias)
        for token in self._tokens.T:
            counts = torch.zeros(size).index_add_(0, token, torch.ones(len(token)))
            sums = torch.zeros(size, vectors.shape[1]).index_add_(0, token, vectors)
            used = counts > 0
            self.embeddings[used] = sums[used] / counts[used, None]
            self.bias[used] = torch.zeros(size).index_add_(0, token, popularity.float())[used].log()

    @torch.no_grad()
    def log_probs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What comes after the last of each row's ``lengths`` items, as it is served: by the exported graph."""
        generator = SubTokens(self.to_onnx(), Vocabulary([f"{item:09}" for item in range(len(self.codes))]), items.shape[1])
        histories = [row[:length] for row, length in zip(items.tolist(), lengths.tolist(), strict=True)]
        answers = [generator.log_probs(histories[first : first + AT_ONCE]) for first in range(0, len(histories), AT_ONCE)]
        return torch.from_numpy(np.concatenate(answers))

    def chances(self, history: Tensor, items: Tensor) -> Tensor:
        """The log-probability of each of ``items`` after one ``history``, without cache and branches."""
        rows = [torch.cat([history, item[None]])[None] for item in items]
        return torch.stack([self._log_probs(self(row), row[:, 1:])[-1] for row in rows])

    def to_onnx(self) -> bytes:
        """The graph with a cache; the codes travel with it."""
        return to_cached_onnx(self, {"codes": json.dumps(self.codes.tolist()), "values": str(self.values)})
