"""What the dead letter of a producer's usual slip says: what the bytes look like, what to send instead."""

import base64
import bz2
import codecs
import gzip
import json
import pickle
import zlib
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event, read_item
from streamrec.core.lookalike import looks_like
from streamrec.core.types import Event
from streamrec.core.wire import Format, decode

EVENT = {
    "schema_version": 1,
    "event_id": "e1",
    "event_type": "click",
    "user_id": "u1",
    "item_id": "i1",
    "occurred_at": 1_402_878_494_000,
}
JSON = json.dumps(EVENT).encode()
TEXT = JSON.decode()
INDENTED = json.dumps(EVENT, indent=2).encode()
MSGPACK = msgpack.packb(EVENT)
FORMATS: list[Format] = ["msgpack", "json"]
each_format = pytest.mark.parametrize("written_as", FORMATS)
SEND_HEADER = "looks like JSON: send the header content-type: application/json"


def fault(value: bytes, written_as: Format = "msgpack") -> InvalidRecord:
    with pytest.raises(InvalidRecord) as refused:
        decode(Event, value, written_as)
    return refused.value


@pytest.mark.parametrize(
    "value",
    [JSON, b"\n " + INDENTED, b"[" + JSON + b"]", JSON[:40], json.dumps(TEXT).encode(), b"{}"],
    ids=["object", "indented", "array", "cut", "encoded twice", "empty"],
)
def test_json_without_its_header(value: bytes) -> None:
    assert str(fault(value)) == f"unreadable: {SEND_HEADER}"


def test_the_intake_says_the_same() -> None:
    with pytest.raises(InvalidRecord, match=SEND_HEADER):
        read_event("clicks", JSON, [])
    with pytest.raises(InvalidRecord, match=SEND_HEADER):
        read_item(b"i1", b'{"schema_version": 1, "item_id": "i1"}', [("content-type", None)])


HELD = ("json", "msgpack", "avro", "protobuf")


@each_format
@pytest.mark.parametrize("schema", [1, 7, 255, 65_536, 31_488, 23_296, 9_999_999])
@pytest.mark.parametrize("held", [JSON, MSGPACK, b"\x02e1\x02u1", b"\x00\n\x02e1"], ids=HELD)
def test_a_schema_registrys_framing(written_as: Format, schema: int, held: bytes) -> None:
    said = fault(b"\x00" + schema.to_bytes(4) + held, written_as)
    assert said.reason == "unreadable"
    framing = f"a schema registry's framing (schema id {schema})"
    assert said.detail == f"looks like {framing}: send plain JSON or msgpack"


def test_zeros_are_no_schema_registrys_framing() -> None:
    assert fault(b"\x00" * 12).detail.startswith("not msgpack: ")


def by_what_it_says(each: Any) -> str:
    return each if isinstance(each, str) else ""


PICKLES = [pickle.dumps(EVENT, protocol) for protocol in (2, 3, 4, 5)]
LZ4, ZSTD = b"\x04\x22\x4d\x18" + b"\x64", b"\x28\xb5\x2f\xfd\x04"
GLUE = b"\x03\x05" + bytes(range(16)) + JSON
# by what it says: values that are in neither format
EITHER_WAY: list[tuple[str, bytes]] = [
    ("gzip: send it unpacked", gzip.compress(JSON)),
    ("bzip2: ", bz2.compress(JSON)),
    ("lz4: ", LZ4),
    ("zstd: ", ZSTD),
    *(("zlib: ", zlib.compress(JSON, level)) for level in (1, 6, 9)),
    ("Avro: ", b"Obj\x01\x04\x14avro.codec\x08null"),
    ("Avro: ", b"\xc3\x01" + bytes(8) + b"\x02e1"),
    ("a serialized Java object: ", b"\xac\xed\x00\x05sr\x00\x05Event"),
    *(("a Python pickle, which is never opened: send JSON or msgpack", each) for each in PICKLES),
    ("JSON after a byte order mark: ", codecs.BOM_UTF8 + JSON),
    *(("UTF-16: ", TEXT.encode(name)) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
    ("a schema registry's framing (AWS Glue): ", GLUE),
    ("Python's str() of an object: ", str(EVENT).encode()),
    ("Python's str() of an object: ", str([EVENT]).encode()),
    ("Python's str() of an object: ", str(JSON).encode()),
    ("Python's str() of an object: ", repr(msgspec.convert(EVENT, Event)).encode()),
    ("base64: send the bytes themselves", base64.b64encode(JSON)),
    ("base64: ", base64.urlsafe_b64encode(MSGPACK)),
    ("base64: ", base64.b64encode(JSON).rstrip(b"=") + b"\n"),
    ("hexadecimal text: ", JSON.hex().encode()),
    ("hexadecimal text: ", b"\\x" + MSGPACK.hex().upper().encode()),
    ("plain text: ", b"u1,i1,1402878494,click\r\n"),
    ("plain text: ", "<click user='u1'>Björk</click>".encode()),
]


@each_format
@pytest.mark.parametrize(("says", "value"), EITHER_WAY, ids=by_what_it_says)
def test_what_is_in_neither_format(says: str, value: bytes, written_as: Format) -> None:
    said = fault(value, written_as)
    assert said.reason == "unreadable"
    assert said.detail.startswith("looks like " + says)


@pytest.mark.parametrize(
    ("says", "value"),
    [
        ("msgpack: leave out the header content-type: application/json", MSGPACK),
        ("several JSON documents in one record: ", JSON + b"\n" + JSON),
        ("several JSON documents in one record: ", JSON + JSON + b"\n"),
        ("several JSON documents in one record: ", JSON + b",\n" + JSON),
        ("JSON with NaN or Infinity", json.dumps(EVENT | {"properties": {"volume": float("nan")}}).encode()),
        ("JSON with NaN or Infinity", json.dumps(EVENT | {"properties": {"volume": float("-inf")}}).encode()),
    ],
)
def test_what_is_not_json_though_it_says_so(says: str, value: bytes) -> None:
    said = fault(value, "json")
    assert said.reason == "unreadable"
    assert said.detail.startswith("looks like " + says)


@pytest.mark.parametrize("value", [JSON[:-1], b"[object Object]", b"{schema_version=1}", b"[1, 2", b'"', b" "])
def test_malformed_json_is_said_with_the_place(value: bytes) -> None:
    said = fault(value, "json")
    assert said.reason == "unreadable"
    assert said.detail.startswith("not json: ")


@pytest.mark.parametrize("value", [b"[object Object]", b"{schema_version=1, event_id=e1}", b"e1"])
def test_text_that_is_nothing_in_particular(value: bytes) -> None:
    assert fault(value).detail.startswith("looks like plain text: ")


CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/app", "type": "click"}
# by what it says: what is in its format, and no message
NO_MESSAGE: list[tuple[str, Any]] = [
    ("CloudEvents in structured mode: send its `data` alone", CLOUD_EVENT | {"data": EVENT}),
    ("CloudEvents in structured mode: ", CLOUD_EVENT | {"data_base64": base64.b64encode(JSON).decode()}),
    ("Kafka Connect's JSON with a schema: ", {"schema": {"type": "struct"}, "payload": EVENT}),
    ("an envelope: send its `after` alone", {"before": None, "after": EVENT, "op": "c"}),
    ("an envelope: send its `message` alone", {"id": 4, "message": TEXT}),
    ("an envelope: send its `events` alone", {"events": [EVENT, EVENT]}),
    ("an array of messages (3 in one record): ", [EVENT] * 3),
    ("JSON inside a string (encoded twice): ", TEXT),
    ("base64: ", base64.b64encode(JSON).decode()),
]


@each_format
@pytest.mark.parametrize(("says", "document"), NO_MESSAGE, ids=by_what_it_says)
def test_what_is_in_its_format_and_no_message(says: str, document: Any, written_as: Format) -> None:
    value = json.dumps(document).encode() if written_as == "json" else msgpack.packb(document)
    said = fault(value, written_as)
    assert said.reason == "invalid"
    assert f"; it looks like {says}" in said.detail


def test_bytes_in_msgpack_that_hold_json() -> None:
    assert "encoded twice" in fault(msgpack.packb(JSON)).detail


@each_format
@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"item_id": 7}, "Expected `str`, got `int` - at `$.item_id`"),
        ({"schema_version": None}, "- at `$.schema_version`"),
        ({"properties": EVENT | {"nested": EVENT}}, "- at `$.properties[...]`"),
    ],
)
def test_a_wrong_field_looks_like_itself(written_as: Format, changes: Any, detail: str) -> None:
    write = msgspec.json.encode if written_as == "json" else msgspec.msgpack.encode
    said = fault(write(EVENT | changes), written_as)
    assert said.reason == "invalid"
    assert detail in said.detail
    assert "looks like" not in said.detail


@each_format
@given(value=st.binary(max_size=64) | st.sampled_from([each[:-1] for _, each in EITHER_WAY]))
def test_any_bytes_get_a_sentence_or_none(written_as: Format, value: bytes) -> None:
    for document in (msgspec.UNSET, None, value, [value], {"data": value}):
        said = looks_like(value, written_as, document)
        assert said is None or said.startswith("looks like ")


def test_deep_json_of_a_stranger_is_borne() -> None:
    near_the_limit = range(850, 1000, 3)  # of the decoder
    nested = [b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in near_the_limit]
    for deep in (b'{"a":' * 50_000, b"[" * 200_000, b"\x91" * 200_000, b'{"a":1}' * 30_000, *nested):
        for written_as in FORMATS:
            assert fault(deep, written_as).reason in ("unreadable", "invalid")
