"""The operator's tools on a real Kafka: topics, produce, tail, reading whole topics, and brokers that cannot be reached."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from streamrec.admin.client import connect, connect_consumer, connect_producer
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.admin.produce import produce
from streamrec.admin.tail import tail
from streamrec.admin.topics import apply, check
from streamrec.core.errors import UserError
from streamrec.core.intake import read_event, read_item
from streamrec.core.types import Event
from streamrec.core.wire import encode
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord, as_json
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings

CONTRACTS = load_contracts()
JSON = ("content-type", b"application/json")


@pytest.fixture
def settings(kafka: LocalKafka, topic_prefix: str) -> Settings:
    return Settings(broker=kafka.bootstrap_servers, topic_prefix=topic_prefix)


@pytest.fixture
def applied(settings: Settings) -> Settings:
    apply(settings)
    return settings


@pytest.fixture
def producer(applied: Settings) -> Iterator[KafkaProducer]:
    with connect_producer(applied) as producer:
        yield producer


def a_listen(event_id: str, user_id: str = "u1", **more: Any) -> Event:
    fields = {"schema_version": 1, "event_type": "listen", "item_id": "i1", "occurred_at": 5_000}
    return msgspec.convert({**fields, "event_id": event_id, "user_id": user_id, **more}, Event)


def send(producer: KafkaProducer, settings: Settings, topic: str, value: bytes | None, **more: Any) -> None:
    producer.send(settings.topic_prefix + topic, value=value, **more).get(timeout=20)


def set_config(settings: Settings, topic: str, config: dict[str, str]) -> None:
    with connect(settings) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic_prefix + topic, config)])


# --- topics ---


def test_apply_creates_every_topic_as_its_contract_says_and_then_has_nothing_to_do(settings: Settings):
    missing = check(settings)
    assert {(each.topic, each.what) for each in missing} == {(settings.topic_prefix + name, "topic") for name in CONTRACTS}
    created = apply(settings)
    assert sorted(str(each) for each in created) == [
        f"{settings.topic_prefix}{name}: created with {CONTRACTS[name].partitions} partitions" for name in sorted(CONTRACTS)
    ]
    assert check(settings) == []
    assert apply(settings) == []


def test_configuration_that_was_changed_is_found_and_set_again(applied: Settings):
    set_config(applied, "recommendations", {"cleanup.policy": "delete", "retention.ms": "1000"})
    topic = applied.topic_prefix + "recommendations"
    wanted = {(topic, "cleanup.policy", "compact,delete", "delete"), (topic, "retention.ms", "2592000000", "1000")}
    while set(check(applied)) != wanted:  # the controller has it, the broker hears of it
        pass
    assert {(each.verb, each.topic) for each in apply(applied)} == {("set", topic)}
    assert check(applied) == []


def test_the_order_of_cleanup_policies_is_no_difference(applied: Settings):
    set_config(applied, "recommendations", {"cleanup.policy": "delete,compact", "retention.ms": "1000"})
    while not (found := check(applied)):
        pass
    assert [each.what for each in found] == ["retention.ms"]


def test_another_number_of_partitions_is_an_error_that_says_what_to_do_and_nothing_is_changed(settings: Settings):
    topic = settings.topic_prefix + "clicks"
    with connect(settings) as admin:
        admin.create_topics({topic: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    with pytest.raises(UserError, match=rf"{topic} has 3 partitions and should have 12.*delete the topic.*STREAMREC_TOPICS_DIR"):
        apply(settings)
    assert {each.what for each in check(settings) if each.topic == topic} >= {"partitions"}
    assert sum(each.what == "topic" for each in check(settings)) == len(CONTRACTS) - 1, "none of the others was created"


def test_too_few_replicas_are_a_difference_that_apply_names_and_leaves(applied: Settings):
    found = check(applied, replicas=2)
    assert {(each.what, each.wanted, each.found) for each in found} == {("replicas", "2", "1")}
    assert {each.verb for each in apply(applied, replicas=2)} == {"left"}


def test_more_replicas_than_brokers_are_refused_in_one_line(settings: Settings):
    with pytest.raises(UserError, match=r"refuses to create it.*replicat") as refused:
        apply(settings, replicas=3)
    assert "\n" not in str(refused.value)


def test_with_three_replicas_two_must_have_a_write(kafka3: LocalKafka, topic_prefix: str):
    settings = Settings(broker=kafka3.bootstrap_servers, topic_prefix=topic_prefix)
    apply(settings, replicas=3)
    assert check(settings, replicas=3) == []
    set_config(settings, "clicks", {"min.insync.replicas": "1"})
    while not (done := apply(settings)):  # any of the three may be asked, and hears of it when it does
        pass
    assert [str(each) for each in done] == [f"{topic_prefix}clicks: set min.insync.replicas to 2, it was 1"]


# --- produce ---

EVENTS = """user_id,item_id,timestamp,event_type
ada,i1,1000,click
bob,i2,1001,listen
ada,i3,1002.5,listen
ada,i1,1003,impression
käthe,i9,1004,click
ada,i2,1004,click
"""
ITEMS = """item_id,title,creator,tags,text
i1,One,A,x|y,first
i2,Two,B,,
i3,Drei äöü,C,,
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "items.csv").write_text(ITEMS)
    return read_dataset(tmp_path)


def test_a_data_set_arrives_whole_in_order_and_in_the_partition_of_its_user(applied: Settings, dataset: Dataset):
    told: list[tuple[int, int]] = []
    sent = produce(dataset, applied, progress=lambda done, total: told.append((done, total)))
    assert sent == (4, 5, 1)  # i9 is known from its event only
    assert told[-1] == (9, 9)
    items = read_topics(applied, ["items"])
    assert dict(read_item(each.key, each.value, each.headers) for each in items) == dataset.items
    events = read_topics(applied, ["clicks", "listens"])
    messages = [read_event(each.topic, each.value, each.headers) for each in events]
    expected = [dataset.event(row) for row in range(len(dataset)) if dataset.is_interaction[row]]
    assert sorted(messages, key=lambda each: each.event_id) == sorted(expected, key=lambda each: each.event_id)
    for record, message in zip(events, messages, strict=True):
        assert record.key == message.user_id.encode()
        assert record.partition == partition_of(message.user_id, CONTRACTS[record.topic].partitions)
    adas_clicks = [each.occurred_at for each in messages if each.user_id == "ada" and each.event_type == "click"]
    assert adas_clicks == [1_000_000, 1_004_000]


@pytest.mark.parametrize("pace", [{"rate": 10}, {"speed": 10}])
def test_a_pace_holds_events_back_until_they_are_due(applied: Settings, dataset: Dataset, pace: dict[str, float]):
    started = time.monotonic()
    produce(dataset, applied, **pace)
    assert time.monotonic() - started >= 0.4  # five events a tenth of a second apart; four seconds at ten times the speed


def test_producing_onto_missing_topics_is_refused_by_name(settings: Settings, dataset: Dataset):
    with pytest.raises(UserError, match=rf"no topic .*{settings.topic_prefix}items.*run `streamrec topics apply` first"):
        produce(dataset, settings)


def test_a_record_that_the_broker_refuses_is_an_error_and_not_a_count(applied: Settings, dataset: Dataset):
    set_config(applied, "listens", {"max.message.bytes": "50"})
    topic = applied.topic_prefix + "listens"
    while ("max.message.bytes", "50") not in {(each.what, each.found) for each in check(applied) if each.topic == topic}:
        pass
    with pytest.raises(UserError, match=r"producing: .*larger"):
        produce(dataset, applied)


# --- tail ---


def test_tail_shows_both_formats_and_only_the_user_asked_for(applied: Settings, producer: KafkaProducer):
    send(producer, applied, "listens", encode(a_listen("e1")), key=b"u1")
    send(producer, applied, "listens", encode(a_listen("e2", "u2")), key=b"u2")
    send(producer, applied, "listens", encode(a_listen("e3"), "json"), key=b"u1", headers=[JSON])
    shown = tail("listens", applied, user="u1", from_beginning=True)
    lines = [as_json(next(shown)), as_json(next(shown))]
    assert [line["value"]["event_id"] for line in lines] == ["e1", "e3"]
    assert [line["topic"] for line in lines] == ["listens", "listens"]
    shown.close()


def test_tail_without_a_past_shows_what_comes_and_ends_when_told(applied: Settings, producer: KafkaProducer):
    send(producer, applied, "clicks", b"old", key=b"u1")
    shown = tail("clicks", applied, seconds=5)
    found: list[LogRecord] = []
    follower = Thread(target=lambda: found.extend(shown))
    follower.start()
    number = 0
    while not found and follower.is_alive():  # it may not have looked where the end is yet
        number += 1
        send(producer, applied, "clicks", f"new {number}".encode(), key=b"u1")
    follower.join()
    assert found
    assert b"old" not in {record.value for record in found}


def test_tail_refuses_a_topic_without_a_contract_and_one_that_is_missing(settings: Settings):
    with pytest.raises(UserError, match=r"no topic 'klicks'; there are clicks, .*sessions"):
        next(tail("klicks", settings))
    with pytest.raises(UserError, match=rf"no topic {settings.topic_prefix}clicks; .*streamrec topics apply"):
        next(tail("clicks", settings))


# --- reading whole topics ---


def test_records_come_back_as_they_were_sent_by_time_and_by_offset(applied: Settings, producer: KafkaProducer):
    headers = [("traceparent", b"00-ab"), JSON, ("traceparent", b"")]
    send(producer, applied, "sessions", b"2", key=b"a", partition=0, timestamp_ms=2_000, headers=headers)
    send(producer, applied, "sessions", b"1", key=b"a", partition=0, timestamp_ms=1_000)  # a clock that went back
    send(producer, applied, "sessions", None, key=b"b", partition=1, timestamp_ms=1_500)
    send(producer, applied, "sessions", b"4", key=b"c", partition=2, timestamp_ms=3_000)
    assert read_topics(applied, ["sessions"]) == [
        LogRecord("sessions", 1, 0, 1_500, b"b", None, ()),
        LogRecord("sessions", 0, 0, 2_000, b"a", b"2", tuple(headers)),
        LogRecord("sessions", 0, 1, 1_000, b"a", b"1", ()),
        LogRecord("sessions", 2, 0, 3_000, b"c", b"4", ()),
    ]


def test_a_record_without_a_key_has_none(applied: Settings, producer: KafkaProducer):
    send(producer, applied, "dead-letters", b"x", key=None, partition=2)
    assert [record.key for record in read_topics(applied, ["dead-letters"])] == [None]


def test_an_empty_topic_holds_nothing(applied: Settings):
    assert read_topics(applied, ["clicks", "items"]) == []


def test_offsets_and_times_bound_what_is_read(applied: Settings, producer: KafkaProducer):
    for number in range(6):
        send(producer, applied, "sessions", b"%d" % number, key=b"a", partition=number % 2, timestamp_ms=1_000 * number)

    def values(start: Any = None, end: Any = None) -> list[bytes | None]:
        return [record.value for record in read_topics(applied, ["sessions"], start, end)]

    assert values(start=1) == [b"2", b"3", b"4", b"5"]
    assert values(end=1) == [b"0", b"1"]
    assert values(start=1, end=2) == [b"2", b"3"]
    assert values(start=datetime.fromtimestamp(3, UTC)) == [b"3", b"4", b"5"]
    assert values(end=datetime.fromtimestamp(3, UTC)) == [b"0", b"1", b"2"]
    assert values(start=datetime.fromtimestamp(60, UTC)) == []
    assert values(start=7) == []


def test_offsets_that_are_kept_no_more_are_refused(applied: Settings, producer: KafkaProducer):
    for _ in range(3):
        send(producer, applied, "listens", b"x", key=b"a", partition=4)
    with connect(applied) as admin:
        admin.delete_records({TopicPartition(applied.topic_prefix + "listens", 4): 2})
    assert [record.offset for record in read_topics(applied, ["listens"])] == [2]
    with pytest.raises(UserError, match=r"listens, partition 4: offset 1 is kept no more; the oldest is 2"):
        read_topics(applied, ["listens"], start=1)


def test_a_topic_that_ends_with_a_transactions_marker_is_read_to_its_end(applied: Settings):
    topic = applied.topic_prefix + "listens"
    with connect_producer(applied, transactional_id=applied.topic_prefix) as foreign:
        foreign.init_transactions()
        for finish in (foreign.commit_transaction, foreign.abort_transaction):
            foreign.begin_transaction()
            foreign.send(topic, value=b"x", key=b"a", partition=3).get(timeout=20)
            finish()
    with connect_consumer(applied) as consumer:
        partition = TopicPartition(topic, 3)
        while consumer.end_offsets([partition])[partition] < 4:  # markers are written a moment later
            pass
    assert [record.offset for record in read_topics(applied, ["listens"])] == [0], "as a worker reads: nothing aborted"


# --- the subscriber of topics/README.md ---


def test_the_subscriber_in_the_readme_reads_both_formats_and_counts_a_repeat_once(applied: Settings, producer: KafkaProducer):
    folder = Path(__file__).parents[2] / "topics"
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    program = program.replace('"recommendations"', f'"{applied.topic_prefix}recommendations"').replace(
        "localhost:9092", applied.broker
    )
    program = program.replace("[item[", "[item[", 1).replace('group_id="my-app"', f'group_id="{applied.topic_prefix}app"')
    slate = (folder / "examples" / "recommendations" / "valid" / "three-items.json").read_bytes()
    again = msgspec.msgpack.encode(msgspec.json.decode(slate))
    other = msgspec.msgpack.encode(msgspec.json.decode(slate) | {"recommendation_id": "r2", "user_id": "end"})
    send(producer, applied, "recommendations", slate, key=b"u", partition=0, headers=[JSON])
    send(producer, applied, "recommendations", again, key=b"u", partition=0, headers=[("content-type", b"application/msgpack")])
    send(producer, applied, "recommendations", None, key=b"u", partition=0)
    send(producer, applied, "recommendations", other, key=b"u", partition=0)
    command = [sys.executable, "-u", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        lines = [subscriber.stdout.readline(), subscriber.stdout.readline()]
        subscriber.kill()
    assert lines == ["u-7f3a ['2208', '1175', '579']\n", "end ['2208', '1175', '579']\n"]


# --- brokers that cannot be reached ---


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that somebody holds but nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_broker_that_is_not_there_is_refused_by_name_and_cause(silent_port: int):
    with pytest.raises(UserError, match=rf"broker 127.0.0.1:{silent_port}: connection refused; start it"):
        connect(Settings(broker=f"127.0.0.1:{silent_port}"))


def test_an_unknown_host_is_told_from_a_broker_that_is_down():
    with pytest.raises(UserError, match=r"broker no-such-host.invalid:9092: unknown host"):
        connect(Settings(broker="no-such-host.invalid:9092"))


def test_of_several_brokers_each_ones_fault_is_told_in_one_line(silent_port: int):
    with pytest.raises(UserError, match=r"connection refused.* \| .*unknown host") as refused:
        connect(Settings(broker=f"127.0.0.1:{silent_port},no-such-host.invalid:9092"))
    assert "\n" not in str(refused.value)


def test_one_reachable_broker_of_several_is_enough(kafka: LocalKafka, silent_port: int):
    with connect(Settings(broker=f"127.0.0.1:{silent_port},{kafka.bootstrap_servers}")) as admin:
        assert admin.describe_cluster()["brokers"]


@pytest.mark.timeout(20)  # kafka-python's own patience is 30 seconds
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_something_that_says_nothing_is_given_up_within_seconds(protocol: str):
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(UserError, match=r"is it a Kafka|no answer"):
        connect(Settings(broker=f"127.0.0.1:{mute.getsockname()[1]}", security_protocol=protocol))


def test_a_broker_without_tls_or_without_sasl_is_told(kafka: LocalKafka):
    with pytest.raises(UserError, match=r"no TLS there; check the port and security_protocol SSL"):
        connect(Settings(broker=kafka.bootstrap_servers, security_protocol="SSL"))
    sasl = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "ada", "sasl_password": "geheim"}
    with pytest.raises(UserError, match=r"no SASL there") as refused:
        connect(Settings(broker=kafka.bootstrap_servers, **sasl))
    assert "geheim" not in str(refused.value)
