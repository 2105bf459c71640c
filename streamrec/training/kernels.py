"""What torch has too, made faster on a CPU: attention while it learns, dropout, the softmax over a whole vocabulary."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


class Dropout(nn.Module):
    """torch's own draws a float for each element, which is a tenth of the training; a byte is enough.

    Args:
        p: what is dropped, to the nearest of 256 steps.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.drop(p)

    def drop(self, p: float) -> None:
        """From now on so much."""
        self.p = p  # transformers reads it
        self.dropped = round(p * 256)

    def forward(self, given: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return given
        words = torch.empty(-(-given.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: given.numel()].view(given.shape) >= self.dropped
        return given * (kept.to(given.dtype) * (256 / (256 - self.dropped)))


def _attention(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any) -> tuple[Tensor, None]:
    """transformers' own, but with dropout. torch has no kernel with dropout in bfloat16: it goes through float32, and takes twice
    as long. In training rows are padded on the right and there is no cache, so the mask is the causal one.
    """
    if not module.training or module.attn_dropout.dropped == 0:
        return sdpa_attention_forward(module, query, key, value, mask, **more)
    batch, heads, steps, size = query.shape
    query, key, value = (each.reshape(batch * heads, steps, size) for each in (query, key, value))
    later = torch.full((steps, steps), -torch.inf, dtype=query.dtype).triu(1)
    scores = torch.baddbmm(later.expand(len(query), -1, -1), query, key.transpose(1, 2), alpha=size**-0.5)
    mixed: Tensor = module.attn_dropout(scores.softmax(dim=-1)) @ value
    return mixed.view(batch, heads, steps, size).transpose(1, 2), None


ATTENTION = "streamrec"
AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy over the whole vocabulary at every position, piece by piece; the gradient is made on the way forward.

    The logits of a batch are never all in memory, and none is computed twice. They are as precise as ``states`` are (float32
    or bfloat16); sums, and the gradients of embeddings and bias, are float32. ``again`` is added to what a row of ``had`` names:
    no item twice, one at least in the first place, -1 for none. ``certain``, a number for each item, is added to what a row
    has had and to its target.
    """

    PIECE = 256
    STEP = 32  # rows of a piece are padded to a multiple, as batches are

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        embeddings: Tensor,
        bias: Tensor,
        targets: Tensor,
        had: Tensor,
        again: Tensor,
        certain: Tensor | None = None,
    ) -> Tensor:
        grad_states, grad_embeddings, grad_bias = torch.empty_like(states), torch.zeros_like(embeddings), torch.zeros_like(bias)
        items, offsets = embeddings.to(states.dtype), bias.to(states.dtype)
        grad_again, ones = torch.zeros_like(again), states.new_ones(1, FullSoftmax.PIECE)
        total = torch.zeros(())
        for piece in range(0, len(targets), FullSoftmax.PIECE):
            these = slice(piece, piece + FullSoftmax.PIECE)
            target = targets[these, None]
            rows = len(target)
            state = functional.pad(states[these], (0, 0, 0, -rows % FullSoftmax.STEP))
            logits = torch.addmm(offsets, state, items.T)
            there = had[these] >= 0
            places = had[these].where(there, had[these, :1])
            added = again if certain is None else again + certain[places]
            logits[:rows].scatter_(1, places, logits[:rows].gather(1, places) + added.to(logits.dtype))
            if certain is not None:
                of_target = certain[target].masked_fill((places == target).any(dim=1, keepdim=True), 0)
                logits[:rows].scatter_add_(1, target, of_target.to(logits.dtype))
            chances = logits.softmax(dim=1)
            total -= chances[:rows].gather(1, target).float().clamp_min(1e-30).log().sum()
            error = chances
            error[:rows].scatter_add_(1, target, torch.full_like(target, -1, dtype=chances.dtype))
            error[rows:] = 0
            grad_again += (error[:rows].gather(1, places).float() * there).sum()
            grad_states[these] = (error @ items)[:rows]
            grad_embeddings += error.T @ state
            grad_bias += (ones[:, : len(state)] @ error)[0]  # as a product it is several times faster than as a sum
        ctx.save_for_backward(grad_states, grad_embeddings, grad_bias, grad_again)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_embeddings, grad_bias, grad_again = ctx.saved_tensors
        scale = upstream[0] / len(grad_states)
        return (
            (grad_states * scale).to(grad_states.dtype),
            grad_embeddings * scale,
            grad_bias * scale,
            None,
            None,
            grad_again * scale,
            None,
        )
