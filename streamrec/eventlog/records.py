"""Log records and the log file that keeps them: JSON lines, one record a line.

    {"topic": "listens", "partition": 3, "offset": 17, "timestamp": 1402878494000, "key": "WXGL", "value": {…}}

``value`` is the message as a JSON object, or null for a tombstone. Bytes that no JSON object says (poison, or a NaN), and keys
that are no UTF-8, are kept whole as ``{"$base64": "…"}``. ``headers``, where there are any, are ``[name, value]`` pairs; a
``content-type`` is among them only beside a value that is no object.
"""

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from streamrec.core.errors import UserError
from streamrec.core.wire import CONTENT_TYPES, format_of

Headers = tuple[tuple[str, bytes | None], ...]


class LogRecord(NamedTuple):
    """A record as it stands in a topic. ``topic`` is the name without the deployment's prefix; ``timestamp`` in ms UTC."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class _Line(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str | dict[str, str] | None
    value: Any
    headers: list[tuple[str, str | dict[str, str] | None]] | dict[str, str | dict[str, str] | None] = []


def read_log(path: Path) -> Iterator[LogRecord]:
    """The records of a log file (``.jsonl`` or ``.jsonl.gz``), in its order.

    Raises:
        UserError: the file cannot be read, or a line is no record; the line's number is named.
    """
    decoder = msgspec.json.Decoder(_Line)
    number = 0
    try:
        with _open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _record(decoder.decode(line))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{path} line {number}: {' '.join(str(error).split())}; each line must be one log record") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; name a log file that can be read") from None


def write_log(records: Iterable[LogRecord], path: Path) -> int:
    """Writes the records and returns how many they were. Equal records give equal bytes, compressed or not."""
    count = 0
    try:
        with _open(path, "wb") as file:
            for count, record in enumerate(records, start=1):
                file.write(msgspec.json.encode(as_json(record)) + b"\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file that can be written") from None
    return count


def as_json(record: LogRecord) -> dict[str, Any]:
    """The record as one line of a log file says it."""
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
    }
    headers = record.headers
    if (value := _object(record)) is not None:
        line["value"] = value
        headers = tuple(header for header in headers if header[0].lower() != "content-type")
    else:
        line["value"] = None if record.value is None else _base64(record.value)
    return line | ({"headers": [[name, _text(value)] for name, value in headers]} if headers else {})


def _record(line: _Line) -> LogRecord:
    pairs = line.headers.items() if isinstance(line.headers, dict) else line.headers
    headers: Headers = tuple((name, _bytes(value)) for name, value in pairs)
    if line.value is None:
        value = None
    elif isinstance(line.value, dict) and line.value.keys() == {"$base64"}:
        value = _bytes(line.value)
    else:
        value = msgspec.json.encode(line.value)
        headers = (("content-type", CONTENT_TYPES["json"]), *headers)
    return LogRecord(line.topic, line.partition, line.offset, line.timestamp, _bytes(line.key), value, headers)


def _object(record: LogRecord) -> dict[str, Any] | None:
    """The value as a JSON object, where that is all there is to it."""
    if record.value is None:
        return None
    codec = msgspec.json if format_of(record.headers) == "json" else msgspec.msgpack
    try:
        value = codec.decode(record.value)
        if not isinstance(value, dict) or value.keys() == {"$base64"}:
            return None
        same = msgspec.json.decode(msgspec.json.encode(value)) == value  # msgpack can hold what JSON cannot
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError):
        return None
    return value if same else None


def _text(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    if isinstance(value, dict):
        if value.keys() != {"$base64"} or not isinstance(value["$base64"], str):
            raise ValueError('bytes are a string or {"$base64": "…"}')
        return base64.b64decode(value["$base64"], validate=True)
    return None if value is None else value.encode()


def _base64(value: bytes) -> dict[str, str]:
    return {"$base64": base64.b64encode(value).decode()}


@contextmanager
def _open(path: Path, mode: str) -> Iterator[IO[bytes]]:
    with path.open(mode) as file:
        if path.suffix != ".gz":
            yield file
        else:  # no time and no name in the header, or the same log would not give the same bytes
            with gzip.GzipFile(filename="", mode=mode, fileobj=file, mtime=0) as unzipped:
                yield cast("IO[bytes]", unzipped)
