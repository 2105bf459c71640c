"""Which events a bundle has counted, so that a training that goes on from it learns every other one.

A bundle's folder holds a 64-bit hash of each in ``learned.safetensors``. Only `--continue` reads it: it is not served,
and no part of the version. Without that file (in an older bundle, or if it was deleted) time decides: what is not newer
than the bundle is taken as known, if the bundle knows the item.
"""

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import LEARNED, Manifest, read_verified

EVERY_HASH = -1


class Learned(Struct, frozen=True):
    """The events that were counted."""

    hashes: NDArray[np.uint64]  # sorted, each once
    until: int  # milliseconds UTC: events up to then are taken as known; EVERY_HASH if no hash is missing

    def has(self, dataset: Dataset) -> NDArray[np.bool_]:
        """Which rows are known."""
        return np.isin(event_hashes(dataset), self.hashes) | (dataset.occurred_at <= self.until)

    def and_of(self, dataset: Dataset, rows: NDArray[np.int64]) -> "Learned":
        """What is known when these rows are counted, too."""
        return Learned(np.union1d(self.hashes, event_hashes(dataset)[rows]), self.until)

    def pack(self) -> bytes:
        """The bytes of the file."""
        return safetensors.save({"hashes": self.hashes, "until": np.array([self.until], np.int64)})


NONE_LEARNED = Learned(np.empty(0, np.uint64), EVERY_HASH)


def read_learned(folder: Path, manifest: Manifest) -> Learned:
    """What the bundle in ``folder`` has counted; raises UserError if the file was changed."""
    by_time = Learned(NONE_LEARNED.hashes, manifest.data.last)
    if manifest.learned is None or not (folder / LEARNED).exists():
        return by_time
    content = read_verified(folder / LEARNED, manifest.learned)
    with suppress(SafetensorError, KeyError):
        arrays = safetensors.load(content)
        hashes, until = arrays["hashes"], arrays["until"]
        if hashes.dtype == np.uint64 and hashes.ndim == 1 and until.dtype == np.int64 and until.shape == (1,):
            return Learned(hashes, int(until[0]))
    raise UserError(f"{folder / LEARNED}: holds no hashes of events; delete it, or train the bundle again")


def event_hashes(dataset: Dataset) -> NDArray[np.uint64]:
    """A hash of each row's user, item, time and type: the same in every data set that holds the event."""
    users = _of_ids(dataset.user_ids)[dataset.user_index]
    items = _of_ids(dataset.item_ids)[dataset.item_index]
    hashes = _mixed(dataset.occurred_at.astype(np.uint64))
    for part in (dataset.event_type.astype(np.uint64), items, users):
        hashes = _mixed(hashes ^ part)
    return hashes


def _of_ids(ids: tuple[str, ...]) -> NDArray[np.uint64]:
    digests = b"".join(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64: each bit of a value changes half of the result's. It is a bijection."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))
