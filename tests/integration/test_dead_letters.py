"""Dead letters are kept whole, whatever the record was; an operator lists, reads, sends back and deletes them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from streamrec.admin.deadletters import Filter, Letter, Place, letters, purge, replay
from streamrec.core.deadletters import MOST_BYTES, REPLAYED
from streamrec.core.types import Recommendation
from streamrec.core.wire import decode, encode
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings
from tests.integration.stream import all_records, fresh_settings, some_events, wait_until_done

HEADERS = [("twice", b"1"), ("twice", b"2"), ("no-text", b"\xff\xfe"), ("null", None), ("", b"nameless"), ("content-type", b"x")]
EARLY = encode(replace(some_events(1)[0], event_id="early", user_id="early")).replace(b"schema_version\x01", b"schema_version\x02")
STRANGE: list[tuple[str, bytes | None, bytes | None, list]] = [
    ("clicks", None, None, []),
    ("clicks", b"k", None, HEADERS),
    ("listens", b"\xff\x00", b"\xc1", HEADERS),
    ("listens", None, b"", []),
    ("listens", b"big", b"x" * 300_000, []),
    ("listens", b"bomb", b"\0" * 2_000_000, [("twice", b"1")]),  # compressed it is small enough for its topic
    ("listens", b"headers", b"\xc1", [(f"h{n}", b"\0" * 1000) for n in range(500)]),
    ("items", b"\xff", b"{}", HEADERS),  # compacted: the broker refuses one without a key
    ("clicks", b"early", EARLY, HEADERS),
]


def run(settings: Settings, *words: str, code: int = 0, input: str | None = None) -> subprocess.CompletedProcess[str]:
    variables = [f"STREAMREC_BROKER={settings.broker}", f"STREAMREC_TOPIC_PREFIX={settings.topic_prefix}"]
    command = ["/usr/bin/env", *variables, sys.executable, "-m", "streamrec", "dead-letters", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=input)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def settings(kafka: LocalKafka) -> Iterator[Settings]:
    """A deployment that was sent every strange record, and the worker that found them still there."""
    settings = fresh_settings(kafka.bootstrap_servers, "strange-")
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        asyncio.run(send_strange(settings))
        wait_until_done(settings)
        yield settings


async def send_strange(settings: Settings) -> None:
    """In batches made by hand: `send` refuses what other clients would send."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.broker, compression_type="gzip", max_batch_size=4_000_000, max_request_size=4_000_000
    ) as producer:
        for topic, key, value, headers in STRANGE:
            batch = producer.create_batch()
            assert batch.append(key=key, value=value, timestamp=None, headers=headers)
            await (await producer.send_batch(batch, settings.topic_prefix + topic, partition=0))


def by_key(settings: Settings) -> dict[tuple[str, bytes | None], Letter]:
    return {(letter.origin.at.topic, letter.record.key): letter for letter in letters(settings)}


def test_every_strange_record_is_kept_with_its_bytes_key_and_headers(settings: Settings) -> None:
    found = letters(settings)
    assert len(found) == len(STRANGE)
    originals = {(record.topic, record.offset): record for record in all_records(settings, ["clicks", "listens", "items"])}
    for letter in found:
        original = originals[letter.origin.at.topic, letter.origin.at.offset]
        assert letter.record.key == original.key
        assert letter.origin.headers == original.headers or letter.record.key == b"headers"
        if (original.key, original.value) == (None, None):
            assert letter.record.value == b""  # aiokafka sends no record of nothing
            assert letter.record.headers[-1] == ("streamrec.dlq.null", b"key and value")
        elif letter.record.key not in (b"bomb", b"headers"):
            assert letter.record.value == original.value
            assert not letter.origin.cut


def test_what_is_larger_than_kafka_takes_back_is_cut_and_says_so(settings: Settings) -> None:
    found = by_key(settings)
    bomb, headers = found["listens", b"bomb"], found["listens", b"headers"]
    assert bomb.origin.cut
    assert MOST_BYTES - 100 < len(bomb.record.value or b"") < MOST_BYTES
    assert ("streamrec.dlq.original_bytes", b"2000000") in bomb.record.headers
    assert headers.origin.cut
    assert 290 < len(headers.origin.headers) < 300
    assert headers.record.value == b"\xc1"


def test_list_and_show_tell_what_there_is(settings: Settings) -> None:
    listed = json.loads(run(settings, "list", "--json").stdout)
    assert listed["total"] == len(STRANGE) == len(listed["dead_letters"])
    assert json.loads(run(settings, "list", "--json", "--reason", "unknown_version").stdout)["total"] == 1
    assert json.loads(run(settings, "list", "--json", "--topic", "items").stdout)["total"] == 1
    assert json.loads(run(settings, "list", "--json", "--since", "2020-01-01").stdout)["total"] == len(STRANGE)
    assert json.loads(run(settings, "list", "--json", "--since", "0s").stdout)["total"] == 0
    shown = run(settings, "list").stdout
    assert "unknown_version" in shown
    assert "items 0@" in shown
    place = str(by_key(settings)["clicks", b"early"].place)
    text = run(settings, "show", place).stdout
    assert '"user_id": "early"' in text
    assert "header no-text: b'\\xff\\xfe'" in text
    assert "|early" not in text
    whole = json.loads(run(settings, "show", place, "--json").stdout)
    assert whole["reason"] == "unknown_version"
    assert whole["origin"]["topic"] == "clicks"
    assert ["twice", "2"] in whole["headers"]
    bomb = str(by_key(settings)["listens", b"bomb"].place)
    assert "bytes more; --raw gives them all" in run(settings, "show", bomb).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "7"), "no place of a dead letter"),
        (("show", "0@99999"), "no dead letter at 0@99999"),
        (("list", "--since", "soon"), "--since 'soon'"),
        (("purge",), "say what to delete"),
        (("purge", "0@1", "--all"), "say what to delete"),
        (("purge", "99@1", "--yes"), "has no partition 99"),
        (("replay", "--at", "x@y"), "no place of a dead letter"),
    ],
)
def test_a_mistake_is_one_line(settings: Settings, words: tuple[str, ...], says: str) -> None:
    said = run(settings, *words, code=2).stderr
    assert says in said


def test_what_is_sent_back_comes_as_it_was_and_a_loop_is_seen(settings: Settings) -> None:
    early = by_key(settings)["clicks", b"early"]
    assert replay([early], settings, dry_run=True).sent == 1
    assert len(letters(settings)) == len(STRANGE), "a dry run sends nothing"
    assert json.loads(run(settings, "replay", "--at", str(early.place), "--json").stdout)["sent"] == 1
    wait_until_done(settings)
    came_back = [letter for letter in letters(settings) if letter.origin.replayed]
    assert [letter.origin.replayed for letter in came_back] == [str(early.place)]
    assert came_back[0].record.value == EARLY
    assert came_back[0].origin.headers == (*early.origin.headers, (REPLAYED, str(early.place).encode()))
    assert replay(came_back, settings) == (0, 1, 0, 0)
    assert replay(came_back, settings, again=True, dry_run=True) == (1, 0, 0, 0)
    assert replay([by_key(settings)["listens", b"bomb"]], settings) == (0, 0, 1, 0)


def test_a_letter_that_can_be_read_now_counts_once_however_often_it_is_sent(settings: Settings) -> None:
    early = next(letter for letter in letters(settings) if letter.record.value == EARLY and not letter.origin.replayed)
    readable = early.record._replace(value=EARLY.replace(b"schema_version\x02", b"schema_version\x01"))
    for _ in range(2):
        replay([early._replace(record=readable)], settings)
    wait_until_done(settings)
    made = [decode(Recommendation, each.value) for each in all_records(settings, ["recommendations"]) if each.key == b"early"]
    assert len({each.recommendation_id for each in made}) == 1


def test_purge_asks_and_deletes_up_to_the_offset(settings: Settings) -> None:
    before = letters(settings)
    run(settings, "purge", "0@1", code=1, input="n\n")
    assert letters(settings) == before
    assert json.loads(run(settings, "purge", "0@1", "--yes", "--json").stdout) == {"deleted": 2, "partitions": {"0": 2}}
    assert letters(settings) == [letter for letter in before if letter.place > Place(0, 1)]
    assert letters(settings, Filter(places=[before[0].place])) == []
    left = len(before) - 2
    assert sum(purge(settings).values()) == left
    assert letters(settings) == []
