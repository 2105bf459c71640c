"""A deploy that reads nothing is stopped, a session of another catalogue blocks nobody, a user who floods holds up nobody."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pytest
from aiokafka.errors import MessageSizeTooLargeError
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from streamrec.admin.client import connect, connect_producer
from streamrec.admin.deadletters import letters
from streamrec.admin.topics import apply
from streamrec.core.errors import UserError
from streamrec.core.types import Recommendation, Session
from streamrec.core.wire import decode, encode
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.localkafka.ports import free_ports
from streamrec.settings import Settings
from streamrec.worker.app import make_app, send
from tests.integration.stand import Stand
from tests.integration.stream import all_records, audited, fresh_settings, send_all, some_events, wait_until_done

BAD = msgspec.msgpack.encode({"schema_version": 9, "event_id": "bad"})
AS_JSON = msgspec.json.encode(some_events(1)[0])


def worker(settings: Settings) -> subprocess.Popen[str]:
    given = settings.model_dump(include=settings.model_fields_set, mode="json") | {"ops_port": free_ports(1)[0]}
    environment = os.environ | {f"STREAMREC_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "streamrec", "worker"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def last_words(process: subprocess.Popen[str], code: int = 2) -> str:
    """The one line that a worker ends with."""
    said = process.communicate(timeout=120)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("streamrec: ")][-1]


@contextmanager
def sending(values: Sequence[bytes], settings: Settings, pause: float = 0.5) -> Iterator[None]:
    """Sends the values again and again, as a producer does that is not aware of anything."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(pause):
            send_all(values, settings)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def committed(settings: Settings) -> int:
    group = f"{settings.topic_prefix}streamrec-sessions"
    consumer = KafkaConsumer(bootstrap_servers=settings.brokers, group_id=group, enable_auto_commit=False)
    try:
        topics = [settings.topic_prefix + topic for topic in ("clicks", "listens")]
        return sum(consumer.committed(TopicPartition(topic, n)) or 0 for topic in topics for n in range(12))
    finally:
        consumer.close()


def test_a_deploy_that_can_read_nothing_stops(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    impatient = replace_settings(settings, dead_letter_limit_seconds=3)
    with sending([AS_JSON] * 40 + [BAD] * 10, settings), worker(impatient) as process:
        said = last_words(process)
    assert re.search(r"streamrec: ([\d,]+) of \1 records in \d+ s were unreadable \(dead_letter", said)
    assert "looks like JSON: send the header content-type: application/json; the last, " in said
    assert "acknowledging nothing over it" in said
    drained = len({letter.origin.at[:3] for letter in letters(settings)})
    assert 100 < drained == len(letters(settings))
    assert committed(settings) <= drained < len(all_records(settings, ["clicks", "listens"]))


def test_a_burst_of_one_producer_stops_nobodys_sessions(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix, dead_letter_limit_seconds=6)
    send_all([AS_JSON] * 300, settings)
    events = some_events(60)
    with WorkerProcess(settings) as process:
        for first in range(0, len(events), 5):  # for longer than the limit
            send_all([*events[first : first + 5], AS_JSON], settings)
            time.sleep(1)
            process.check()
        wait_until_done(settings, 120)
    found = audited(settings)
    assert (found.events_in, found.events_lost, found.dead_letters) == (len(events), 0, 300 + 12)


@pytest.mark.parametrize("topic", ["sessions", "recommendations", "explanations", "dead-letters"])
def test_an_output_too_large_is_named(kafka: LocalKafka, topic_prefix: str, topic: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    with connect(settings) as admin:
        limit = {"max.message.bytes": "150"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic_prefix + topic, limit)])
    send_all([b"\xc1" * 200] if topic == "dead-letters" else some_events(3), settings)
    with worker(settings) as process:
        said = last_words(process)
    assert re.search(rf"topic {topic_prefix}{topic} refuses a record of [\d,]+ bytes as too large", said)
    assert "max.message.bytes must be at least 16384" in said
    assert "`streamrec topics apply`" in said
    apply(settings)
    with WorkerProcess(settings):  # which is what to do
        wait_until_done(settings, 120)


def test_the_topic_alone_says_how_large_a_record_may_be(stand: Stand) -> None:
    """The client's own limit, a megabyte, would stay when an operator has raised the topic's."""
    stand.make("large", max_message_bytes="3000000")

    async def send_both() -> str:
        app = make_app("large", {"bootstrap_servers": stand.kafka.bootstrap_servers}, mended=False)
        await app.producer.start()
        try:
            await (await send(app, f"{stand.prefix}large", b"k", b"x" * 2_500_000))
            with pytest.raises(MessageSizeTooLargeError) as refused:
                await (await send(app, f"{stand.prefix}out", b"k", b"x" * 2_500_000))
            return " ".join(refused.value.__notes__)
        finally:
            await app.producer.stop()

    said = asyncio.run(send_both())
    assert re.search(r"-out refuses a record of 2,500,\d+ bytes .* must be at least 2500\d+ ", said)


def replace_settings(settings: Settings, **changes: object) -> Settings:
    return Settings(**(settings.model_dump(include=settings.model_fields_set) | changes))


@pytest.mark.timeout(200)
def test_a_session_of_a_catalogue_that_is_no_more_goes_to_the_dead_letters_and_blocks_nobody(
    kafka: LocalKafka, topic_prefix: str
) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    events = some_events(40)
    with WorkerProcess(settings) as process:
        process.wait_ready()
        send_all(events, settings)
        wait_until_done(settings)
    session = decode(Session, all_records(settings, ["sessions"])[-1].value)
    with connect_producer(settings) as producer:
        for user in ("lost-1", "lost-2"):
            lost = replace(session, user_id=user, catalogue=10**9)
            producer.send(settings.topic_prefix + "sessions", key=user.encode(), value=encode(lost), partition=0)
        producer.flush()
    with WorkerProcess(settings) as process:
        process.wait_ready()
        send_all([replace(each, event_id=f"again-{each.event_id}") for each in events], settings)
        wait_until_done(settings, 120)
    found = letters(settings)
    assert [letter.record.key for letter in found] == [b"lost-1", b"lost-2"]
    assert {letter.origin.reason for letter in found} == {"unknown_catalogue"}
    assert "catalogue version 1000000000" in found[0].origin.detail


def test_producers_may_compress_as_they_like(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    events = some_events(40)
    with WorkerProcess(settings) as process:
        process.wait_ready()
        for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd")):
            with connect_producer(settings, compression_type=codec, linger_ms=50) as producer:
                for event in events[number * 10 : number * 10 + 10]:
                    topic = settings.topic_prefix + ("clicks" if event.event_type == "click" else "listens")
                    producer.send(topic, key=event.user_id.encode(), value=encode(event))
                producer.flush()
        wait_until_done(settings)
    found = audited(settings)
    assert (found.events_in, found.events_lost, found.outputs_wrong, found.dead_letters) == (40, 0, 0, 0)


class NoText(str):
    """A header's name that is no UTF-8, as librdkafka sends one if it is told to."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


def test_a_header_name_that_is_no_text_stops_nobody(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    events = [replace(each, event_type="listen") for each in some_events(30, users=30)]
    with WorkerProcess(settings) as process:
        process.wait_ready()
        with connect_producer(settings) as producer:
            for number, event in enumerate(events):
                headers = [(NoText("name"), b"x")] if number % 3 == 0 else []
                producer.send(f"{topic_prefix}listens", key=event.user_id.encode(), value=encode(event), headers=headers)
            producer.flush()
        wait_until_done(settings)
    made = [decode(Recommendation, each.value) for each in all_records(settings, ["recommendations"])]
    assert {each.trigger.event_id for each in made} == {event.event_id for event in events}
    with pytest.raises(UserError, match="UnicodeDecodeError"):  # kafka-python cannot, and says so in one line
        all_records(settings, ["listens"])


def test_a_user_who_floods_is_taken_in_whole_and_answered_for_the_newest(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    events = some_events(900, users=30)
    flood = [replace(each, user_id="flood") if n % 3 else each for n, each in enumerate(events)]
    with WorkerProcess(replace_settings(settings, user_rate=2)) as process:
        process.wait_ready()
        send_all(flood, settings)
        wait_until_done(settings, 120)
    found = audited(settings)
    assert (found.events_lost, found.outputs_wrong) == (0, 0)
    assert found.events_in == len(flood) == found.recommendations + found.superseded
    made = [decode(Recommendation, each.value) for each in all_records(settings, ["recommendations"]) if each.key == b"flood"]
    sessions = [decode(Session, each.value) for each in all_records(settings, ["sessions"]) if each.key == b"flood"]
    assert len(sessions) == 600
    assert len(made) < 100
    assert made[-1].trigger == sessions[-1].trigger
