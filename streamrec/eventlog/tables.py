"""Rows of a table file (csv, jsonl, parquet; the first two also gzipped), chunk by chunk, each with its line number.

It knows no column's meaning; what it cannot read is one UserError that names file and line. Blanks around the
names of columns and a byte order mark are ignored in every format.
"""

import csv
import gzip
import io
import zlib
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamrec.core.errors import UserError
from streamrec.eventlog.values import trim

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
CHUNK = 1024  # small ones stay in the processor's cache and out of the garbage collector's way: three times faster


SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "pipes"}
csv.field_size_limit(1 << 24)  # the default of 131,072 makes one long text an error


class Wanted(NamedTuple):
    """The columns to read."""

    required: Sequence[str]
    optional: Sequence[str]
    times: Sequence[str] = ()  # those that may have a type of time, where the format has types


class Chunk(msgspec.Struct, frozen=True):
    """Some rows of a table, column by column. A column that the file does not have is not there."""

    lines: Sequence[int]  # in the file, from 1; of parquet, the row's number
    columns: dict[str, Sequence[Any]]


def find_table(folder: Path, name: str) -> Path:
    """The file ``name.*`` of a data set's folder; raises UserError if there is none, or more than one."""
    try:
        entries = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    matches = [entry for entry in entries if entry in {name + suffix for suffix in SUFFIXES}]
    if len(matches) == 1:
        return folder / matches[0]
    if matches:
        raise UserError(f"{folder}: both {matches[0]} and {matches[1]}; keep one of them")
    holds = f"the folder holds {_listed(entries)}" if entries else "the folder is empty"
    readable = ", ".join(name + suffix for suffix in SUFFIXES)
    raise UserError(f"{folder}: no {name} file; {holds}; what is read is {readable}")


def read_table(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Chunk]:
    """The table's rows with those wanted columns that it has; ``notes`` gets what is odd but can be read.

    Raises:
        UserError: the file cannot be read, or a required column is missing.
    """
    try:
        match Path(path.name.removesuffix(".gz")).suffix:
            case ".csv":
                yield from _read_csv(path, wanted, notes)
            case ".jsonl":
                yield from _read_jsonl(path, wanted)
            case _:
                yield from _read_parquet(path, wanted)
    except UnicodeDecodeError:
        raise UserError(f"{path}, line {_undecodable_line(path)}: not UTF-8; save the file as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken gzip file ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: {' '.join(str(error.strerror or error).split())}") from None  # pyarrow's go over lines


def _open(path: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _read_csv(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Chunk]:
    with _open(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.reader(text)  # not strict: of a header, a missing column says more than a wrong quote
        try:
            header = next(reader, [])
            if not header:
                required = ", ".join(wanted.required)
                raise UserError(f"{path}: is empty, or its first line is; that must name {required}")
            spaced = any(name[:1].isspace() for name in header[1:])  # then a quote may follow the blank
            if spaced:
                notes.append(f"{path.name}: blanks after commas ignored, as the header has some")
                text.seek(0)
                header = next(csv.reader(text, skipinitialspace=True))
            positions = _positions(f"{path}, line 1", header, wanted)
            text.seek(0)
            reader = csv.reader(text, strict=True, skipinitialspace=spaced)
            width = len(next(reader))
            while numbered := [(reader.line_num, row) for row in islice(reader, CHUNK)]:
                lines = [line for line, row in numbered if row]
                rows = [row for _, row in numbered if row]
                if not rows:
                    continue
                if set(map(len, rows)) != {width}:
                    line, size = next((line, len(row)) for line, row in numbered if row and len(row) != width)
                    said = f"{size} fields where the header names {width}"
                    cure = "; a value with a comma needs quotes" if size > width else ""
                    raise UserError(f"{path}, line {line}: {said}{cure}")
                columns = list(zip(*rows, strict=True))
                yield Chunk(lines, {name: columns[position] for name, position in positions.items()})
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}; check the quotes there") from None


def _positions(where: str, header: Sequence[str], wanted: Wanted) -> dict[str, int]:
    names = [trim(name) for name in header]
    for name in wanted.required:
        if name not in names:
            raise UserError(f"{where}: no column {name!r}; {_described(names)}")
    for name in (*wanted.required, *wanted.optional):
        if names.count(name) > 1:
            raise UserError(f"{where}: column {name!r} stands twice")
    return {name: names.index(name) for name in (*wanted.required, *wanted.optional) if name in names}


def _described(names: Sequence[str]) -> str:
    """The columns that a file has, for an error; and their separator, if that seems to be no comma."""
    separator = max(SEPARATORS, key=lambda mark: sum(name.count(mark) for name in names))
    parts = [part.strip().strip('"') for name in names for part in name.split(separator)]
    if len(parts) < 2 * len(names):
        return f"the columns are {_listed(names)}"
    separators = SEPARATORS[separator]
    return f"its columns seem to be separated by {separators} ({_listed(parts)}), and must be by commas"


def _listed(names: Collection[str]) -> str:
    text = ", ".join(" ".join(name.split()) for name in names)
    return text if len(text) <= 300 else text[:297] + "..."


def _read_jsonl(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    known: set[str] = set()  # names without blanks around them
    with _open(path) as file:
        numbered = enumerate(file, start=1)
        while lines := list(islice(numbered, CHUNK)):
            rows: list[tuple[int, dict[str, Any]]] = []
            for line, text in lines:
                if text.startswith(BOM_UTF8):  # files that were put together have one in the middle
                    text = text.removeprefix(BOM_UTF8)
                if not text.strip():
                    continue
                try:
                    row = decoder.decode(text)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    said = f"not a JSON object: {error}; each line must be one"
                    raise UserError(f"{path}, line {line}: {said}") from None
                if not known.issuperset(row):
                    row = {trim(name): value for name, value in row.items()}
                    known.update(row)
                for name in wanted.required:
                    if name not in row:
                        said = f"no {name!r}; the names in it are {_listed(row)}"
                        raise UserError(f"{path}, line {line}: {said}")
                rows.append((line, row))
            names = (*wanted.required, *wanted.optional)
            columns: dict[str, Sequence[Any]] = {name: [row.get(name) for _, row in rows] for name in names}
            yield Chunk([line for line, _ in rows], columns)


def _read_parquet(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading parquet needs pyarrow; install streamrec[parquet]") from None
    start = 1
    try:
        # As nanoseconds, the default, far years would wrap around.
        file = parquet.ParquetFile(path, coerce_int96_timestamp_unit="us")
        names, types = file.schema_arrow.names, file.schema_arrow.types
        positions = _positions(str(path), names, wanted)
        for name, position in positions.items():
            _check_type(path, name, types[position], name in wanted.times)
        for batch in file.iter_batches(CHUNK, columns=[names[position] for position in positions.values()]):
            columns = {name: _cells(batch.column(names[position])) for name, position in positions.items()}
            yield Chunk(range(start, start + batch.num_rows), columns)
            start += batch.num_rows
    except UnicodeDecodeError:
        raise UserError(f"{path}, rows from {start}: a text is not UTF-8") from None
    except (pyarrow.ArrowException, ValueError, TypeError, ArithmeticError, NotImplementedError) as error:
        raise UserError(f"{path}: not a readable parquet file: {str(error).splitlines()[0]}") from None


def _check_type(path: Path, name: str, kind: Any, is_time: bool) -> None:
    from pyarrow import types

    if is_time and (types.is_timestamp(kind) or types.is_date(kind)):
        return
    if types.is_temporal(kind):
        expected = "a timestamp, a date or seconds since 1970" if is_time else "text or a number"
        raise UserError(f"{path}: column {name!r} is of type {kind}; {expected} is expected")


def _cells(column: Any) -> Sequence[Any]:
    """The column's values; times as seconds since 1970, because Python's own end with the year 9999."""
    from pyarrow import int32, int64, types

    kind = column.type
    if types.is_date32(kind):
        return [None if day is None else day * 86_400 for day in column.view(int32()).to_pylist()]
    if not (types.is_timestamp(kind) or types.is_date64(kind)):
        cells: list[Any] = column.to_pylist()
        return cells
    # Whole microseconds divided once, as text is: the same time becomes the same float in every format.
    times, unit = column.view(int64()).to_pylist(), kind.unit if types.is_timestamp(kind) else "ms"
    if unit == "ns":
        return [None if time is None else time // 1000 / 1e6 for time in times]
    per_second = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    return [None if time is None else time / per_second for time in times]


def _undecodable_line(path: Path) -> int:
    line = 0
    with _open(path) as file, suppress(EOFError, zlib.error, gzip.BadGzipFile):  # that it is a broken gzip too, one fault will do
        for line, text in enumerate(file, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return line
