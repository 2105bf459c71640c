"""Messages to bytes and back: msgpack by default, JSON where a header or a setting says so.

The same message always gives the same bytes: fields are written in the order of their definition, dictionaries in the order of
their keys.
"""

import re
from typing import Any, Literal, TypeVar

import msgspec

from streamrec.core.errors import InvalidRecord
from streamrec.core.lookalike import looks_like
from streamrec.core.types import Message

Format = Literal["msgpack", "json"]
CONTENT_TYPES: dict[Format, bytes] = {"msgpack": b"application/msgpack", "json": b"application/json"}
EVENT_TYPES = {"clicks": "click", "listens": "listen"}  # by topic
MAX_RECORD_BYTES = 262_144

M = TypeVar("M", bound=Message)
_MSGPACK = msgspec.msgpack.Encoder(order="deterministic")
_JSON = msgspec.json.Encoder(order="deterministic")
_DECODERS: dict[tuple[Any, Format], Any] = {}
_JSON_TYPE = re.compile(rb"(?:application|text)/json|[^/]+/[^/]+\+json", re.IGNORECASE)
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)


class _Versioned(msgspec.Struct):
    schema_version: Any = None


def encode(message: Message, to: Format = "msgpack") -> bytes:
    """The message's bytes; equal messages give equal bytes."""
    return (_JSON if to == "json" else _MSGPACK).encode(message)


def decode(kind: type[M], value: bytes | None, written_as: Format = "msgpack") -> M:
    """The message in ``value``.

    Raises:
        InvalidRecord: ``too_large``, ``unreadable`` (not in that format; the detail says what it looks like),
            ``unknown_version`` or ``invalid`` (the detail names the field that is missing or wrong).
    """
    if value is None:
        raise InvalidRecord("invalid", f"a null value is no {kind.__name__.lower()}")
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidRecord("too_large", f"{len(value)} bytes; at most {MAX_RECORD_BYTES} are read")
    try:
        message: M = _decoder(kind, written_as).decode(value)
        return message
    except _MALFORMED as error:
        raise _fault(value, written_as, error) from None


def format_of(headers: Any) -> Format:
    """How a record is written, by its ``content-type`` header (a mapping or pairs); msgpack if there is none.

    JSON is ``application/json``, ``text/json`` and every ``…+json``, with or without parameters.
    """
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    for name, value in pairs:
        if name.lower() == "content-type" and _JSON_TYPE.fullmatch((value or b"").split(b";")[0].strip()):
            return "json"
    return "msgpack"


def _fault(value: bytes, written_as: Format, error: Exception) -> InvalidRecord:
    version = _version(value, written_as)
    if version not in (None, 1):
        return InvalidRecord("unknown_version", f"schema_version {version!r}; this reader knows 1")
    try:
        document = _decoder(Any, written_as).decode(value)
    except _MALFORMED as malformed:
        hint = looks_like(value, written_as, msgspec.UNSET)
        return InvalidRecord("unreadable", hint or f"not {written_as}: {malformed}")
    hint = looks_like(value, written_as, document)
    return InvalidRecord("invalid", f"{error}; it {hint}" if hint else str(error))


def _version(value: bytes, written_as: Format) -> Any:
    try:
        return _decoder(_Versioned, written_as).decode(value).schema_version
    except _MALFORMED:
        return None


def _decoder(kind: Any, written_as: Format) -> Any:
    key = (kind, written_as)
    if key not in _DECODERS:
        module = msgspec.json if written_as == "json" else msgspec.msgpack
        _DECODERS[key] = module.Decoder(kind)
    return _DECODERS[key]
