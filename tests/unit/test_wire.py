"""Bytes to messages and back, whatever the bytes are."""

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamrec.core.errors import InvalidRecord
from streamrec.core.types import Event, Explanation, Item, Message, Recommendation, Session
from streamrec.core.wire import MAX_RECORD_BYTES, Format, decode, encode, format_of

KINDS: list[type[Message]] = [Event, Item, Session, Recommendation, Explanation]
FORMATS: list[Format] = ["msgpack", "json"]
REASONS = {"unreadable", "invalid", "unknown_version", "too_large"}

FEW = settings(max_examples=40)  # each costs two formats or five kinds of message

each_format = pytest.mark.parametrize("written_as", FORMATS)


def event(**changes: object) -> Event:
    fields = {"schema_version": 1, "event_id": "e1", "event_type": "click", "user_id": "u1", "item_id": "i1", "occurred_at": 5_000}
    return msgspec.convert(fields | changes, Event)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.dictionaries(
    st.sampled_from(["schema_version", "event_id", "user_id", "item_id", "trigger", "history", "items", "tags"]), JSON_VALUES
)


def refused_or_read(kind: type[Message], value: bytes, written_as: Format) -> None:
    """Anything but InvalidRecord would stop the worker, so nothing else is caught here."""
    try:
        message = decode(kind, value, written_as)
    except InvalidRecord as invalid:
        fault: InvalidRecord | None = invalid
    else:
        fault = None
        assert isinstance(message, kind)
    if fault is not None:
        assert fault.reason in REASONS
        assert fault.detail
        assert "\n" not in fault.detail


@pytest.mark.parametrize("kind", KINDS)
@each_format
@FEW
@given(value=st.binary(max_size=64))
@example(b"")
@example(b"\xc1")
@example(b"\xff\xfe{}")
@example(b'{"schema_version":1,"event_id":"\xed\xa0\x80"}')
@example(b'{"schema_version":1e999}')
@example(b'{"schema_version":' + b"9" * 5000 + b"}")
@example(b"[" * 200_000)
@example(b"\x91" * 200_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc7\x05\x01hello")
def test_any_bytes_are_a_message_or_an_invalid_record(kind: type[Message], written_as: Format, value: bytes):
    refused_or_read(kind, value, written_as)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(value=NEARLY)
def test_any_object_is_a_message_or_an_invalid_record(kind: type[Message], value: dict[str, object]):
    refused_or_read(kind, msgspec.msgpack.encode(value), "msgpack")
    refused_or_read(kind, msgspec.json.encode(value), "json")


@each_format
@FEW
@given(cut=st.integers(0, 200), flip=st.integers(0, 255))
def test_a_damaged_event_is_an_event_or_an_invalid_record(written_as: Format, cut: int, flip: int):
    whole = encode(event(), written_as)
    refused_or_read(Event, whole[: cut % len(whole)], written_as)
    damaged = bytearray(whole)
    damaged[cut % len(whole)] ^= flip
    refused_or_read(Event, bytes(damaged), written_as)


@each_format
@FEW
@given(properties=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(0, 9), max_size=8))
def test_what_is_encoded_is_decoded_and_the_order_of_a_dictionary_changes_no_byte(written_as: Format, properties: dict[str, int]):
    message = event(properties=properties)
    turned = event(properties=dict(reversed(properties.items())))
    assert decode(Event, encode(message, written_as), written_as) == message
    assert encode(turned, written_as) == encode(message, written_as)


def test_fields_are_written_in_the_order_of_their_definition():
    assert list(msgpack.unpackb(encode(event(properties={"b": 1, "a": 2}, session_id="s")))) == [
        *("schema_version", "event_id", "event_type", "user_id", "item_id", "occurred_at", "session_id", "properties"),
    ]


@FEW
@given(st.integers(0, 2**53), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_an_independent_reader_decodes_what_we_write(ms_played: int, item_id: str):
    message = event(ms_played=ms_played, item_id=item_id)
    assert msgpack.unpackb(encode(message), strict_map_key=True) == msgspec.to_builtins(message)


@FEW
@given(st.integers(0, 2**53), st.booleans())
def test_what_an_independent_writer_encodes_is_read(ms_played: int, single_float: bool):
    expected = event(ms_played=ms_played, properties={"volume": 0.5})
    assert decode(Event, msgpack.packb(msgspec.to_builtins(expected), use_single_float=single_float)) == expected


def test_optional_fields_at_their_default_are_left_out():
    assert b"session_id" not in encode(event())
    assert decode(Event, encode(event(), "json"), "json").session_id is None


@each_format
def test_fields_that_the_reader_does_not_know_are_ignored(written_as: Format):
    write = msgspec.json.encode if written_as == "json" else msgspec.msgpack.encode
    assert decode(Event, write(msgspec.to_builtins(event()) | {"mood": {"is": ["new"]}}), written_as) == event()


@each_format
@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"item_id": 7}, "invalid", "item_id"),
        ({"user_id": ""}, "invalid", "user_id"),
        ({"occurred_at": 1.5}, "invalid", "occurred_at"),
        ({"schema_version": 2}, "unknown_version", "2"),
        ({"schema_version": "1"}, "unknown_version", "'1'"),
        ({"schema_version": None}, "invalid", "schema_version"),
    ],
)
def test_a_wrong_field_is_named(written_as: Format, changes: dict[str, object], reason: str, detail: str):
    write = msgspec.json.encode if written_as == "json" else msgspec.msgpack.encode
    with pytest.raises(InvalidRecord) as refused:
        decode(Event, write(msgspec.to_builtins(event()) | changes), written_as)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_a_null_value_is_invalid_and_a_long_one_too_large():
    with pytest.raises(InvalidRecord, match="invalid: a null value is no event"):
        decode(Event, None)
    with pytest.raises(InvalidRecord, match="too_large"):
        decode(Event, b" " * (MAX_RECORD_BYTES + 1))


def test_json_read_as_msgpack_is_refused_and_so_is_the_reverse():
    for written, read in (("json", "msgpack"), ("msgpack", "json")):
        with pytest.raises(InvalidRecord):
            decode(Event, encode(event(), written), read)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, "msgpack"),
        ([], "msgpack"),
        ([("content-type", b"application/msgpack")], "msgpack"),
        ([("content-type", b"application/json")], "json"),
        ([("Content-Type", b" Application/JSON ; charset=utf-8")], "json"),
        ({"content-type": b"application/json"}, "json"),
        ([("content-type", b"text/json")], "json"),
        ([("content-type", b"TEXT/JSON;charset=utf-8")], "json"),
        ([("content-type", b"application/cloudevents+json; charset=UTF-8")], "json"),
        ([("content-type", b"application/vnd.acme.click+json")], "json"),
        ([("CONTENT-TYPE", b"application/vnd.acme.click.v1+JSON ; a=b;c=d")], "json"),
        ([("content-type", b"application/json5")], "msgpack"),
        ([("content-type", b"application/x+msgpack")], "msgpack"),
        ([("content-type", b"+json")], "msgpack"),
        ([("content-type", None)], "msgpack"),
        ([("content-type", b"text/plain")], "msgpack"),
    ],
)
def test_the_format_is_told_by_the_content_type(headers: object, expected: Format):
    assert format_of(headers) == expected
