"""The network as an ONNX graph with a cache: some tokens are new, the others are known by their keys and values.

One graph serves whatever is written token by token. What each new token may see is said by a mask, so it takes a whole history
(nothing is cached yet), one more item of a slate, or the branches of a tree of sub-tokens, all in one run.

============================ ========================================================================================
``tokens``, ``places``        (batch, new): what is new, and which row of the position table each token has
``before``                    (batch, new, reach): the tokens of the items just before, the nearest first; -1 where there is none
``asked``                     (batch, asked): of which new tokens the output is wanted; the last layer works for these alone
``mask``, ``asked_mask``      (batch, 1, new or asked, cached + new): 0 where a token may look, -inf where not
``key_N``, ``value_N``        (batch, heads, size, cached) and (batch, heads, cached, size) of layer N
``logits``                    (batch, asked, vocabulary)
``states``                    (batch, asked, dim): what the logits are made of
``new_key_N``, ``new_value_N`` the same of the new tokens, to be cached
============================ ========================================================================================

A tuned network (training.tuning) is also told ``first``, the state after the history; ``alike``, how like the slate so far each
item is; the ``dial``; ``step``, how many items the slate has, less one; and ``own``, 1 where the state counts as the history's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from streamrec.training.export import IR_VERSION, OPSET, _Graph, _linear, _linear_of, _norm
from streamrec.training.network import Network


def to_cached_onnx(network: Network, metadata: Mapping[str, str], added: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """The graph that is described above.

    Args:
        metadata: what travels with the graph and tells how it is to be asked.
        added: the tensors of a training.tuning.SlateWriter, where there is one.
    """
    config = network.gpt2.config
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    graph = _Graph()
    table = weights["gpt2.wpe.weight"]
    if added is not None:
        table = np.concatenate([table, added["places"]])
    embeddings = graph.constant("gpt2.wte.weight", weights["gpt2.wte.weight"])
    tokens = graph.add("Add", graph.add("Gather", embeddings, "tokens"), _of_those_before(graph, embeddings, weights["before"]))
    state = graph.add("Add", tokens, graph.add("Gather", graph.constant("places_table", table), "places"))
    for layer in range(config.n_layer):
        state = _block(graph, state, layer, weights, config.n_head, only_asked=layer == config.n_layer - 1)
    states = graph.add("Identity", _norm(graph, state, "gpt2.ln_f", weights), name="states")
    moved = states if added is None else _moved(graph, states, added)
    output = graph.add("Transpose", "gpt2.wte.weight", perm=[1, 0])  # done once, when the model is loaded
    bias = graph.constant("bias", weights["bias"])
    if added is not None:
        bias = graph.add("Sub", bias, _pushed(graph, added))
    graph.add("Add", graph.add("MatMul", moved, output), bias, name="logits")
    return _model(graph, config, metadata, len(weights["before"]), tuned=added is not None)


def _of_those_before(graph: _Graph, embeddings: str, shares: NDArray[Any]) -> str:
    """What `Network.embed` adds to each new token: (batch, new, dim)."""
    nothing = graph.constant("no_item", np.array(0, np.int64))
    vectors = graph.add("Gather", embeddings, graph.add("Max", "before", nothing))  # (batch, new, reach, dim)
    there = graph.add("Cast", graph.add("GreaterOrEqual", "before", nothing), to=TensorProto.FLOAT)
    shared = graph.add(
        "Mul", graph.add("Mul", vectors, graph.constant("shares", shares)), graph.add("Unsqueeze", there, graph.ints(3))
    )
    return graph.add("ReduceSum", shared, graph.ints(2), keepdims=0)


def _moved(graph: _Graph, states: str, added: Mapping[str, NDArray[Any]]) -> str:
    """What the logits are made of: first + own * states + dial * states @ mix."""
    mixed = graph.add("Mul", "dial", graph.add("MatMul", states, graph.constant("mix", added["mix"])))
    return graph.add("Add", graph.add("Add", "first", graph.add("Mul", "own", states)), mixed)


def _pushed(graph: _Graph, added: Mapping[str, NDArray[Any]]) -> str:
    """How far each item is pushed down for being like those before: (batch, 1, items)."""
    weight = graph.add("Mul", "dial", graph.add("Gather", graph.constant("push", added["push"]), "step"))
    return graph.add("Mul", weight, "alike")


def _block(graph: _Graph, state: str, layer: int, weights: Mapping[str, NDArray[Any]], heads: int, *, only_asked: bool) -> str:
    prefix = f"gpt2.h.{layer}"
    dim = weights[f"{prefix}.ln_1.weight"].shape[0]
    size = dim // heads
    weight, bias = weights[f"{prefix}.attn.c_attn.weight"], weights[f"{prefix}.attn.c_attn.bias"]
    normed = asking = _norm(graph, state, f"{prefix}.ln_1", weights)

    def project(source: str, part: int, name: str, to: list[int], output: str | None = None) -> str:
        columns = slice(part * dim, (part + 1) * dim)
        factor = size**-0.5 if name == "query" else 1.0
        made = _linear(graph, source, f"{prefix}.attn.{name}", weight[:, columns] * factor, bias[columns] * factor)
        return graph.add("Transpose", graph.add("Reshape", made, graph.ints(0, 0, heads, size)), perm=to, name=output)

    mask = "mask"
    if only_asked:
        places = graph.add("Unsqueeze", "asked", graph.ints(2))
        state = graph.add("GatherND", state, places, batch_dims=1)
        asking = graph.add("GatherND", normed, places, batch_dims=1)
        mask = "asked_mask"
    query = project(asking, 0, "query", [0, 2, 1, 3])
    key = project(normed, 1, "key", [0, 2, 3, 1], f"new_key_{layer}")
    value = project(normed, 2, "value", [0, 2, 1, 3], f"new_value_{layer}")
    # The cache is never copied: only the scores of old and new are put side by side.
    scores = graph.add("Concat", graph.add("MatMul", query, f"key_{layer}"), graph.add("MatMul", query, key), axis=-1)
    shares = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    cached = graph.add("Slice", graph.add("Shape", f"key_{layer}"), graph.ints(3), graph.ints(4))
    old = graph.add("Slice", shares, graph.ints(0), cached, graph.ints(3))
    new = graph.add("Slice", shares, cached, graph.ints(2**31), graph.ints(3))
    mixed = graph.add("Add", graph.add("MatMul", old, f"value_{layer}"), graph.add("MatMul", new, value))
    mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.ints(0, 0, dim))
    state = graph.add("Add", state, _linear_of(graph, mixed, f"{prefix}.attn.c_proj", weights))
    wide = _linear_of(graph, _norm(graph, state, f"{prefix}.ln_2", weights), f"{prefix}.mlp.c_fc", weights)
    wide = graph.add("Gelu", wide)
    return graph.add("Add", state, _linear_of(graph, wide, f"{prefix}.mlp.c_proj", weights))


def _model(graph: _Graph, config: Any, metadata: Mapping[str, str], reach: int, *, tuned: bool) -> bytes:
    heads, size, vocabulary = config.n_head, config.n_embd // config.n_head, config.vocab_size
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "tokens": (ints, ["batch", "new"]),
        "places": (ints, ["batch", "new"]),
        "before": (ints, ["batch", "new", reach]),
        "asked": (ints, ["batch", "asked"]),
        "mask": (floats, ["batch", 1, "new", "all"]),
        "asked_mask": (floats, ["batch", 1, "asked", "all"]),
    }
    outputs: dict[str, tuple[int, list[str | int]]] = {
        "logits": (floats, ["batch", "asked", vocabulary]),
        "states": (floats, ["batch", "asked", config.n_embd]),
    }
    for layer in range(config.n_layer):
        inputs |= {
            f"key_{layer}": (floats, ["batch", heads, size, "cached"]),
            f"value_{layer}": (floats, ["batch", heads, "cached", size]),
        }
        outputs |= {
            f"new_key_{layer}": (floats, ["batch", heads, size, "new"]),
            f"new_value_{layer}": (floats, ["batch", heads, "new", size]),
        }
    if tuned:
        inputs |= {
            "first": (floats, ["batch", 1, config.n_embd]),
            "alike": (floats, ["batch", 1, vocabulary]),
            "own": (floats, [1]),
            "dial": (floats, [1]),
            "step": (ints, [1]),
        }
    if config.n_layer == 1:  # nobody looks at the mask of all new tokens
        inputs.pop("mask")
    taken = [helper.make_tensor_value_info(name, *of) for name, of in inputs.items()]
    given = [helper.make_tensor_value_info(name, *of) for name, of in outputs.items()]
    made = helper.make_graph(graph.nodes, "gptrec_cached", taken, given, graph.initializers)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="streamrec"
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized
