"""A data set: a folder with ``events.*`` and ``items.*``, read into columns ordered by time.

It knows no Kafka and no model. `Dataset.event` makes a row into the message that a producer would send.
`Dataset.notes` lists what is odd in the files but can be read. The rules for values are in `values`, `ids`
and `catalogue`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.core.session import is_skip
from streamrec.core.types import Event, Item
from streamrec.eventlog.catalogue import read_items
from streamrec.eventlog.ids import WARNING, IdColumn, agree, as_whole, note_meeting, note_slips
from streamrec.eventlog.tables import Chunk, Wanted, find_table, read_table
from streamrec.eventlog.values import (
    EVENT_TYPES,
    LATEST_MS,
    Fault,
    as_id,
    quote,
    read_event_types,
    read_milliseconds,
    read_optional_id,
    read_times,
)

__all__ = ["EVENT_TYPES", "IMPRESSION", "LATEST_MS", "Dataset", "read_dataset"]

IMPRESSION = EVENT_TYPES.index("impression")
EXTRAS: dict[str, Callable[[Any], Any]] = {  # ride along into events
    "session_id": read_optional_id,
    "ms_played": read_milliseconds,
    "duration_ms": read_milliseconds,
    "recommendation_id": read_optional_id,
}
CHECKS: dict[str, Callable[[Any], Any]] = {
    "user_id": as_id,
    "item_id": as_id,
    "timestamp": lambda value: read_times([value]),
    "event_type": lambda value: read_event_types([value]),
    **EXTRAS,
}
WANTED = Wanted(("user_id", "item_id", "timestamp", "event_type"), tuple(EXTRAS), times=("timestamp",))
YEAR_MS = 31_536_000_000


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
    notes: tuple[str, ...] = ()  # what is odd in the files, one line each

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

    Events that are equal in all columns are counted in a note, and kept: two clicks within one second are two
    events, and a log in seconds cannot tell them from a row that was exported twice.

    Raises:
        UserError: a file is missing or broken (names file, line and column), or the catalogue has none of the
            items of the events.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder of a data set (events.* and items.*)")
    items_path, path = find_table(folder, "items"), find_table(folder, "events")
    notes: list[str] = []
    items = read_items(items_path, notes)
    log = _read_events(path, notes)
    user_name, item_name = f"{path.name}, user_id", f"{path.name}, item_id"
    users = as_whole(log.users.trimmed(user_name, log.columns[0], notes), user_name, notes)
    written = log.items.trimmed(item_name, log.columns[1], notes)
    known, in_items = agree(written, list(items), (item_name, f"{items_path.name}, item_id"), notes)
    note_slips(users, user_name, notes)
    note_slips(known, item_name, notes)
    note_meeting(known, in_items, (path, items_path), notes)
    items = {name: _named(item, name) for name, item in zip(in_items, items.values(), strict=True)}
    for item_id in known:
        items.setdefault(item_id, Item(schema_version=1, item_id=item_id))
    user_ids, item_ids = tuple(sorted(set(users))), tuple(sorted(items))
    user_rows, item_rows, times, types = log.columns
    # An unstable sort would change which event is a user's last.
    by_time = np.argsort(times, kind="stable")
    user_rows, item_rows = _positions(users, user_ids)[user_rows], _positions(known, item_ids)[item_rows]
    columns = tuple(column[by_time] for column in (user_rows, item_rows, times, types))
    extras = {name: [column[row] for row in by_time.tolist()] for name, column in log.extras.items()}
    read = _assemble(user_ids, item_ids, columns, extras, items)
    return replace(read, notes=(*notes, *_notes_on_rows(read, path.name)))


class _Log(NamedTuple):
    """Events in the order of their file. The first two columns point into the ids as they are written."""

    users: IdColumn
    items: IdColumn
    columns: tuple[NDArray[Any], ...]
    extras: dict[str, list[Any]]  # without columns that are empty


def _read_events(path: Path, notes: list[str]) -> _Log:
    users, items = IdColumn(), IdColumn()
    parts: list[tuple[NDArray[Any], ...]] = []
    extras: dict[str, list[Any]] = {}
    for chunk in read_table(path, WANTED, notes):
        columns = chunk.columns
        try:
            times, types = read_times(columns["timestamp"]), read_event_types(columns["event_type"])
            parts.append((users.add(columns["user_id"]), items.add(columns["item_id"]), times, types))
            for name, read in EXTRAS.items():
                if name in columns:
                    cells = columns[name]
                    empty = cells.count(None) == len(cells)
                    extras.setdefault(name, []).extend(cells if empty else map(read, cells))
        except Fault:
            raise _first_fault(path, chunk) from None
    if not any(len(part[0]) for part in parts):
        raise UserError(f"{path}: no events; it holds a header at most")
    extras = {name: column for name, column in extras.items() if set(column) != {None}}
    for name in (name for name in extras if EXTRAS[name] is read_optional_id):
        ids = list(dict.fromkeys(value for value in extras[name] if value is not None))
        renamed = dict(zip(ids, as_whole(ids, f"{path.name}, {name}", notes), strict=True))
        extras[name] = [renamed.get(value) for value in extras[name]]
    return _Log(users, items, tuple(np.concatenate(part) for part in zip(*parts, strict=True)), extras)


def _first_fault(path: Path, chunk: Chunk) -> UserError:
    """Looks for the line that made a chunk unreadable; only called if there is one."""
    for row, line in enumerate(chunk.lines):
        for name, column in chunk.columns.items():
            try:
                CHECKS[name](column[row])
            except Fault as fault:
                return UserError(f"{path}, line {line}, column {name}: {fault}")
    raise RuntimeError(f"{path}: a chunk was refused but none of its lines")


def _positions(ids: Sequence[str], order: Sequence[str]) -> NDArray[np.int32]:
    position = {name: number for number, name in enumerate(order)}
    return np.array([position[name] for name in ids], np.int32)


def _named(item: Item, item_id: str) -> Item:
    return item if item.item_id == item_id else msgspec.structs.replace(item, item_id=item_id)


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


def _notes_on_rows(read: Dataset, file: str) -> list[str]:
    notes = []
    doubles = _doubles(read)
    if doubles:
        row = doubles[0]
        user, item = read.user_ids[read.user_index[row]], read.item_ids[read.item_index[row]]
        notes.append(
            f"{WARNING if 4 * len(doubles) > len(read) else ''}{file}: rows equal to an earlier one in all "
            f"columns: {len(doubles):,} of {len(read):,}, such as user {quote(user)}, item {quote(item)}, "
            f"{read.occurred_at[row] / 1000:.15g}; kept"
        )
    if read.occurred_at[-1] < YEAR_MS:
        notes.append(f"{file}: all events are in 1970; timestamps are seconds since 1970, or ISO 8601")
    return notes


def _doubles(read: Dataset) -> list[int]:
    """Rows that are equal to an earlier one."""
    columns = (read.user_index, read.item_index, read.occurred_at, read.event_type)
    mixed = np.zeros(len(read), np.uint64)
    for column in columns:  # Sorting one number a row is much faster than sorting rows.
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    ordered = np.sort(mixed)
    shared = ordered[1:][ordered[1:] == ordered[:-1]]
    seen: set[tuple[Any, ...]] = set()
    doubles = []
    for row in np.flatnonzero(np.isin(mixed, shared)).tolist() if len(shared) else ():
        values = (*(column[row] for column in columns), *(column[row] for column in read.extras.values()))
        if values in seen:
            doubles.append(row)
        seen.add(values)
    return doubles
