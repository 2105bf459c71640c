"""Items of a data set. One odd item does not stop the others: it is cut or left out, and a note says so.

- A title, creator, text or tag over the limit of `core.types.Item` is cut; tags after the 64th are dropped.
- A row without a usable item id (none, blanks, over 256 characters) is left out. No event can refer to it:
  such an id in an event is an error, because no message can carry it.
- Tags in a text are separated by ``|``. If a file seems to use commas or semicolons, each text is read as one
  tag, and a note says so.
"""

from pathlib import Path
from typing import Any

from streamrec.core.errors import UserError
from streamrec.core.types import Item
from streamrec.eventlog.ids import WARNING, padding_note
from streamrec.eventlog.tables import Wanted, read_table
from streamrec.eventlog.values import Fault, as_id, as_text, count, is_missing, quote, trim

WANTED = Wanted(("item_id",), ("title", "creator", "tags", "text"))
MAX_TEXT, MAX_TAG, MAX_TAGS = 20_000, 256, 64  # as in core.types
SEPARATOR = "|"


class _Reading:
    """What is seen while the rows are read."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.padded: list[str] = []  # ids with blanks around them
        self.cut: list[str] = []  # what was cut, with its line
        self.left_out: list[str] = []  # rows, with their fault
        self.tagged = self.separated = 0  # items with tags as a text, and of those with a separator of ours
        self.unseparated: list[str] = []  # tags that seem to have another
        self.repeated = 0

    def take(self, line: int, fields: dict[str, Any]) -> None:
        """Takes in one row. Raises Fault if it cannot be read, which names the column."""
        try:
            written = as_id(fields["item_id"])
        except Fault as fault:
            self.left_out.append(f"line {line}: item_id {fault}")
            return
        item_id = trim(written)
        if item_id != written:
            self.padded.append(written)
        item = Item(
            schema_version=1,
            item_id=item_id,
            title=self._text(line, "title", fields.get("title")),
            creator=self._text(line, "creator", fields.get("creator")),
            tags=self._tags(line, fields.get("tags")),
            text=self._text(line, "text", fields.get("text")),
        )
        if item_id not in self.items:
            self.items[item_id] = item
        elif self.items[item_id] == item:
            self.repeated += 1
        else:
            raise Fault(f"column item_id: {quote(item_id)} stands twice, and differs")

    def _text(self, line: int, name: str, value: Any) -> str:
        if not isinstance(value, str):
            if is_missing(value):
                return ""
            try:
                value = as_text(value)
            except Fault as fault:
                raise Fault(f"column {name}: {fault}") from None
        return self._fitting(line, name, trim(value), MAX_TEXT)

    def _tags(self, line: int, value: Any) -> tuple[str, ...]:
        if is_missing(value):
            return ()
        if isinstance(value, str):
            listed: list[Any] = value.split(SEPARATOR)
            self.tagged += 1
            if len(listed) > 1:
                self.separated += 1
            elif "," in value or ";" in value:
                self.unseparated.append(value)
        elif isinstance(value, list):
            listed = value
        else:
            raise Fault(f"column tags: {quote(value)} is neither text nor a list")
        try:
            tags = [text for tag in listed if tag is not None and (text := trim(as_text(tag)))]
        except Fault as fault:
            raise Fault(f"column tags: {fault}") from None
        if len(tags) > MAX_TAGS:
            self.cut.append(f"line {line}: {len(tags)} tags, {MAX_TAGS} are kept")
        return tuple(self._fitting(line, "tag", tag, MAX_TAG) for tag in tags[:MAX_TAGS])

    def _fitting(self, line: int, name: str, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        self.cut.append(f"line {line}: a {name} of {len(text):,} characters, {limit:,} are kept")
        return text[:limit]

    def notes(self, file: str) -> list[str]:
        notes = []
        if self.padded:
            notes.append(padding_note(f"{file}, item_id", len(self.padded), self.padded[0]))
        if self.repeated:
            notes.append(f"{file}: {count(self.repeated, 'row')} equal to an earlier one, ignored")
        if self.left_out:
            rows = count(len(self.left_out), "row")
            notes.append(f"{WARNING}{file}: {rows} left out; the first: {self.left_out[0]}")
        if self.cut:
            values = count(len(self.cut), "value")
            notes.append(f"{file}: {values} over a limit, cut; the first: {self.cut[0]}")
        if len(self.unseparated) > self.separated:
            notes.append(
                f"{WARNING}{file}: tags with commas or semicolons and without {SEPARATOR!r}: "
                f"{len(self.unseparated):,} of {self.tagged:,} items with tags, such as "
                f"{quote(self.unseparated[0])}; each is read as one tag, because {SEPARATOR!r} separates tags"
            )
        return notes


def read_items(path: Path, notes: list[str]) -> dict[str, Item]:
    """The items by their ids, in the order of the file.

    Raises:
        UserError: the file cannot be read, no row has a usable id, or two rows of one id differ.
    """
    reading = _Reading()
    for chunk in read_table(path, WANTED, notes):
        for row, line in enumerate(chunk.lines):
            try:
                reading.take(line, {name: column[row] for name, column in chunk.columns.items()})
            except Fault as fault:
                raise UserError(f"{path}, line {line}, {fault}") from None
    if reading.left_out and not reading.items:
        raise UserError(f"{path}: no row has a usable id; the first: {reading.left_out[0]}")
    notes += reading.notes(path.name)
    return reading.items
