"""What comes in, read by contract; and what is kept of what breaks it."""

import msgspec
import pytest

from streamrec.core.deadletters import MOST_BYTES, dead_letter_headers, kept_bytes
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import Headers, read_event, read_item
from streamrec.core.wire import MAX_RECORD_BYTES, encode
from tests.make import event, item, position

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
    headers = dict(dead_letter_headers(position(17, "clicks", 3, 1234), InvalidRecord("invalid", "über"), "sessions"))
    assert {name.removeprefix("streamrec.dlq."): value.decode() for name, value in headers.items()} == {
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
    assert all(isinstance(value, bytes) for _, value in dead_letter_headers(position(), caught.value, "sessions"))


def test_a_dead_letter_too_large_to_be_sent_is_cut_and_says_how_large_it_was() -> None:
    whole = b"x" * (MOST_BYTES + 1)
    headers = dict(dead_letter_headers(position(), InvalidRecord("too_large", "it is"), "sessions", whole))
    assert kept_bytes(whole) == whole[:-1]
    assert headers["streamrec.dlq.original_bytes"] == str(len(whole)).encode()
    assert kept_bytes(whole[:-1]) == whole[:-1]
    assert kept_bytes(None) is None
