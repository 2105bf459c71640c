"""Items as strings of sub-tokens, and the tree of them: only what leads to an item is ever a continuation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Level:
    """The nodes that share a depth, and how they lead to those one deeper."""

    prefixes: NDArray[np.int64]  # (nodes, depth): the sub-tokens that lead here
    node: NDArray[np.int64]  # (items): on which node each item lies
    valid: NDArray[np.bool_]  # (nodes, values): which sub-tokens go on to some item
    branching: NDArray[np.intp]  # the nodes with more than one continuation: elsewhere there is nothing to predict
    parent: NDArray[np.int64]  # (nodes one deeper): whose child each is
    value: NDArray[np.int64]  # (nodes one deeper): by which sub-token
    share: NDArray[np.float64]  # (nodes one deeper): the natural logarithm of its share of the parent's items


def grow(codes: NDArray[np.int64], values: int) -> list[Level]:
    """The levels from the root down; below the last one lie the items themselves, in their order.

    Args:
        codes: (items, sub-tokens), no two rows alike, each below ``values``.

    Raises:
        ValueError: two items have the same code, or a sub-token is out of range.
    """
    items, depths = codes.shape
    if len(np.unique(codes, axis=0)) != items or codes.min() < 0 or codes.max() >= values:
        raise ValueError("codes must be unique, and below the number of values")
    levels = []
    node, prefixes = np.zeros(items, np.int64), np.zeros((1, 0), np.int64)
    for depth in range(depths):
        if depth + 1 < depths:
            deeper, child = np.unique(codes[:, : depth + 1], axis=0, return_inverse=True)
            child = child.reshape(-1)
        else:
            deeper, child = codes, np.arange(items)
        parent = np.zeros(len(deeper), np.int64)
        parent[child] = node
        value = deeper[:, depth]
        valid = np.zeros((len(prefixes), values), bool)
        valid[parent, value] = True
        share = np.log(np.bincount(child, minlength=len(deeper)) / np.bincount(node)[parent])
        levels.append(Level(prefixes, node, valid, np.flatnonzero(valid.sum(axis=1) > 1), parent, value, share))
        node, prefixes = child, deeper
    return levels


def log_softmax(logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Over the last axis, in double precision; what is not allowed has no probability at all."""
    kept = np.where(allowed, logits.astype(np.float64), -np.inf)
    most = kept.max(axis=-1, keepdims=True)
    kept -= np.where(np.isfinite(most), most, 0)
    result: NDArray[np.float64] = kept - np.log(np.exp(kept).sum(axis=-1, keepdims=True).clip(min=1e-300))
    return result
