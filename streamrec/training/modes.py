"""The modes of GPTRec: which network each of them trains, and where it starts.

- ``top-k``: a token for each item; the most probable next items are the slate.
- ``next-k``: the same network; the slate is written item by item, and tuned to be written so (training.tuning).
- ``svd``: several tokens for each item (training.codes), from a table that does not grow with the catalogue.
"""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamrec.serving.gptrec import GPTRec
from streamrec.serving.nextk import NextK
from streamrec.serving.subtokens import SubTokens
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training.checkpoint import Plan
from streamrec.training.codes import svd_codes
from streamrec.training.continued import Base, take_over
from streamrec.training.export import TOLERANCE, to_onnx
from streamrec.training.export_cached import to_cached_onnx
from streamrec.training.lessons import Lessons
from streamrec.training.network import Ensemble, Model, Network
from streamrec.training.start import repeat_offset, start_embeddings
from streamrec.training.subtokens import SubTokenNetwork
from streamrec.training.tuning import SLATE, SlateWriter, write_slate


@torch.no_grad()
def new_network(lessons: Lessons, plan: Plan, shares: Tensor, base: Base | None) -> Model:
    """The network of a plan before its first step, by its seed; with a base, what that had learned.

    Args:
        shares: of the items among all interactions.
    """
    made = [_untaught(lessons, plan) for _ in range(plan.members)]
    if base is None:
        random = torch.Generator().manual_seed(plan.seed)
        vectors = start_embeddings(*lessons.learned, len(lessons.vocabulary), plan.dim, random)
        again = repeat_offset(*lessons.learned, shares.numpy())
        for network in made:
            network.start(vectors, shares, again)
    else:
        for number, network in enumerate(made):
            take_over(network, base, number, lessons.vocabulary, *lessons.learned)
    return Ensemble(made) if plan.members > 1 else made[0]


def _untaught(lessons: Lessons, plan: Plan) -> Network:
    size = len(lessons.vocabulary)
    if plan.mode == "svd":
        codes = svd_codes(*lessons.learned, size, plan.values)
        return SubTokenNetwork(codes, plan.values, **_shape(plan))
    return Network(size, **_shape(plan))


def _shape(plan: Plan) -> dict[str, Any]:
    return {"dim": plan.dim, "layers": plan.layers, "heads": plan.heads, "context": plan.context, "dropout": plan.dropout}


def export(network: Model, plan: Plan, writer: SlateWriter | None = None) -> bytes:
    """The graph that serves this network in its mode, with what was tuned, if anything."""
    if isinstance(network, SubTokenNetwork):
        return network.to_onnx()
    if plan.mode != "next-k":
        return to_onnx(network)
    if writer is None:
        return to_cached_onnx(network.members[0], {})
    added = {name: tensor.numpy() for name, tensor in writer.state_dict().items()}
    return to_cached_onnx(network.members[0], {"slate": str(SLATE), "tags": json.dumps(writer.tags)}, added)


@torch.no_grad()
def compare(network: Model, onnx: bytes, vocabulary: Vocabulary, plan: Plan, writer: SlateWriter | None = None) -> None:
    """Raises RuntimeError where the exported graph does not compute what the network computes."""
    random = np.random.default_rng(0)
    for length in {1, 2, plan.context // 2, plan.context}:
        history = random.integers(0, len(vocabulary), length)
        if plan.mode == "next-k":
            written = NextK(onnx, vocabulary, plan.context, plan.threads, slate=SLATE, diversity=1.0)
            slate = write_slate(network.members[0], writer, history[-written.context :], history, written.slate, dial=1.0)
            items, expected = np.array(list(slate), np.int64), np.array(list(slate.values()))
            generator: GPTRec = written
        else:
            if plan.mode == "svd":
                generator = SubTokens(onnx, vocabulary, plan.context, plan.threads, branches=len(vocabulary))
            else:
                generator = GPTRec(onnx, vocabulary, plan.context, plan.threads)
            items = random.integers(0, len(vocabulary), 50)
            expected = network.chances(torch.from_numpy(history), torch.from_numpy(items)).numpy()
        error = float(np.abs(generator.log_probs([history.tolist()])[0, items] - expected).max(initial=0))
        if not error <= TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0))):
            raise RuntimeError(f"the exported graph differs from the network by {error:.1e} on a history of {length}")
