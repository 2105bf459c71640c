"""A data set: a folder with ``events.*`` and ``items.*``, read into columns ordered by time.

It knows no Kafka and no model. `Dataset.event` makes a row into the message that a producer would send.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.core.session import is_skip
from streamrec.core.types import Event, Item
from streamrec.eventlog.tables import Chunk, find_table, read_table

EVENT_TYPES = ("click", "listen", "impression")  # by code, in `Dataset.event_type`
IMPRESSION = EVENT_TYPES.index("impression")
LATEST_MS = 253_402_300_799_999  # the end of the year 9999, as in core.types
COLUMNS = ("user_id", "item_id", "timestamp", "event_type")
EXTRAS = {"session_id": str, "ms_played": int, "duration_ms": int, "recommendation_id": str}  # ride along into events
ITEM_COLUMNS = ("title", "creator", "tags", "text")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Events by time, of equal times in the order of their file. Indexes point into the sorted ids."""

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]  # of the catalogue: with or without events
    user_index: NDArray[np.int32]
    item_index: NDArray[np.int32]
    occurred_at: NDArray[np.int64]  # milliseconds UTC
    event_type: NDArray[np.int8]  # an index into EVENT_TYPES
    extras: Mapping[str, Sequence[Any]]  # optional fields of events; None where a row has none
    items: dict[str, Item]
    sha256: str  # of the content, whatever file format it was read from

    def __len__(self) -> int:
        return len(self.occurred_at)

    @property
    def is_interaction(self) -> NDArray[np.bool_]:
        """Which rows are clicks or listens; an impression is neither history nor target."""
        interactions: NDArray[np.bool_] = self.event_type != IMPRESSION
        return interactions

    @property
    def is_skip(self) -> NDArray[np.bool_]:
        """Which rows are skips (`core.session.is_skip`): the user had the item, but nothing is learned from it."""
        skips = np.zeros(len(self), bool)
        if played := self.extras.get("ms_played"):
            durations = self.extras.get("duration_ms") or [None] * len(self)
            kinds = [EVENT_TYPES[code] for code in self.event_type.tolist()]
            skips[:] = list(map(is_skip, kinds, played, durations))
        return skips

    def before(self, occurred_at: int) -> "Dataset":
        """The events before a time (milliseconds UTC), with the whole catalogue."""
        rows = int(np.searchsorted(self.occurred_at, occurred_at))
        if rows == 0:
            raise UserError(f"no event before {occurred_at}; the first is at {self.occurred_at[0]} (milliseconds UTC)")
        columns = (self.user_index, self.item_index, self.occurred_at, self.event_type)
        extras = {name: column[:rows] for name, column in self.extras.items()}
        return _assemble(self.user_ids, self.item_ids, tuple(column[:rows] for column in columns), extras, self.items)

    def event(self, row: int) -> Event:
        """The row as a message; its id is the same whenever the same data is read. Raises ValueError for an impression."""
        kind = EVENT_TYPES[self.event_type[row]]
        if kind == "impression":
            raise ValueError(f"row {row} is an impression, not an event of a user")
        return Event(
            schema_version=1,
            event_id=f"{self.sha256[:8]}-{row}",
            event_type=cast(Literal["click", "listen"], kind),
            user_id=self.user_ids[self.user_index[row]],
            item_id=self.item_ids[self.item_index[row]],
            occurred_at=int(self.occurred_at[row]),
            **{name: column[row] for name, column in self.extras.items()},
        )


def read_dataset(folder: Path) -> Dataset:
    """The data set in ``folder``.

    Raises:
        UserError: a file is missing or broken; names file, line and column.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder of a data set (events.* and items.*)")
    items = _read_items(find_table(folder, "items"))
    path = find_table(folder, "events")
    users, known = _Ids(), _Ids()
    columns: list[tuple[NDArray[Any], ...]] = []
    extras: dict[str, list[Any]] = {}
    for chunk in read_table(path, COLUMNS, tuple(EXTRAS)):
        try:
            columns.append(_parse(chunk, users, known))
            for name, column in chunk.columns.items():
                if name in EXTRAS:
                    extras.setdefault(name, []).extend([_extra(name, value) for value in column])
        except _Fault:
            raise _first_fault(path, chunk) from None
    if not columns:
        raise UserError(f"{path}: no events; it holds a header at most")
    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    by_time = np.argsort(joined[2], kind="stable")  # an unstable sort would change which event is a user's last
    user_ids, user_index = users.sorted_by_id()
    for item_id in known.index:
        items.setdefault(item_id, Item(schema_version=1, item_id=item_id))
    item_ids = tuple(sorted(items))
    place = {item_id: index for index, item_id in enumerate(item_ids)}
    item_index = np.array([place[item_id] for item_id in known.index], np.int32)
    joined[0], joined[1] = user_index[joined[0]], item_index[joined[1]]
    extras = {name: [column[row] for row in by_time.tolist()] for name, column in extras.items() if set(column) != {None}}
    return _assemble(user_ids, item_ids, tuple(column[by_time] for column in joined), extras, items)


def _assemble(
    user_ids: tuple[str, ...],
    item_ids: tuple[str, ...],
    columns: Sequence[NDArray[Any]],
    extras: Mapping[str, Sequence[Any]],
    items: dict[str, Item],
) -> Dataset:
    sha = hashlib.sha256()
    for part in (user_ids, item_ids, dict(extras), [items[item_id] for item_id in item_ids]):
        sha.update(msgspec.json.encode(part, order="deterministic") + b"\n")
    for column in columns:
        sha.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    user_index, item_index, occurred_at, event_type = columns
    return Dataset(user_ids, item_ids, user_index, item_index, occurred_at, event_type, extras, items, sha.hexdigest())


class _Fault(ValueError):
    """A value that cannot be read; the text says what is wrong with it."""


class _Ids:
    """Ids in the order of their first appearance."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def add(self, values: Sequence[Any]) -> NDArray[np.int32]:
        index = self.index
        try:
            new = dict.fromkeys(value for value in values if value not in index)
        except TypeError:
            raise _Fault("not a string") from None
        for value in new:
            _check_id(value)
            index[value] = len(index)
        return np.array([index[value] for value in values], np.int32)

    def sorted_by_id(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The ids in their own order, and where each of the first appearance stands in it."""
        ids = tuple(sorted(self.index))
        place = {name: number for number, name in enumerate(ids)}
        return ids, np.array([place[name] for name in self.index], np.int32)


def _parse(chunk: Chunk, users: _Ids, items: _Ids) -> tuple[NDArray[Any], ...]:
    return (
        users.add(_as_text(chunk.columns["user_id"])),
        items.add(_as_text(chunk.columns["item_id"])),
        _times(chunk.columns["timestamp"]),
        _event_types(chunk.columns["event_type"]),
    )


def _as_text(values: Sequence[Any]) -> Sequence[Any]:
    """Whole numbers, which JSON and parquet may hold as ids, as strings."""
    if set(map(type, values)) == {str}:
        return values
    return [str(value) if type(value) is int else value for value in values]


def _check_id(value: Any) -> None:
    if not isinstance(value, str):
        raise _Fault("is missing" if value is None else f"{value!r} is not a string")
    if not value:
        raise _Fault("is empty")
    if len(value) > 256:
        raise _Fault(f"has {len(value)} characters; at most 256 are allowed")


def _times(values: Sequence[Any]) -> NDArray[np.int64]:
    try:
        times: NDArray[Any] = np.rint(np.array(list(map(float, values))) * 1000)
    except (ValueError, TypeError, OverflowError):
        raise _Fault(f"{values[0]!r} is not a number of seconds since 1970 (UTC)") from None
    if not np.all((times >= 0) & (times <= LATEST_MS)):  # a NaN is neither
        raise _Fault(f"{values[0]!r} is not between 1970 and 9999; seconds are expected, not milliseconds")
    return times.astype(np.int64)


def _event_types(values: Sequence[Any]) -> NDArray[np.int8]:
    codes = {name: code for code, name in enumerate(EVENT_TYPES)}
    try:
        return np.array([codes[value] for value in values], np.int8)
    except (KeyError, TypeError):
        raise _Fault(f"{values[0]!r} is none of {', '.join(EVENT_TYPES)}") from None


def _extra(name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if EXTRAS[name] is str:
        text = _as_text([value])[0]
        _check_id(text)
        return text
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        number = -1
    if not 0 <= number <= 2**53:
        raise _Fault(f"{value!r} is not a number of milliseconds")
    return number


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "user_id": lambda value: _check_id(_as_text([value])[0]),
    "item_id": lambda value: _check_id(_as_text([value])[0]),
    "timestamp": lambda value: _times([value]),
    "event_type": lambda value: _event_types([value]),
}


def _first_fault(path: Path, chunk: Chunk) -> UserError:
    """Looks for the line that made a chunk unreadable; only called when there is one."""
    for place, line in enumerate(chunk.lines):
        for name, column in chunk.columns.items():
            try:
                _CHECKS[name](column[place]) if name in _CHECKS else _extra(name, column[place])
            except _Fault as fault:
                return UserError(f"{path}, line {line}, column {name}: {fault}")
    raise RuntimeError(f"{path}: a chunk was refused but none of its lines")


def _read_items(path: Path) -> dict[str, Item]:
    items: dict[str, Item] = {}
    for chunk in read_table(path, ("item_id",), ITEM_COLUMNS):
        for place, line in enumerate(chunk.lines):
            fields = {name: column[place] for name, column in chunk.columns.items()}
            try:
                item = _item(fields)
            except (_Fault, msgspec.ValidationError) as fault:
                raise UserError(f"{path}, line {line}: {fault}") from None
            if items.setdefault(item.item_id, item) != item:
                raise UserError(f"{path}, line {line}, column item_id: {item.item_id!r} stands twice, and differs")
    return items


def _item(fields: dict[str, Any]) -> Item:
    item_id = _as_text([fields.pop("item_id")])[0]
    try:
        _check_id(item_id)
    except _Fault as fault:
        raise _Fault(f"column item_id: {fault}") from None
    tags = fields.pop("tags", None) or ()
    listed = tags.split("|") if isinstance(tags, str) else tags  # JSON and parquet may hold a list
    given = {name: value for name, value in fields.items() if value is not None}
    tags = [tag for tag in listed if tag != ""]
    return msgspec.convert({"schema_version": 1, "item_id": item_id, "tags": tags, **given}, Item)
