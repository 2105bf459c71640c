"""Says what an unreadable record looks like: the usual slips of a first producer, each with its cure."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

# An object, an array, or a string that holds one of them.
_JSON = re.compile(rb'\s*(?:[{\[]\s*["{\[\]}]|"\s*[{\[])')
# What str() makes of a dict, of bytes, of a data class.
_PYTHON = re.compile(rb"\s*(?:b['\"]|[{\[]{1,2}b?'|[A-Z]\w*\(\w+=)")
_NOT_A_NUMBER = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity)\b")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}\s*")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_HEX = re.compile(rb"(?:0x|\\x)?((?:[0-9A-Fa-f]{2}){8,})\s*")
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x82SNAPPY\x00": "snappy",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "a zip archive",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}
_AVRO = (b"Obj\x01", b"\xc3\x01")  # a container file; single-object encoding
_PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_JAVA = b"\xac\xed\x00\x05"
_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"{\x00", b"[\x00", b"\x00{", b"\x00[")


class _Record(NamedTuple):
    value: bytes
    written_as: str  # as its content-type says: json or msgpack
    document: Any  # what the value holds, read so; UNSET if it cannot be read

    @property
    def text(self) -> bytes:
        """The string that the record holds or is."""
        held = self.document
        if isinstance(held, str):
            return held.encode(errors="replace")
        return held if isinstance(held, bytes) else self.value


def looks_like(value: bytes, written_as: str, document: Any) -> str | None:
    """What a record that is no message looks like, and what to send instead; None if nothing comes to mind.

    Args:
        written_as: the format that the record's content-type names.
        document: what the value holds in that format; UNSET if it is not in that format.
    """
    record = _Record(value, written_as, document)
    for applies, sentence in _READABLE if document is not msgspec.UNSET else _UNREADABLE:
        if seen := applies(record):
            return "looks like " + sentence.format(seen)
    return None


def _envelope(record: _Record) -> str | None:
    """The field that holds the message."""
    fields = record.document
    if not isinstance(fields, dict) or "schema_version" in fields:
        return None
    return next((f"`{name}`" for name, held in fields.items() if _is_message(held)), None)


def _is_message(held: Any) -> bool:
    if isinstance(held, list) and held:
        held = held[0]
    if isinstance(held, str):
        return '"schema_version"' in held and _JSON.match(held.encode(errors="replace")) is not None
    return isinstance(held, dict) and "schema_version" in held


def _cloud_event(record: _Record) -> bool:
    return isinstance(record.document, dict) and "specversion" in record.document


def _from_connect(record: _Record) -> bool:
    return isinstance(record.document, dict) and record.document.keys() == {"schema", "payload"}


def _several(record: _Record) -> int:
    held = record.document
    return len(held) if isinstance(held, list) and all(isinstance(each, dict) for each in held) else 0


def _encoded_twice(record: _Record) -> bool:
    return isinstance(record.document, str | bytes) and _JSON.match(record.text) is not None


def _as_text(record: _Record) -> str | None:
    """The encoding that made text of the message's bytes."""
    text = record.text
    try:
        if (digits := _HEX.fullmatch(text)) and _holds_message(binascii.unhexlify(digits[1])):
            return "hexadecimal text"
        if _BASE64.fullmatch(text) and _holds_message(base64.b64decode(text.translate(_STANDARD) + b"==")):
            return "base64"
    except binascii.Error:
        pass
    return None


def _holds_message(value: bytes) -> bool:
    return _JSON.match(value) is not None or _is_msgpack(value)


def _is_msgpack(value: bytes) -> bool:
    try:
        return isinstance(msgspec.msgpack.decode(value), dict | list)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return False


def _framed(record: _Record) -> int | None:
    """The schema's id, in the framing of Confluent and Apicurio: a zero and four bytes."""
    value = record.value
    return int.from_bytes(value[1:5]) if value[:1] == b"\x00" and len(value) > 5 else None


def _framed_by_glue(record: _Record) -> bool:
    value = record.value
    return value[:1] == b"\x03" and value[1:2] in (b"\x00", b"\x05") and len(value) > 18


def _pickle(record: _Record) -> bool:
    value = record.value
    return value[:1] == b"\x80" and value[1:2] in _PICKLE_PROTOCOLS and value.endswith(b".")


def _json_lines(record: _Record) -> bool:
    """Whether one JSON document follows another."""
    try:
        text = record.value.decode().lstrip()
        first, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and text[end:].lstrip(" \t\r\n,\x1e")[:1] == "{"


def _plain_text(record: _Record) -> bool:
    try:
        text = record.value.decode().strip()
    except UnicodeDecodeError:
        return False
    if record.written_as == "json" and text.startswith(("{", "[", '"')):
        return False  # malformed JSON: the decoder's own words say where
    return bool(text) and "".join(text.split()).isprintable()


Seen = bool | int | str | None  # what the sentence names; nothing if the row does not apply
Row = tuple[Callable[[_Record], Seen], str]

_AS_TEXT: Row = (_as_text, "{}: send the bytes themselves")
# The record is what its content-type says, and no message.
_READABLE: tuple[Row, ...] = (
    (_cloud_event, "CloudEvents in structured mode: send its `data` alone, or use the binary mode"),
    (_from_connect, "Kafka Connect's JSON with a schema: set schemas.enable=false, or send its `payload`"),
    (_envelope, "an envelope: send its {} alone"),
    (_several, "an array of messages ({} in one record): send each in a record of its own"),
    (_encoded_twice, "JSON inside a string (encoded twice): send the object itself"),
    _AS_TEXT,
)
# It is not. Most telling first.
_UNREADABLE: tuple[Row, ...] = (
    (
        lambda record: next((name for magic, name in _MAGIC.items() if record.value.startswith(magic)), None),
        "{}: send it unpacked; the producer's own setting compression.type compresses",
    ),
    (lambda record: record.value.startswith(_AVRO), "Avro: send plain JSON or msgpack"),
    (lambda record: record.value.startswith(_JAVA), "a serialized Java object: send plain JSON or msgpack"),
    (_pickle, "a Python pickle, which is never opened: send JSON or msgpack"),
    (
        lambda record: record.value.startswith(_MARK) and bool(_JSON.match(record.value, len(_MARK))),
        "JSON after a byte order mark: send UTF-8 without it, and the header content-type: application/json",
    ),
    (
        lambda record: record.value.startswith(_UTF16),
        "UTF-16: send JSON in UTF-8, and the header content-type: application/json",
    ),
    (_framed, "a schema registry's framing (schema id {}): send plain JSON or msgpack"),
    (_framed_by_glue, "a schema registry's framing (AWS Glue): send plain JSON or msgpack"),
    (
        lambda record: record.written_as == "json" and _is_msgpack(record.value),
        "msgpack: leave out the header content-type: application/json",
    ),
    (lambda record: bool(_PYTHON.match(record.value)), "Python's str() of an object: send its json.dumps()"),
    (
        lambda record: record.written_as != "json" and bool(_JSON.match(record.value)),
        "JSON: send the header content-type: application/json",
    ),
    (_json_lines, "several JSON documents in one record: send each in a record of its own"),
    (
        lambda record: bool(_JSON.match(record.value) and _NOT_A_NUMBER.search(record.value)),
        "JSON with NaN or Infinity, which JSON does not have: leave the field out",
    ),
    _AS_TEXT,
    (_plain_text, "plain text: send msgpack, or JSON with the header content-type: application/json"),
)
