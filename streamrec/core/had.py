"""What a user had beyond the history that the model sees: item ids as 32-bit hashes, the latest last.

A session keeps the last interactions for the model and, apart from them, the items that fell out of that
history, so that `repeats=never` holds for thousands of items at four bytes each. CRC-32 of the item id; among
4,000 hashes a new item is mistaken for one of them once in a million.
"""

from collections.abc import Iterable, Set
from zlib import crc32

MAX_HAD = 4000


def item_hash(item_id: str) -> int:
    """CRC-32 of the item id in UTF-8."""
    return crc32(item_id.encode("utf-8", "surrogatepass"))


def remember(had: tuple[int, ...], items: Iterable[str], except_for: Set[str], limit: int = MAX_HAD) -> tuple[int, ...]:
    """``had`` with ``items`` (item ids, the latest last) moved to its end, cut to the last ``limit``.

    Args:
        except_for: item ids that are still in the history, so they need no place here.
    """
    new = tuple(dict.fromkeys(item_hash(item_id) for item_id in items if item_id not in except_for))
    if not new:
        return had
    moved = set(new)
    return (*(each for each in had if each not in moved), *new)[-limit:]
