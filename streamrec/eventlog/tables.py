"""Rows of a table file (csv, jsonl, parquet; the first two also gzipped), chunk by chunk, each with its line number.

It knows no column's meaning; what it cannot read is one UserError that names file and line.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from streamrec.core.errors import UserError

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
CHUNK = 1024  # small ones stay in the processor's cache and out of the garbage collector's way: three times faster


class Chunk(msgspec.Struct, frozen=True):
    """Some rows of a table, column by column. A column that the file does not have is not there."""

    lines: Sequence[int]  # in the file, from 1; of parquet, the row's number
    columns: dict[str, Sequence[Any]]


def find_table(folder: Path, name: str) -> Path:
    """The file ``name.*`` of a data set's folder; raises UserError where there is none, or more than one."""
    found = [folder / (name + suffix) for suffix in SUFFIXES if (folder / (name + suffix)).is_file()]
    if not found:
        raise UserError(f"{folder}: no {name} file; a data set has {name}.csv (or .csv.gz, .jsonl, .parquet)")
    if len(found) > 1:
        raise UserError(f"{folder}: both {found[0].name} and {found[1].name}; keep one of them")
    return found[0]


def read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Chunk]:
    """The table's rows with the columns that were asked for and are there.

    Raises:
        UserError: the file cannot be read, or a required column is missing.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    read = readers[Path(path.name.removesuffix(".gz")).suffix]
    try:
        yield from read(path, required, optional)
    except UnicodeDecodeError:
        raise UserError(f"{path}, line {_undecodable_line(path)}: not UTF-8; save the file as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken gzip file ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: {' '.join(str(error.strerror or error).split())}") from None  # pyarrow's go over lines


def _open(path: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _read_csv(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Chunk]:
    with _open(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            places = _places(path, header, required, optional)
            while numbered := [(reader.line_num, row) for row in islice(reader, CHUNK)]:
                lines = [line for line, row in numbered if row]
                rows = [row for _, row in numbered if row]
                if not rows:
                    continue
                if set(map(len, rows)) != {len(header)}:
                    line, row = next((line, row) for line, row in zip(lines, rows, strict=True) if len(row) != len(header))
                    raise UserError(f"{path}, line {line}: {len(row)} fields where the header names {len(header)}")
                columns = list(zip(*rows, strict=True))
                yield Chunk(lines, {name: columns[place] for name, place in places.items()})
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}; check the quotes there") from None


def _places(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    if not header:
        raise UserError(f"{path}: is empty, or its first line is; that must name {', '.join(required)}")
    for name in required:
        if name not in header:
            raise UserError(f"{path}, line 1: no column {name!r}; the header must name {', '.join(required)}")
    for name in (*required, *optional):
        if header.count(name) > 1:
            raise UserError(f"{path}, line 1: column {name!r} stands twice")
    return {name: header.index(name) for name in (*required, *optional) if name in header}


def _read_jsonl(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Chunk]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    wanted = (*required, *optional)
    with _open(path) as file:
        numbered = enumerate(file, start=1)
        while lines := list(islice(numbered, CHUNK)):
            rows: list[tuple[int, dict[str, Any]]] = []
            for line, text in lines:
                if not text.strip():
                    continue
                try:
                    row = decoder.decode(text)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise UserError(f"{path}, line {line}: not a JSON object: {error}") from None
                for name in required:
                    if name not in row:
                        raise UserError(f"{path}, line {line}: no {name!r}; each line needs {', '.join(required)}")
                rows.append((line, row))
            yield Chunk([line for line, _ in rows], {name: [row.get(name) for _, row in rows] for name in wanted})


def _read_parquet(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Chunk]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading parquet needs pyarrow; install streamrec[parquet]") from None
    try:
        file = parquet.ParquetFile(path)
        places = _places(path, file.schema_arrow.names, required, optional)
        start = 1
        for batch in file.iter_batches(CHUNK, columns=list(places)):
            yield Chunk(range(start, start + batch.num_rows), batch.to_pydict())
            start += batch.num_rows
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet file: {str(error).splitlines()[0]}") from None


def _undecodable_line(path: Path) -> int:
    line = 0
    with _open(path) as file, suppress(EOFError, zlib.error, gzip.BadGzipFile):  # that it is a broken gzip too, one fault will do
        for line, text in enumerate(file, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return line
