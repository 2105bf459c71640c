"""SVD tokenisation (Petrov & Macdonald, arXiv 2306.11114): each item becomes t numbers below v.

A truncated SVD of the user-item matrix gives each item t numbers; each of the t dimensions is stretched to 0…1 and cut into v
even bins. Where the paper adds noise until no two items are alike, here the more popular item keeps its code and the other
takes the nearest free one: the same for every seed.
"""

from collections.abc import Iterator
from itertools import count, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.serving.counting import count_interactions

SUB_TOKENS = 4
OVERSAMPLING = 16
ITERATIONS = 8


def svd_codes(
    users: NDArray[Any], items: NDArray[Any], size: int, values: int, *, sub_tokens: int = SUB_TOKENS
) -> NDArray[np.int64]:
    """Each item's sub-tokens, (size, sub_tokens), no two rows alike.

    Raises:
        UserError: there are not enough values for so many items.
    """
    if size > values**sub_tokens:
        raise UserError(f"--values {values}: {values}^{sub_tokens} codes are too few for {size} items; give more")
    numbers = _right_vectors(users, items, size, sub_tokens)
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    stretched = (numbers - low) / np.maximum(high - low, 1e-12)
    codes = np.minimum((stretched * values).astype(np.int64), values - 1)
    return _told_apart(codes, np.argsort(-count_interactions(items, size), kind="stable"), values)


def _right_vectors(users: NDArray[Any], items: NDArray[Any], size: int, rank: int) -> NDArray[np.float64]:
    """(size, rank), by subspace iteration. An item without a user, and a dimension that the matrix does not have, is zero."""
    pairs = np.unique(np.stack([np.unique(users, return_inverse=True)[1], items]), axis=1)
    ones = torch.ones(pairs.shape[1], dtype=torch.float64)
    shape = (int(pairs[0].max()) + 1, size)
    matrix = torch.sparse_coo_tensor(torch.from_numpy(pairs), ones, shape, check_invariants=False).coalesce()
    random = torch.Generator().manual_seed(0)  # where the iteration starts, not where it ends
    width = min(rank + OVERSAMPLING, *shape)
    basis = torch.randn(size, width, generator=random, dtype=torch.float64)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis)).Q
    _, _, mixing = torch.linalg.svd(matrix @ basis, full_matrices=False)
    vectors = (basis @ mixing.T)[:, :rank]
    found = np.zeros((size, rank))
    found[:, : vectors.shape[1]] = (vectors * vectors.sum(dim=0).sign()).numpy()  # a singular vector's sign is arbitrary
    return found


def _told_apart(codes: NDArray[np.int64], order: NDArray[np.intp], values: int) -> NDArray[np.int64]:
    taken: set[tuple[int, ...]] = set()
    apart = np.empty_like(codes)
    for item in order.tolist():
        wanted = tuple(codes[item].tolist())
        code = next(each for each in _nearby(wanted, values) if each not in taken)
        taken.add(code)
        apart[item] = code
    return apart


def _nearby(code: tuple[int, ...], values: int) -> Iterator[tuple[int, ...]]:
    """The code itself, then those that differ in the last sub-token, the nearest first, then in the last two, and so on."""
    for differing in range(len(code) + 1):
        kept, moved = code[: len(code) - differing], code[len(code) - differing :]
        for tail in product(*(_outwards(each, values) for each in moved)):
            yield (*kept, *tail)


def _outwards(value: int, values: int) -> Iterator[int]:
    yield value
    for step in count(1):
        near = [each for each in (value + step, value - step) if 0 <= each < values]
        if not near:
            return
        yield from near
