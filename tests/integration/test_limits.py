"""A deploy that reads nothing is stopped, a session of another catalogue blocks nobody, a user who floods holds up nobody."""

import os
import subprocess
import sys

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from msgspec.structs import replace

from streamrec.admin.client import connect_producer
from streamrec.admin.deadletters import letters
from streamrec.core.deadletters import DeadLetterLimit
from streamrec.core.errors import UserError
from streamrec.core.types import Recommendation, Session
from streamrec.core.wire import decode, encode
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.localkafka.ports import free_ports
from streamrec.settings import Settings
from tests.integration.stream import all_records, audited, fresh_settings, send_all, some_events, wait_until_done

BAD = [msgspec.msgpack.encode({"schema_version": 9, "event_id": f"bad-{n}"}) for n in range(400)]


def worker(settings: Settings, **variables: object) -> subprocess.Popen[str]:
    chosen = {"broker": settings.broker, "topic_prefix": settings.topic_prefix, "ops_port": free_ports(1)[0]} | variables
    environment = os.environ | {f"STREAMREC_{name.upper()}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "streamrec", "worker"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def committed(settings: Settings) -> int:
    group = f"{settings.topic_prefix}streamrec-sessions"
    consumer = KafkaConsumer(bootstrap_servers=settings.brokers, group_id=group, enable_auto_commit=False)
    try:
        topics = [settings.topic_prefix + topic for topic in ("clicks", "listens")]
        return sum(consumer.committed(TopicPartition(topic, n)) or 0 for topic in topics for n in range(12))
    finally:
        consumer.close()


def test_a_deploy_that_can_read_nothing_stops_instead_of_draining_the_topic(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    send_all(BAD, settings)
    most = DeadLetterLimit.WINDOW // 5
    for starts in (1, 2):
        with worker(settings) as process:
            said = process.communicate(timeout=90)[1]
        assert process.returncode == 2, said
        line = [each for each in said.splitlines() if each.startswith("streamrec: ")][-1]
        assert f"{most + 1} of the last 500 records were unreadable" in line
        assert "acknowledging nothing over it" in line
        assert "Traceback" not in said
        assert most * starts <= len(letters(settings)) <= most * starts + 1
        assert committed(settings) <= most * starts
    with WorkerProcess(replace_settings(settings, dead_letter_limit_percent=100)):  # whoever means it
        wait_until_done(settings)
    assert len({letter.origin.at[:3] for letter in letters(settings)}) == len(BAD)


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
