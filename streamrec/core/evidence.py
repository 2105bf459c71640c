"""Facts that support a recommended item, found where the score came from. No fact, no reason: an item may have none."""

from collections.abc import Sequence
from typing import Protocol

from streamrec.core.catalogue import CatalogueView
from streamrec.core.types import Evidence, Interaction, Session

RECENT = 10  # interactions that an explanation may cite: nobody remembers why from further back
LEAST_COUNT = 2  # once is an accident, not a pattern


class TrainingLog(Protocol):
    """What is known of the log that the bundle was trained on."""

    @property
    def window(self) -> int:
        """How many interactions after an item still count as "after" it."""
        ...

    def followed(self, item_id: str, by: str) -> int:
        """How often ``by`` came within the window after ``item_id``, in the log of one user."""
        ...

    def interactions(self, item_id: str) -> int:
        """How often the item was clicked or listened to."""
        ...


def find_evidence(item_id: str, session: Session, log: TrainingLog, catalogue: CatalogueView) -> tuple[Evidence, ...]:
    """The strongest transition from a recent interaction, a creator in common, and failing both the item's popularity."""
    recent = [past for past in session.history[-RECENT:] if not past.skipped and past.item_id != item_id]
    found = [*_often_after(item_id, recent, log), *_same_creator(item_id, recent, catalogue)]
    if not found and (count := log.interactions(item_id)) >= LEAST_COUNT:
        found.append(Evidence(kind="popular", count=count))
    return tuple(found)


def _often_after(item_id: str, recent: Sequence[Interaction], log: TrainingLog) -> list[Evidence]:
    counted = [(log.followed(past.item_id, item_id), place, past) for place, past in enumerate(recent)]
    count, _, past = max(counted, default=(0, 0, None), key=lambda entry: entry[:2])  # of equals, the more recent
    if past is None or count < LEAST_COUNT:
        return []
    return [Evidence(kind="often_after", item_id=past.item_id, event_id=past.event_id, count=count, window=log.window)]


def _same_creator(item_id: str, recent: Sequence[Interaction], catalogue: CatalogueView) -> list[Evidence]:
    item = catalogue.get(item_id)
    if item is None or not item.creator.strip():
        return []
    for past in reversed(recent):
        cited = catalogue.get(past.item_id)
        if cited is not None and cited.creator == item.creator:
            return [Evidence(kind="same_creator", item_id=past.item_id, event_id=past.event_id)]
    return []
