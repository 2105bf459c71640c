"""The catalogue, as of any version.

A version is how far into the topic ``items`` one has read: version n holds the records at offsets below n. What a recommendation
names can thus be looked up again, live or in replay. Version 0 is the catalogue that the bundle was trained with.
"""

from bisect import bisect_left
from collections.abc import Mapping

from streamrec.core.types import Item


class Catalogue:
    """Every version of every item. Written by one reader of the topic, in the order of its offsets.

    Args:
        base: the items of version 0, by item id.
    """

    def __init__(self, base: Mapping[str, Item]) -> None:
        self._base = base
        self._offsets: dict[str, list[int]] = {}
        self._items: dict[str, list[Item | None]] = {}
        self.version = 0

    def apply(self, offset: int, item_id: str, item: Item | None) -> None:
        """Takes in the record at ``offset``; a None withdraws the item. Raises ValueError when offsets go backwards."""
        if offset < self.version:
            raise ValueError(f"items offset {offset} comes after version {self.version}")
        self._offsets.setdefault(item_id, []).append(offset)
        self._items.setdefault(item_id, []).append(item)
        self.version = offset + 1

    def skip_to(self, version: int) -> None:
        """Moves on over offsets that hold no usable record (compacted away, or unreadable)."""
        self.version = max(self.version, version)

    def at(self, version: int) -> "CatalogueView":
        """The catalogue as it was; costs nothing to make."""
        return CatalogueView(self, version)

    def get(self, item_id: str, version: int) -> Item | None:
        offsets = self._offsets.get(item_id)
        before = bisect_left(offsets, version) if offsets else 0
        return self._items[item_id][before - 1] if before else self._base.get(item_id)


class CatalogueView:
    """The catalogue at one version."""

    def __init__(self, catalogue: Catalogue, version: int) -> None:
        self._catalogue = catalogue
        self.version = version

    def get(self, item_id: str) -> Item | None:
        """The item, or None where it is unknown or withdrawn."""
        return self._catalogue.get(item_id, self.version)
