"""What comes in, read by contract; and what is kept of what breaks it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.deadletters import MOST_BYTES, DeadLetter, dead_letter, origin_of
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import Headers, read_event, read_item
from streamrec.core.wire import MAX_RECORD_BYTES, encode
from tests.make import NOW, event, item, position

JSON = (("content-type", b"application/json"),)


def test_an_event_is_read_as_its_header_says() -> None:
    assert read_event("listens", encode(event()), ()) == event()
    assert read_event("listens", encode(event(), "json"), JSON) == event()


@pytest.mark.parametrize(("topic", "event_type"), [("clicks", "listen"), ("listens", "click")])
def test_an_event_on_the_wrong_topic_is_invalid(topic: str, event_type: str) -> None:
    with pytest.raises(InvalidRecord, match=f"invalid: event_type '{event_type}' does not belong on {topic}"):
        read_event(topic, encode(event(event_type=event_type)), ())


def test_an_item_is_read_with_its_key() -> None:
    assert read_item(b"a", encode(item("a")), ()) == ("a", item("a"))
    assert read_item("ä".encode(), encode(item("ä"), "json"), JSON) == ("ä", item("ä"))


def test_a_tombstone_withdraws_the_item_of_its_key() -> None:
    assert read_item(b"a", None, ()) == ("a", None)


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "no key"), (b"", "no key"), (b"\xff", "not UTF-8"), (b"b", "key 'b' and item_id 'a' differ")],
)
def test_an_item_under_a_wrong_key_is_invalid(key: bytes | None, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says) as caught:
        read_item(key, encode(item("a")), ())
    assert caught.value.reason == "invalid"


def test_a_key_as_long_as_kafka_allows_makes_no_long_header() -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_item(b"x" * 1_000_000, encode(item("a")), ())
    assert len(caught.value.detail) <= 300


def test_the_largest_record_is_read() -> None:
    blanks = MAX_RECORD_BYTES - len(encode(event(), "json"))
    assert read_event("listens", encode(event(), "json") + b" " * blanks, JSON) == event()


@pytest.mark.parametrize(
    ("value", "headers"), [(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", JSON), (b"\x81\xa1x" + b"\x91" * 5000 + b"\x01", ())]
)
def test_a_record_too_deep_to_read_is_unreadable(value: bytes, headers: Headers) -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_event("listens", value, headers)
    assert caught.value.reason == "unreadable"


def test_a_detail_is_one_short_line_whatever_the_record_says() -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_event("listens", msgspec.json.encode({"schema_version": "\n x" * 10_000}), JSON)
    assert caught.value.reason == "unknown_version"
    assert len(caught.value.detail) <= 300
    assert "\n" not in InvalidRecord("invalid", "a\nb").detail


def test_a_dead_letter_says_where_it_came_from_and_why() -> None:
    headers = dict(
        dead_letter(position(17, "clicks", 3, 1234), InvalidRecord("invalid", "über"), "sessions", b"k", b"v", ()).headers
    )
    assert {name.removeprefix("streamrec.dlq."): (value or b"").decode() for name, value in headers.items()} == {
        "topic": "clicks",
        "partition": "3",
        "offset": "17",
        "timestamp": "1234",
        "role": "sessions",
        "reason": "invalid",
        "detail": "über",
    }


def test_dead_letter_headers_can_be_written_whatever_the_record_said() -> None:
    with pytest.raises(InvalidRecord) as caught:
        read_event("listens", msgspec.json.encode({"schema_version": "\U0001f600\x00"}), JSON)
    letter = dead_letter(position(), caught.value, "sessions", None, b"", ())
    assert all(isinstance(value, bytes) for _, value in letter.headers)


VALUES = st.none() | st.binary(max_size=20)
HAD = st.lists(
    st.tuples(st.sampled_from(["a", "a", "content-type", "streamrec.replayed", "streamrec.dlq.topic"]), VALUES), max_size=6
)


@given(VALUES, VALUES, HAD.map(tuple), st.integers(1, 3))
def test_what_a_dead_letter_was_is_told_by_its_headers_also_where_it_died_again(key, value, had, times) -> None:
    at, fault = position(17, "clicks", 3, -1), InvalidRecord("invalid", "x")
    if key is None and value is None:
        value = b""
    letter = DeadLetter(key, value, had)
    for _ in range(times):
        before = letter
        letter = dead_letter(at, fault, "sessions", *letter)
        assert (letter.key, letter.value) == (key, value)
        origin = origin_of(letter.headers)
        assert (origin.at, origin.role, origin.reason, origin.detail) == (at, "sessions", "invalid", "x")
        assert origin.headers == before.headers
        assert not origin.cut


def test_a_record_of_nothing_is_kept_as_no_bytes_and_says_so() -> None:
    letter = dead_letter(position(), InvalidRecord("invalid", "null"), "sessions", None, None, ())
    assert letter.value == b""  # aiokafka sends no record that has neither
    assert origin_of(letter.headers).cut


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1, 5_000_000])
@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_a_dead_letter_always_fits_and_says_what_is_missing(part: str, size: int) -> None:
    whole = {"key": b"k", "value": b"v", "headers": (("a", b"1"),)}
    whole |= {part: b"x" * size if part != "headers" else tuple((f"h{n}", b"x" * 999) for n in range(size // 1000))}
    letter = dead_letter(
        position(), InvalidRecord("too_large", "x" * 300), "sessions", whole["key"], whole["value"], whole["headers"]
    )
    sent = len(letter.key or b"") + len(letter.value or b"") + sum(len(name) + len(value or b"") for name, value in letter.headers)
    assert sent < MOST_BYTES + 2000
    assert origin_of(letter.headers).cut
    if part == "value":
        assert ("streamrec.dlq.original_bytes", str(size).encode()) in letter.headers


@pytest.mark.parametrize(
    "headers", [(), (("streamrec.dlq.topic", b"clicks"),), (("streamrec.dlq.topic", None), ("streamrec.dlq.offset", b"\xff"))]
)
def test_what_is_no_dead_letter_is_refused(headers) -> None:
    with pytest.raises(InvalidRecord, match="not a dead letter"):
        origin_of(headers)


@pytest.mark.parametrize(
    ("occurred_at", "said"),
    [
        (1_700_000_000, "looks like seconds since 1970; milliseconds are expected"),
        (1_700_000_000_000_000, "looks like microseconds since 1970; milliseconds are expected"),
        (1_700_000_000_000_000_000, "looks like nanoseconds since 1970; milliseconds are expected"),
        (1_700_000_000.5, "looks like seconds since 1970; milliseconds are expected"),
        (1_700_000_000_000.5, "a whole number of milliseconds since 1970"),
        ("2023-11-14T22:13:20Z", "a whole number of milliseconds since 1970"),
    ],
)
def test_a_time_in_another_unit_is_named(occurred_at: object, said: str) -> None:
    sent = msgspec.json.encode(msgspec.to_builtins(event()) | {"occurred_at": occurred_at})
    with pytest.raises(InvalidRecord, match=f"occurred_at.*{said}"):
        read_event("listens", sent, JSON, NOW)


def test_times_of_a_log_without_a_clock_are_read() -> None:
    """A data set whose timestamps are row numbers, replayed: the record's own timestamp is as small."""
    assert read_event("listens", encode(event("a", 1_700_000_000)), (), 1_700_000_000) == event("a", 1_700_000_000)


def test_an_unknown_type_is_told_what_belongs_there() -> None:
    sent = msgspec.json.encode(msgspec.to_builtins(event()) | {"event_type": "play"})
    with pytest.raises(InvalidRecord, match=r"'listen' is expected on listens"):
        read_event("listens", sent, JSON)
