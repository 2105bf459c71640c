"""Messages to bytes and back: msgpack by default, JSON where a header or a setting says so.

The same message always gives the same bytes: fields are written in the order of their definition, dictionaries in the order of
their keys.
"""

from typing import Any, Literal, TypeVar

import msgspec

from streamrec.core.errors import InvalidRecord
from streamrec.core.types import Message

Format = Literal["msgpack", "json"]
CONTENT_TYPES: dict[Format, bytes] = {"msgpack": b"application/msgpack", "json": b"application/json"}
EVENT_TYPES = {"clicks": "click", "listens": "listen"}  # by topic
MAX_RECORD_BYTES = 262_144

M = TypeVar("M", bound=Message)
_MSGPACK = msgspec.msgpack.Encoder(order="deterministic")
_JSON = msgspec.json.Encoder(order="deterministic")
_DECODERS: dict[tuple[type, Format], Any] = {}


class _Versioned(msgspec.Struct):
    schema_version: Any = None


def encode(message: Message, to: Format = "msgpack") -> bytes:
    """The message's bytes; equal messages give equal bytes."""
    return (_JSON if to == "json" else _MSGPACK).encode(message)


def decode(kind: type[M], value: bytes | None, written_as: Format = "msgpack") -> M:
    """The message in ``value``.

    Raises:
        InvalidRecord: ``too_large``, ``unreadable`` (not msgpack or JSON), ``unknown_version`` or ``invalid`` (a field
            is missing or wrong; the detail names it).
    """
    if value is None:
        raise InvalidRecord("invalid", f"a null value is no {kind.__name__.lower()}")
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidRecord("too_large", f"{len(value)} bytes; at most {MAX_RECORD_BYTES} are read")
    try:
        message: M = _decoder(kind, written_as).decode(value)
        return message
    except msgspec.ValidationError as error:
        version = _version(value, written_as)
        if version not in (None, 1):
            raise InvalidRecord("unknown_version", f"schema_version {version!r}; this reader knows 1") from None
        raise InvalidRecord("invalid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        raise InvalidRecord("unreadable", f"not {written_as}: {error}") from None


def format_of(headers: Any) -> Format:
    """How a record is written, by its ``content-type`` header (a mapping or pairs); msgpack where there is none."""
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    for name, value in pairs:
        if name.lower() == "content-type" and (value or b"").split(b";")[0].strip().lower() == b"application/json":
            return "json"
    return "msgpack"


def _decoder(kind: type, written_as: Format) -> Any:
    key = (kind, written_as)
    if key not in _DECODERS:
        module = msgspec.json if written_as == "json" else msgspec.msgpack
        _DECODERS[key] = module.Decoder(kind)
    return _DECODERS[key]


def _version(value: bytes, written_as: Format) -> Any:
    try:
        return _decoder(_Versioned, written_as).decode(value).schema_version
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
