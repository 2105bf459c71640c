"""The log file: what is written is read again, whatever stood in the topic."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.intake import read_event
from streamrec.core.wire import format_of
from streamrec.eventlog.records import LogRecord, as_json, read_log, write_log
from tests.make import event, position, record

JSON = (("content-type", b"application/json"),)
LINE: dict[str, Any] = {"topic": "clicks", "partition": 0, "offset": 1, "timestamp": 2, "key": "anna", "value": {"x": 1}}

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
MSGPACK_ONLY = PLAIN | st.binary(max_size=5)
VALUES = (
    st.none()
    | st.binary(max_size=20)
    | st.dictionaries(st.text(max_size=5) | st.just("$base64"), st.recursive(MSGPACK_ONLY, st.lists), max_size=3).map(msgpack.packb)
    | st.dictionaries(st.integers(0, 9), MSGPACK_ONLY, max_size=2).map(msgpack.packb)
    | st.dictionaries(st.text(max_size=5), st.recursive(PLAIN, st.lists), max_size=3).map(lambda value: json.dumps(value).encode())
)
NAMES = st.sampled_from(["content-type", "Content-Type", "traceparent", "ü"])
HEADERS = st.lists(st.tuples(NAMES, st.just(b"application/json") | st.binary(max_size=5)), max_size=3).map(tuple)
RECORDS = st.builds(
    LogRecord,
    topic=st.sampled_from(["clicks", "listens", "items", "sessions"]),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(max_size=10),
    value=VALUES,
    headers=HEADERS,
)


def there_and_back(path: Path, *records: LogRecord) -> list[LogRecord]:
    assert write_log(records, path) == len(records)
    return list(read_log(path))


def said(each: LogRecord) -> object:
    """What a record's value says to a reader: the object, or the bytes where they are none. NaN is told apart by its repr."""
    try:
        decoded = json.loads(each.value or b"") if format_of(each.headers) == "json" else msgpack.unpackb(each.value)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        return each.value
    return repr(decoded) if isinstance(decoded, dict) else each.value


def other_headers(each: LogRecord) -> list[tuple[str, bytes]]:
    return [header for header in each.headers if header[0].lower() != "content-type"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(records=st.lists(RECORDS, max_size=4), compressed=st.booleans())
def test_any_record_is_read_as_it_was_written(tmp_path: Path, records: list[LogRecord], compressed: bool) -> None:
    path = tmp_path / ("log.jsonl.gz" if compressed else "log.jsonl")
    read = there_and_back(path, *records)
    assert len(read) == len(records)
    for back, each in zip(read, records, strict=True):
        assert back[:5] == each[:5]
        assert said(back) == said(each)
        assert other_headers(back) == other_headers(each)
        assert (back.value, back.headers) == (each.value, each.headers) or format_of(back.headers) == "json"
    first = path.read_bytes()
    assert there_and_back(path, *read) == read
    assert path.read_bytes() == first


@pytest.mark.parametrize("written_as", ["msgpack", "json"])
def test_a_message_is_an_object_that_people_can_read(written_as: Any) -> None:
    line = as_json(record(event("a", 5, event_id="e"), position(17, "listens", 3, 99), written_as))
    assert json.loads(json.dumps(line)) == {
        "topic": "listens",
        "partition": 3,
        "offset": 17,
        "timestamp": 99,
        "key": "anna",
        "value": {
            "schema_version": 1,
            "event_id": "e",
            "event_type": "listen",
            "user_id": "anna",
            "item_id": "a",
            "occurred_at": 5,
        },
    }


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"\xc1 poison", ()),
        (b"not json", JSON),
        (b"[1, 2]", JSON),
        (b'{"user_id": "\xff"}', JSON),
        (b'{"$base64": "eA=="}', JSON),
        (msgpack.packb({"x": float("nan")}), ()),
        (msgpack.packb({"x": b"bytes"}), ()),
        (msgpack.packb({1: 2}), ()),
        (b"", ()),
        (None, ()),
        (None, JSON),
    ],
)
def test_what_no_object_says_is_kept_to_the_byte(tmp_path: Path, value: bytes | None, headers: Any) -> None:
    odd = LogRecord("clicks", 0, 1, 2, b"\xff\xfe", value, (*headers, ("trace", b"\xff"), ("trace", b"two")))
    assert there_and_back(tmp_path / "log.jsonl", odd) == [odd]


@pytest.mark.parametrize("depth", [10, *range(900, 1000, 9), 5000])
def test_a_deep_value_is_kept_whatever_its_depth(tmp_path: Path, depth: int) -> None:
    deep = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
    back = there_and_back(tmp_path / "log.jsonl", LogRecord("clicks", 0, 1, 2, None, deep, JSON))[0]
    assert (back.value or b"").replace(b" ", b"") == deep.replace(b" ", b"")


def test_poison_is_as_unreadable_after_a_log_file_as_before(tmp_path: Path) -> None:
    for value, headers in ((b"{half", JSON), (b"\xc1", ()), (msgpack.packb({"event_id": b"bytes"}), ())):
        poison = LogRecord("clicks", 0, 1, 2, b"anna", value, headers)
        back = there_and_back(tmp_path / "log.jsonl", poison)[0]
        faults = []
        for each in (poison, back):
            with pytest.raises(InvalidRecord) as caught:
                read_event("clicks", each.value, each.headers)
            faults.append((caught.value.reason, caught.value.detail))
        assert faults[0] == faults[1]


def test_a_log_written_by_hand_may_be_short(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [LINE, LINE | {"key": None, "value": None}, LINE | {"headers": {"a": "b"}}, LINE | {"headers": [["a", None]]}]
    path.write_text("\n\n".join(json.dumps(line) for line in lines))
    assert list(read_log(path)) == [
        LogRecord("clicks", 0, 1, 2, b"anna", b'{"x":1}', JSON),
        LogRecord("clicks", 0, 1, 2, None, None),
        LogRecord("clicks", 0, 1, 2, b"anna", b'{"x":1}', (*JSON, ("a", b"b"))),
        LogRecord("clicks", 0, 1, 2, b"anna", b'{"x":1}', (*JSON, ("a", None))),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"\xff",
        json.dumps(LINE | {"offset": "1"}).encode(),
        json.dumps({name: LINE[name] for name in LINE if name != "topic"}).encode(),
        json.dumps(LINE | {"key": {"hex": "ff"}}).encode(),
        json.dumps(LINE | {"key": {"$base64": "?"}}).encode(),
        json.dumps(LINE | {"value": {"$base64": "ü"}}).encode(),
        json.dumps(LINE | {"value": {"$base64": 5}}).encode(),
        b'{"value": ' + b"[" * 5000,
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(json.dumps(LINE).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(UserError) as caught:
        list(read_log(path))
    assert str(caught.value).startswith(f"{path} line 3: ")
    assert "\n" not in str(caught.value)


def damage(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)


def no_blocks(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10] + b"\xff" * 20)  # a whole header, and then nothing that deflate knows


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def not_compressed(path: Path) -> None:
    path.write_text("plain")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [damage, no_blocks, cut, not_compressed, Path.unlink, a_folder])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "log.jsonl.gz"
    write_log([record(event(str(n)), position(n)) for n in range(50)], path)
    spoil(path)
    with pytest.raises(UserError) as caught:
        list(read_log(path))
    assert str(path) in str(caught.value)


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    made = [record(event(str(n)), position(n)) for n in range(5)]
    for name in ("a.jsonl", "b.jsonl", "a.jsonl.gz", "b.jsonl.gz"):
        write_log(made, tmp_path / name)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert (tmp_path / "a.jsonl.gz").read_bytes()[3:8] == bytes(5)  # neither a name nor a time in the header
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "a.jsonl").read_bytes()
