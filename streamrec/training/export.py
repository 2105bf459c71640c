"""The trained network as an ONNX graph, written node by node.

torch.onnx needs 40 s for this network and computes every position of every layer to the end. Only the last position is asked
for, so the last layer does its attention's queries and its MLP for that one alone: two fifths of the work are saved. What this
file builds is compared with the network at each export.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from streamrec.training.network import Model, Network

OPSET = 20  # the first with Gelu
IR_VERSION = 9
EPSILON = 1e-5
TOLERANCE = 1e-5


class _Graph:
    """An ONNX graph in the making: each call adds a node and gives back its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in {known.name for known in self.initializers}:
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)).replace("-", "m"), np.array(values, np.int64))

    def add(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


def to_onnx(network: Model) -> bytes:
    """The network's `log_probs`: ``items`` (batch, steps) and ``lengths`` (batch) in, ``log_probs`` (batch, vocabulary) out."""
    graph = _Graph()
    steps = graph.add("Slice", graph.add("Shape", "items"), graph.ints(1), graph.ints(2))
    several = len(network.members) > 1
    answers = [
        _logits(graph, f"members.{number}." if several else "", member, steps) for number, member in enumerate(network.members)
    ]
    if several:
        answers = [graph.add("Mean", *(graph.add("LogSoftmax", logits, axis=-1) for logits in answers))]
    graph.add("LogSoftmax", *answers, name="log_probs", axis=-1)
    return _model(graph, len(network.members[0].bias))


def _logits(graph: _Graph, root: str, network: Network, steps: str) -> str:
    """What follows each row's last item, by one network; ``root`` is put before the names of its weights."""
    config = network.gpt2.config
    weights = {root + name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    embeddings, positions = f"{root}gpt2.wte.weight", f"{root}gpt2.wpe.weight"
    tokens = single = graph.add("Gather", graph.constant(embeddings, weights[embeddings]), "items")
    for lag, share in enumerate(weights[f"{root}before"], start=1):
        padded = graph.add("Pad", single, graph.ints(0, lag, 0, 0, 0, 0))
        earlier = graph.add("Slice", padded, graph.ints(0), steps, graph.ints(1))
        tokens = graph.add("Add", tokens, graph.add("Mul", earlier, graph.constant(f"{root}before.{lag}", share)))
    places = graph.add("Slice", graph.constant(positions, weights[positions]), graph.ints(0), steps)
    state = graph.add("Add", tokens, places)
    for layer in range(config.n_layer):
        last = layer == config.n_layer - 1
        state = _block(graph, state, f"{root}gpt2.h.{layer}", weights, config, steps, only_last=last)
    state = graph.add("Reshape", _norm(graph, state, f"{root}gpt2.ln_f", weights), graph.ints(-1, config.n_embd))
    output = graph.add("Transpose", embeddings, perm=[1, 0])  # done once, when the model is loaded
    logits = graph.add("Add", graph.add("MatMul", state, output), graph.constant(f"{root}bias", weights[f"{root}bias"]))
    columns = graph.add("Slice", graph.constant("columns", np.arange(config.n_positions)), graph.ints(0), steps)
    inside = graph.add("Less", columns, graph.add("Unsqueeze", "lengths", graph.ints(1)))
    had = graph.add("Where", inside, "items", graph.add("Slice", "items", graph.ints(0), graph.ints(1), graph.ints(1)))
    again = graph.add(
        "Add", graph.add("GatherElements", logits, had, axis=1), graph.constant(f"{root}again", weights[f"{root}again"])
    )
    return graph.add("ScatterElements", logits, had, again, axis=1)


def _block(
    graph: _Graph, state: str, prefix: str, weights: Mapping[str, NDArray[Any]], config: Any, steps: str, *, only_last: bool
) -> str:
    """A transformer layer; with ``only_last`` its output is (batch, 1, dim), of each row's last item."""
    dim, heads, context = config.n_embd, config.n_head, config.n_positions
    normed = _norm(graph, state, f"{prefix}.ln_1", weights)
    weight, bias = weights[f"{prefix}.attn.c_attn.weight"], weights[f"{prefix}.attn.c_attn.bias"]
    size = dim // heads

    def project(source: str, part: int, name: str, to: list[int]) -> str:
        columns = slice(part * dim, (part + 1) * dim)
        factor = size**-0.5 if name == "query" else 1.0  # of the scores; put here it costs nothing
        made = _linear(graph, source, f"{prefix}.attn.{name}", weight[:, columns] * factor, bias[columns] * factor)
        return graph.add("Transpose", graph.add("Reshape", made, graph.ints(0, 0, heads, size)), perm=to)

    if only_last:
        asked = graph.add("Unsqueeze", graph.add("Sub", "lengths", graph.ints(1)), graph.ints(1))
        state = graph.add("Unsqueeze", graph.add("GatherND", state, asked, batch_dims=1), graph.ints(1))
        last = graph.add("Unsqueeze", graph.add("GatherND", normed, asked, batch_dims=1), graph.ints(1))
        hidden = np.where(np.arange(context + 1)[:, None] > np.arange(context), 0, -np.inf).astype(np.float32)
        rows = graph.add("Gather", graph.constant("padding", hidden), "lengths")  # (batch, context)
        mask = graph.add("Unsqueeze", graph.add("Slice", rows, graph.ints(0), steps, graph.ints(1)), graph.ints(1, 2))
    else:
        last = normed
        later = np.where(np.tri(context, dtype=bool), 0, -np.inf).astype(np.float32)
        both = graph.add("Concat", steps, steps, axis=0)
        mask = graph.add("Slice", graph.constant("later", later), graph.ints(0, 0), both)
    query = project(last, 0, "query", [0, 2, 1, 3])
    key, value = project(normed, 1, "key", [0, 2, 3, 1]), project(normed, 2, "value", [0, 2, 1, 3])
    scores = graph.add("Add", graph.add("MatMul", query, key), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.ints(0, 0, dim))
    state = graph.add("Add", state, _linear_of(graph, mixed, f"{prefix}.attn.c_proj", weights))
    wide = _linear_of(graph, _norm(graph, state, f"{prefix}.ln_2", weights), f"{prefix}.mlp.c_fc", weights)
    wide = graph.add("Gelu", wide)
    return graph.add("Add", state, _linear_of(graph, wide, f"{prefix}.mlp.c_proj", weights))


def _norm(graph: _Graph, state: str, name: str, weights: Mapping[str, NDArray[Any]]) -> str:
    scale, shift = (graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.add("LayerNormalization", state, scale, shift, axis=-1, epsilon=EPSILON)


def _linear_of(graph: _Graph, source: str, name: str, weights: Mapping[str, NDArray[Any]]) -> str:
    return _linear(graph, source, name, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _linear(graph: _Graph, source: str, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
    product = graph.add("MatMul", source, graph.constant(f"{name}.weight", weight))
    return graph.add("Add", product, graph.constant(f"{name}.bias", bias))


def _model(graph: _Graph, vocabulary: int) -> bytes:
    inputs = [
        helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", "steps"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
    ]
    output = helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["batch", vocabulary])
    made = helper.make_graph(graph.nodes, "gptrec", inputs, [output], graph.initializers)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION, producer_name="streamrec")
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized
