"""Ids of the columns of a data set, made comparable between its files.

Three rules, the same in every format:

- Blanks around an id are not part of it.
- A text column in which every id is written as a whole float ("7.0") is read as whole numbers ("7"): pandas
  writes ids like this if the column had a gap once. The column stays as it is if one of its ids is written
  otherwise, or if the other file, which is not all floats, has one of its ids as it is written: a catalogue
  may have "1" and "1.0".
- Nothing else is changed. What looks like a slip ("0042" beside "42") is counted and shown with an example.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.eventlog.values import EXACT, as_id, count, quote, trim

FLOAT = re.compile(r"(0|-?[1-9]\d{0,15})\.0")
SCIENTIFIC = re.compile(r"-?\d([.,]\d+)?[eE]\+\d+")  # 1.23457E+17
LOST_DIGITS = "a spreadsheet or a float column shortened long numbers"
WARNING = "warning: "  # how a note begins that says that the result is likely to be wrong

CAUSES: dict[str, Callable[[str], str]] = {
    "written as floats, as pandas does if a column has gaps": lambda name: re.sub(r"(?<=\d)\.0+$", "", name),
    "leading zeros": lambda name: name.lstrip("0"),
    "blanks inside": lambda name: "".join(name.split()),
    "upper and lower case": str.casefold,
    "two ways to encode the same letters": lambda name: unicodedata.normalize("NFKC", name),
    "quotes": lambda name: name.strip("\"'"),
    "a prefix": lambda name: re.split("[:/]", name)[-1],
}


class IdColumn:
    """The different ids of a column, as the file writes them, in the order of their first appearance."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def add(self, values: Sequence[Any]) -> NDArray[np.int32]:
        """Takes in some rows; returns which id each row has. Raises Fault for a value that is no id."""
        texts: Sequence[str] = values
        if set(map(type, values)) != {str}:
            texts = [as_id(value) for value in values]
        index = self.index
        for text in dict.fromkeys(text for text in texts if text not in index):
            index[as_id(text)] = len(index)
        return np.array([index[text] for text in texts], np.int32)

    def trimmed(self, column: str, rows: NDArray[np.int32], notes: list[str]) -> list[str]:
        """The ids without blanks around them, in the same order; notes how many rows had some."""
        ids = [trim(text) for text in self.index]
        padded = np.array([text != written for text, written in zip(ids, self.index, strict=True)], np.bool_)
        if padded.any():
            example = next(written for text, written in zip(ids, self.index, strict=True) if text != written)
            notes.append(padding_note(column, int(padded[rows].sum()), example))
        return ids


def padding_note(column: str, rows: int, example: str) -> str:
    """What is said of ids with blanks around them."""
    return f"{column}: blanks around the id ignored in {count(rows, 'row')}, such as {quote(example)}"


def are_floats(ids: Collection[str]) -> bool:
    """Whether every id is a whole number with ``.0`` behind it, and exact as a float."""
    return bool(ids) and all(FLOAT.fullmatch(name) and abs(int(name[:-2])) <= EXACT for name in ids)


def as_whole(ids: Sequence[str], column: str, notes: list[str]) -> list[str]:
    """The ids without ``.0`` if all are written so, with a note that says so."""
    if not are_floats(ids):
        return list(ids)
    example = f"{ids[0]} is {ids[0][:-2]}"
    notes.append(f"{column}: every id is written as a float; read as whole numbers ({example})")
    return [name[:-2] for name in ids]


def agree(
    in_events: Sequence[str], in_items: Sequence[str], columns: tuple[str, str], notes: list[str]
) -> tuple[list[str], list[str]]:
    """The item ids of both files by the rule for floats (see the module), each in its order."""
    if are_floats(in_events) != are_floats(in_items) and not set(in_events).isdisjoint(in_items):
        return list(in_events), list(in_items)
    return as_whole(in_events, columns[0], notes), as_whole(in_items, columns[1], notes)


def note_slips(ids: Collection[str], column: str, notes: list[str]) -> None:
    """Notes ids that look like a slip: a number that another id writes differently, or that lost digits."""
    shortened = sorted(name for name in set(ids) if SCIENTIFIC.fullmatch(name))
    if shortened:
        notes.append(
            f"{WARNING}{column}: {count(len(shortened), 'id')} such as {quote(shortened[0])}; "
            f"{LOST_DIGITS}, and different ids may have become equal"
        )
    known, pairs = set(ids), []
    for name in known:
        if name.endswith(".0") or name[:1] == "0":
            plain = re.sub(r"\.0+$", "", name).lstrip("0") or "0"
            if plain != name and plain.isdecimal() and plain in known:
                pairs.append((name, plain))
    if pairs:
        name, plain = min(pairs)
        notes.append(
            f"{WARNING}{column}: {count(len(pairs), 'id')} equal to another as a number, but written "
            f"differently, such as {quote(name)} and {quote(plain)}; they stay different"
        )


def note_meeting(
    in_events: Collection[str],
    catalogue: Collection[str],
    files: tuple[Path, Path],
    notes: list[str],
) -> None:
    """Notes how many items of the events the catalogue lacks, and how many of its items have no event.

    Raises:
        UserError: the catalogue has items, but none of those in the events.
    """
    events, items = files[0].name, files[1].name
    listed, known = set(in_events), set(catalogue)
    if not known:
        notes.append(f"{items} has no items: the {len(listed):,} items of {events} have no title and no tags")
        return
    unknown = sorted(listed - known)
    slip = _slip(unknown, known)
    if len(unknown) == len(listed):
        name, other, cause = slip or (unknown[0], min(known), "")
        if not cause and any(map(SCIENTIFIC.fullmatch, (*unknown, *known))):
            cause = LOST_DIGITS
        likely = f"likely cause: {cause}" if cause else "are both files of one data set?"
        raise UserError(
            f"{files[0]}: none of its items is in {items}: {quote(name)} against {quote(other)}; {likely}; "
            "write the ids the same way in both files"
        )
    example = ""
    if slip:
        example = f" ({quote(slip[0])} is {quote(slip[1])} there; likely cause: {slip[2]})"
    elif unknown:
        example = f" (such as {quote(unknown[0])})"
    notes.append(
        f"{WARNING if 2 * len(unknown) > len(listed) else ''}items of {events} that are not in {items}: "
        f"{len(unknown):,} of {len(listed):,}{example}; items of {items} without an event: "
        f"{len(known - listed):,} of {len(known):,}"
    )


def _slip(unknown: Sequence[str], known: Collection[str]) -> tuple[str, str, str] | None:
    """An unknown id, a known one that it may mean, and how they differ; None if there is none like that."""
    for cause, fold in CAUSES.items() if unknown else ():
        meant = {fold(name): name for name in known}
        for name in unknown:
            if fold(name) in meant:
                return name, meant[fold(name)], cause
    return None
