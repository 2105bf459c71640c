"""The network: transformers' GPT-2 over item tokens, its output tied to the item embeddings. It knows no data and no loop."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model

Softmax = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Network(nn.Module):
    """Histories of item indexes in, hidden states out; `log_probs` turns the last state into a distribution over all items.

    Args:
        items: the size of the vocabulary.
    """

    checked = 1000  # validation targets that are worth their time

    def __init__(self, items: int, *, dim: int, layers: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        config = GPT2Config(
            vocab_size=items,
            n_positions=context,
            n_embd=dim,
            n_layer=layers,
            n_head=heads,
            activation_function="gelu",  # GPT-2's own gelu_new is its approximation, and twice as slow in bfloat16
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
        )
        self.gpt2 = GPT2Model(config)  # type: ignore[no-untyped-call]
        for name, module in list(self.gpt2.named_modules()):
            if isinstance(module, nn.Dropout) and not name.endswith("attn_dropout"):  # which the attention's kernel does itself
                self.gpt2.set_submodule(name, Dropout(dropout))
        self.bias = nn.Parameter(torch.zeros(items))

    @property
    def members(self) -> "Sequence[Network]":
        """Itself: an `Ensemble` has several."""
        return (self,)

    @property
    def embeddings(self) -> Tensor:
        """A row for each item: its token on the way in, and its place in the output."""
        weight: Tensor = self.gpt2.wte.weight
        return weight

    @torch.no_grad()
    def start(self, vectors: Tensor, popularity: Tensor) -> None:
        """Begins with a vector and a share of the interactions for each item, instead of noise."""
        self.embeddings.copy_(vectors)
        self.bias.copy_(popularity.log())

    def forward(self, items: Tensor) -> Tensor:
        """The state after each position; padding on the right needs no mask, because no position sees what comes later."""
        states: Tensor = self.gpt2(input_ids=items).last_hidden_state
        return states

    def loss(self, items: Tensor, targets: Tensor, precision: torch.dtype, softmax: Softmax) -> Tensor:
        """Mean cross-entropy of the targets, -1 where there is none; both (batch, steps).

        Args:
            precision: of the matrix products.
            softmax: from states, embeddings, bias and targets to the loss.
        """
        targets = targets.flatten()
        asked = targets >= 0
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            states = self(items).flatten(0, 1)[asked].to(precision)
        return softmax(states, self.embeddings, self.bias, targets[asked])

    def log_probs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What comes after the last of each row's ``lengths`` items."""
        last = (lengths - 1)[:, None, None].expand(-1, 1, self.embeddings.shape[1])
        state = self(items).gather(1, last).squeeze(1)
        return torch.log_softmax(state @ self.embeddings.T + self.bias, dim=-1)

    def chances(self, history: Tensor, items: Tensor) -> Tensor:
        """The log-probability of each of ``items`` after one ``history``."""
        return self.log_probs(history[None], torch.tensor([len(history)]))[0, items]


class Ensemble(nn.Module):
    """Networks that learn side by side; their answer is the mean of their log-probabilities, made to sum to 1.

    What one of them has learned by heart the others have not (deep ensembles, Lakshminarayanan et al., arXiv 1612.01474).
    """

    checked = Network.checked
    members: Sequence[Network]

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)  # type: ignore[assignment]  # a sequence to whoever reads it

    def loss(self, items: Tensor, targets: Tensor, precision: torch.dtype, softmax: Softmax) -> Tensor:
        """The sum of the members' own: each has the gradient that it would have alone."""
        return torch.stack([member.loss(items, targets, precision, softmax) for member in self.members]).sum()

    def log_probs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What comes after the last of each row's ``lengths`` items."""
        answers = [member.log_probs(items, lengths) for member in self.members]
        return torch.log_softmax(torch.stack(answers).mean(dim=0), dim=-1)

    def chances(self, history: Tensor, items: Tensor) -> Tensor:
        """The log-probability of each of ``items`` after one ``history``."""
        return self.log_probs(history[None], torch.tensor([len(history)]))[0, items]


Model = Network | Ensemble


class Dropout(nn.Module):
    """torch's own draws a float for each element, which is a tenth of the training; a byte is enough.

    Args:
        share: what is dropped, to the nearest of 256 steps.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = round(share * 256)

    def forward(self, given: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return given
        words = torch.empty(-(-given.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: given.numel()].view(given.shape) >= self.dropped
        return given * (kept.to(given.dtype) * (256 / (256 - self.dropped)))


class FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy over the whole vocabulary at every position, piece by piece; the gradient is made on the way forward.

    The logits of a batch are never all in memory, and none is computed twice. They are as precise as ``states`` are (float32
    or bfloat16); sums, and the gradients of embeddings and bias, are float32. ``own`` is added to each row's target alone.
    """

    PIECE = 256
    STEP = 32  # rows of a piece are padded to a multiple, as batches are

    @staticmethod
    def forward(ctx: Any, states: Tensor, embeddings: Tensor, bias: Tensor, targets: Tensor, own: Tensor | None = None) -> Tensor:
        grad_states, grad_embeddings, grad_bias = torch.empty_like(states), torch.zeros_like(embeddings), torch.zeros_like(bias)
        items, offsets = embeddings.to(states.dtype), bias.to(states.dtype)
        ones = states.new_ones(1, FullSoftmax.PIECE)
        total = torch.zeros(())
        for piece in range(0, len(targets), FullSoftmax.PIECE):
            these = slice(piece, piece + FullSoftmax.PIECE)
            target = targets[these, None]
            rows = len(target)
            state = functional.pad(states[these], (0, 0, 0, -rows % FullSoftmax.STEP))
            logits = torch.addmm(offsets, state, items.T)
            if own is not None:
                logits[:rows].scatter_add_(1, target, own[these, None].to(logits.dtype))
            chances = logits.softmax(dim=1)
            total -= chances[:rows].gather(1, target).float().clamp_min(1e-30).log().sum()
            error = chances
            error[:rows].scatter_add_(1, target, torch.full_like(target, -1, dtype=chances.dtype))
            error[rows:] = 0
            grad_states[these] = (error @ items)[:rows]
            grad_embeddings += error.T @ state
            grad_bias += (ones[:, : len(state)] @ error)[0]  # as a product it is several times faster than as a sum
        ctx.save_for_backward(grad_states, grad_embeddings, grad_bias)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        grad_states, grad_embeddings, grad_bias = ctx.saved_tensors
        scale = upstream[0] / len(grad_states)
        return (grad_states * scale).to(grad_states.dtype), grad_embeddings * scale, grad_bias * scale, None, None
