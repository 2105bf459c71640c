"""The exported network with a cache: it reads a history once, and then what is written after it, token by token.

It knows no items and no slates. A step's bits differ from those of a pass over everything, and depend on how many columns are
cached: so there is one way through here, and the cache's width is a function of the padded history alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NOTHING: Mapping[str, NDArray[Any]] = {}


@dataclass(frozen=True, eq=False)
class Cache:
    """Keys and values of each layer, and which columns hold something: the others are room, or padding."""

    keys: list[Floats]  # (batch, heads, size, columns)
    values: list[Floats]  # (batch, heads, columns, size)
    known: NDArray[np.bool_]  # (batch, columns)


class CachedGPT:
    """Runs the graph of training.export_cached.

    Args:
        session: of that graph.
    """

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self.shapes = {each.name: each.shape for each in session.get_inputs()}
        outputs = {each.name: each.shape for each in session.get_outputs()}
        self.dim = int(outputs["states"][2])
        self.layers = sum(name.startswith("key_") for name in self.shapes)
        self.reach = int(self.shapes["before"][2]) if "before" in self.shapes else 0  # an older graph has none
        self.metadata: dict[str, Any] = {
            name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()
        }

    def read(
        self, tokens: Ints, lengths: Ints, room: int = 0, *, repeat: int = 1, more: Mapping[str, NDArray[Any]] = NOTHING
    ) -> tuple[Floats, Floats, Cache]:
        """Logits and states after each row's last token, and the cache with ``room`` for more.

        Args:
            tokens: (batch, columns), padded on the right, where the causal mask hides it.
            repeat: how many tokens an item has; they share a place.
        """
        batch, columns = tokens.shape
        before = np.full((batch, columns, self.reach), -1)
        for lag in range(self.reach):
            before[:, (lag + 1) * repeat :, lag] = tokens[:, : max(columns - (lag + 1) * repeat, 0)]
        places = np.broadcast_to(np.arange(columns) // repeat, tokens.shape)
        empty = self._empty(batch)
        logits, states, made = self.extend(
            tokens, before, places, np.tri(columns, dtype=bool)[None], lengths[:, None] - 1, empty, more
        )
        known = np.arange(columns + room) < lengths[:, None]
        if not room:
            return logits, states, Cache(made.keys, made.values, known)
        keys = [np.concatenate([key, np.zeros((*key.shape[:3], room), np.float32)], axis=3) for key in made.keys]
        values = [
            np.concatenate([value, np.zeros((*value.shape[:2], room, value.shape[3]), np.float32)], 2) for value in made.values
        ]
        return logits, states, Cache(keys, values, known)

    def extend(
        self,
        tokens: Ints,
        before: Ints,
        places: Ints,
        sees: NDArray[np.bool_],
        asked: Ints,
        cache: Cache,
        more: Mapping[str, NDArray[Any]] = NOTHING,
    ) -> tuple[Floats, Floats, Cache]:
        """Logits and states (batch, asked, …) after the ``asked`` of the new tokens, and the cache of these tokens alone.

        Args:
            before: (batch, new, reach), for each token those of the items just before it, the nearest first; -1: none.
            sees: (batch or 1, new, new), which new token may look at which; everything known in the cache is seen by all.
            more: further inputs of the graph.
        """
        batch, new = tokens.shape
        known = np.broadcast_to(cache.known[:, None], (batch, new, cache.known.shape[1]))
        seen = np.concatenate([known, np.broadcast_to(sees, (batch, new, new))], axis=2)
        mask = np.where(seen, np.float32(0), np.float32(-np.inf))
        inputs: dict[str, NDArray[Any]] = {
            "tokens": tokens,
            "places": places,
            "before": before,
            "asked": asked,
            "mask": mask[:, None],
            "asked_mask": np.take_along_axis(mask, asked[:, :, None], axis=1)[:, None],
            **more,
        }
        for layer in range(self.layers):
            inputs |= {f"key_{layer}": cache.keys[layer], f"value_{layer}": cache.values[layer]}
        logits, states, *made = self._session.run(None, {name: each for name, each in inputs.items() if name in self.shapes})
        return logits, states, Cache(made[0::2], made[1::2], np.ones((batch, new), bool))

    def last(self, items: Ints, lengths: Ints) -> Ints:
        """(batch, reach): the last items of each history, the newest first; -1 where there are fewer."""
        places = lengths[:, None] - 1 - np.arange(self.reach)
        return np.where(places >= 0, np.take_along_axis(items, np.maximum(places, 0), axis=1), -1)

    def _empty(self, batch: int) -> Cache:
        """One column that nobody sees: onnxruntime multiplies no matrices without columns."""
        keys = [np.zeros((batch, *self.shapes[f"key_{layer}"][1:3], 1), np.float32) for layer in range(self.layers)]
        return Cache(keys, [key.transpose(0, 1, 3, 2) for key in keys], np.zeros((batch, 1), bool))
