"""A bundle's tables of numbers as the bytes of its files, and back. What is read is looked at before it is believed."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from streamrec.serving.counting import TransitionCounts

_COUNTS = {  # numpy's kinds
    **dict.fromkeys(("starts", "interactions"), "i"),
    **dict.fromkeys(("followers", "times", "direct"), "u"),
    **dict.fromkeys(("shares", "popularity"), "f"),
}


def pack_counts(counts: TransitionCounts, popularity: NDArray[Any], interactions: NDArray[Any]) -> bytes:
    """Transitions and popularity as ``counts.safetensors``."""
    arrays = {**msgspec.structs.asdict(counts), "popularity": popularity, "interactions": interactions}
    return safetensors.save(arrays)


def unpack_counts(content: bytes, size: int) -> tuple[TransitionCounts, NDArray[Any], NDArray[Any]]:
    """Transitions, popularity and interactions of ``size`` items.

    Raises:
        SafetensorError, KeyError, ValueError: these are none.
    """
    arrays = safetensors.load(content)
    _refuse_unfit("counts.safetensors", arrays, _COUNTS)
    popularity, interactions = arrays.pop("popularity"), arrays.pop("interactions")
    counts = TransitionCounts(**{name: arrays[name] for name in TransitionCounts.__struct_fields__})
    pairs = {len(counts.followers), len(counts.times), len(counts.direct), len(counts.shares)}
    known = len(pairs) == 1 and _are_rows(counts.starts, counts.followers, size)
    finite = np.isfinite(popularity).all() and np.isfinite(counts.shares).all()
    if not (known and finite and len(popularity) == len(interactions) == size and (popularity > 0).all()):
        raise ValueError("counts.safetensors does not fit vocabulary.json")
    return counts, popularity, interactions


def _refuse_unfit(file: str, arrays: dict[str, Any], kinds: dict[str, str]) -> None:
    if unfit := [name for name, kind in kinds.items() if arrays[name].ndim != 1 or arrays[name].dtype.kind not in kind]:
        raise ValueError(f"{file}: {unfit[0]} is no list of such numbers")


def _are_rows(starts: NDArray[Any], items: NDArray[Any], size: int) -> bool:
    """Whether these are sparse rows of ``size`` items over as many."""
    whole = starts.dtype == np.int64 and len(starts) == size + 1 and starts[0] == 0 and int(starts[-1]) == len(items)
    return bool(whole and (np.diff(starts) >= 0).all() and items.max(initial=0) < max(size, 1))
