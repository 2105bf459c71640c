"""Log records and the log file that keeps them: JSON lines, one record a line.

    {"topic": "listens", "partition": 3, "offset": 17, "timestamp": 1402878494000, "key": "WXGL", "value": {…}}

``value`` is the message as a JSON object, or null for a tombstone. Bytes that are neither msgpack nor JSON, and keys that are
no UTF-8, are kept whole as ``{"$base64": "…"}``. ``headers``, where there are any, are ``[name, value]`` pairs.
"""

import base64
import binascii
import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from streamrec.core.errors import UserError
from streamrec.core.wire import CONTENT_TYPES, format_of

Headers = tuple[tuple[str, bytes], ...]


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
    headers: list[tuple[str, str | dict[str, str]]] | dict[str, str | dict[str, str]] = []


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
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise UserError(f"{path} line {number}: {' '.join(str(error).split())}; each line must be one log record") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}; name a log file that can be read") from None


def write_log(records: Iterable[LogRecord], path: Path) -> int:
    """Writes the records and returns how many they were. Equal records give equal bytes, compressed or not."""
    count = 0
    with _open(path, "wb") as file:
        for count, record in enumerate(records, start=1):
            file.write(msgspec.json.encode(as_json(record)) + b"\n")
    return count


def as_json(record: LogRecord) -> dict[str, Any]:
    """The record as one line of a log file says it."""
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
        "value": _value(record),
    }
    headers = [[name, _text(value)] for name, value in record.headers if name.lower() != "content-type"]
    return line | ({"headers": headers} if headers else {})


def _record(line: _Line) -> LogRecord:
    pairs = line.headers.items() if isinstance(line.headers, dict) else line.headers
    headers: Headers = tuple((name, _bytes(value) or b"") for name, value in pairs)
    if line.value is None:
        value = None
    elif isinstance(line.value, dict) and list(line.value) == ["$base64"]:
        value = _bytes(line.value)
    else:
        value = msgspec.json.encode(line.value)
        headers = (("content-type", CONTENT_TYPES["json"]), *headers)
    return LogRecord(line.topic, line.partition, line.offset, line.timestamp, _bytes(line.key), value, headers)


def _value(record: LogRecord) -> Any:
    if record.value is None:
        return None
    codec = msgspec.json if format_of(record.headers) == "json" else msgspec.msgpack
    try:
        value = codec.decode(record.value)
        msgspec.json.encode(value)  # msgpack can hold what JSON cannot
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError, OverflowError):
        return _base64(record.value)
    return value if isinstance(value, dict) and list(value) != ["$base64"] else _base64(record.value)


def _text(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["$base64"], validate=True) if list(value) == ["$base64"] else None
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
                yield unzipped  # type: ignore[misc]
