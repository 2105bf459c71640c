"""A softmax over a sample of the vocabulary, for catalogues whose full softmax would be nearly all of the work."""

import torch
from torch import Tensor
from torch.nn import functional

from streamrec.training.kernels import FullSoftmax

LARGE = 20_000  # items above which training samples
UNIFORM = 2048  # items drawn besides the targets of the batch
STEP = 256  # the sample is padded to a multiple, as batches are


def sampled_softmax(
    states: Tensor, embeddings: Tensor, bias: Tensor, targets: Tensor, had: Tensor, again: Tensor, shares: Tensor
) -> Tensor:
    """What `FullSoftmax` gives, estimated from the batch's own targets and `UNIFORM` items more.

    Mixed negative sampling (Yang et al., WWW 2020) with the logQ correction (Yi et al., RecSys 2019): an item that is in the
    sample with probability π stands for 1/π items. A row's own target is always there, and so is what the row has
    had: each stands for itself alone (Khrylchenko et al., RecSys 2025).

    Args:
        shares: of each item among all targets; how probably a batch has it follows from that.
    """
    size = len(shares)
    # What a row has had are its earlier targets, and its first item.
    drawn = torch.cat([targets, had[:, 0].unique(), torch.randint(size, (UNIFORM,))])  # type: ignore[no-untyped-call]
    items, places = drawn.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    expected = len(targets) * shares[items] + UNIFORM / size
    log_chance = torch.log(-torch.expm1(-expected))
    own = places[: len(targets)]
    had = torch.searchsorted(items, had).where(had >= 0, -1)
    missing = -len(items) % STEP
    sampled = functional.embedding(functional.pad(items, (0, missing)), embeddings)
    offsets = functional.pad(bias[items] - log_chance, (0, missing), value=-torch.inf)
    loss: Tensor = FullSoftmax.apply(states, sampled, offsets, own, had, again, log_chance)
    return loss
