"""Every valid event counts: two topics, outages of hours, logs made anew or cut, transactions, partitions added."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from msgspec.structs import replace

from streamrec.admin.client import connect, connect_consumer, connect_producer
from streamrec.admin.produce import produce
from streamrec.admin.topics import apply
from streamrec.core.types import Erasure, Event, Session
from streamrec.core.wire import decode, encode
from streamrec.demo.worker import WorkerProcess
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import read_log
from streamrec.localkafka import LocalKafka
from streamrec.replay.run import replay_to_file
from streamrec.settings import Settings, load_settings
from tests.integration.stand import wait_until
from tests.integration.stream import all_records, audited, lag_of, wait_until_done

HOUR = 3600


@pytest.fixture
def settings(kafka: LocalKafka, topic_prefix: str) -> Settings:
    settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix=topic_prefix)
    apply(settings)
    return settings


@pytest.fixture
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    with connect(settings) as admin:
        yield admin


def event(user: str, number: int, kind: str = "click", item: str = "1460", at: int | None = None) -> Event:
    at = int(time.time() * 1000) if at is None else at
    return Event(schema_version=1, event_id=f"{user}-{number}", event_type=kind, user_id=user, item_id=item, occurred_at=at)


def send(settings: Settings, events: Sequence[Event | Erasure], **options: Any) -> None:
    """Sends, and commits or aborts where the options name a transaction."""
    ending = options.pop("ending", None)
    producer = KafkaProducer(bootstrap_servers=settings.brokers, **options)
    if ending:
        producer.init_transactions()
        producer.begin_transaction()
    for each in events:
        topic = "listens" if each.event_type == "listen" else "clicks"
        producer.send(settings.topic_prefix + topic, key=each.user_id.encode(), value=encode(each)).get(20)
    if ending:
        getattr(producer, ending)()
    producer.close()


def newest(settings: Settings) -> dict[str, Session | None]:
    records = all_records(settings, ["sessions"])
    return {(each.key or b"").decode(): decode(Session, each.value) if each.value else None for each in records}


def applied(settings: Settings) -> set[str]:
    """The events in the newest sessions."""
    return {past.event_id for session in newest(settings).values() if session for past in session.history}


def log_of(worker: WorkerProcess) -> str:
    return worker.log.read_text("utf-8", errors="replace")


def two_topics(folder: Path, users: int = 12, each: int = 25) -> Path:
    """Clicks and listens of the same users over days; every seventh is a click."""
    rows = sorted(
        (1_700_000_000 + user * 37 + step * (200 if step % 5 else 3 * HOUR), f"u{user}", f"s{(user + step) % 50}", user + step)
        for user in range(users)
        for step in range(each)
    )
    folder.mkdir()
    kinds = {True: "click", False: "listen"}
    lines = [f"{user},{item},{at},{kinds[number % 7 == 0]}" for at, user, item, number in rows]
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(lines) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"s{number},Song {number}\n" for number in range(50)))
    return folder


def test_two_topics_after_an_outage(settings: Settings, tmp_path: Path) -> None:
    """A backlog of days on two topics of different density: nothing is left out, and order is the records' time."""
    folder = two_topics(tmp_path / "data")
    dataset = read_dataset(folder)
    produce(dataset, settings)
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        wait_until_done(settings)
    assert Counter(event_id.split("-")[0] for event_id in applied(settings)) == {dataset.sha256[:8]: len(dataset)}
    found = audited(settings)
    assert (found.events_in, found.events_lost, found.outputs_wrong) == (len(dataset), 0, 0)
    replay_to_file(str(folder), tmp_path / "data.jsonl", settings, lambda done: None)
    last = {each.key: each for each in read_log(tmp_path / "data.jsonl") if each.topic == "sessions"}
    right = {(key or b"").decode(): decode(Session, each.value, "json") for key, each in last.items()}
    assert {user: told and replace(told, applied_at={}) for user, told in newest(settings).items()} == {
        user: replace(told, applied_at={}) for user, told in right.items()
    }


def test_a_topic_made_anew_under_a_stopped_worker(settings: Settings, admin: KafkaAdminClient) -> None:
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event("alice", number) for number in range(40)])
        wait_until_done(settings)
    make_anew(admin, settings, "clicks")
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event("alice", 100 + number) for number in range(8)] + [event("carol", 0)])
        wait_until(lambda: len(applied(settings)) == 49, "the new events", 30)
        wait_until(lambda: "offsets have begun again" in log_of(worker), "a line that says so")


def test_a_topic_made_anew_under_a_worker_ends_it(settings: Settings, admin: KafkaAdminClient) -> None:
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event("alice", number) for number in range(5)])
        make_anew(admin, settings, "clicks")
        wait_until(lambda: worker.code is not None, "its end", 30)
        assert worker.code == 1
        assert "clicks was deleted" in log_of(worker)


def test_the_topic_sessions_made_anew_is_filled_again(settings: Settings, admin: KafkaAdminClient) -> None:
    """Commits of the sources would have it start from nothing; what the sources hold makes the sessions again."""
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event("alice", number, kind) for number, kind in enumerate(["click", "listen"] * 10)])
        wait_until_done(settings)
    make_anew(admin, settings, "sessions")
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        wait_until(lambda: len(applied(settings)) == 20, "the sessions", 30)
        assert "sessions holds nothing" in log_of(worker)


def test_a_commit_beyond_the_end_is_void(settings: Settings, admin: KafkaAdminClient) -> None:
    users = [f"u{number}" for number in range(6)]
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event(user, number) for number in range(10) for user in users])
        wait_until_done(settings)
    ends = partition_ends(settings, "clicks")
    admin.alter_group_offsets(
        settings.topic_prefix + "streamrec-sessions",
        {at: OffsetAndMetadata(end + 25, "", -1) for at, end in ends.items() if end},
    )
    with WorkerProcess(settings) as worker:
        wait_until(lambda: "commit is void" in log_of(worker), "an error line", 15)
        send(settings, [event(user, 100 + number, item="1461") for number in range(10) for user in users])
        wait_until(lambda: len(applied(settings)) == 120, "the new events", 30)
        worker.wait_ready()
        send(settings, [event(user, 200) for user in users])
        wait_until(lambda: len(applied(settings)) == 126, "what comes later", 30)
        wait_until(lambda: not lag_of("sessions", settings), "the commits")


def test_aborted_transactions_never_happened(settings: Settings) -> None:
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event("vera", 0)])
        gone = Erasure(schema_version=1, event_id="never", event_type="erase", user_id="vera", occurred_at=int(time.time() * 1000))
        send(settings, [event("tina", 0), gone], transactional_id=settings.topic_prefix + "a", ending="abort_transaction")
        send(settings, [event("vera", 1)], transactional_id=settings.topic_prefix + "b", ending="commit_transaction")
        wait_until(lambda: "vera-1" in applied(settings), "what was committed", 30)
        wait_until(lambda: not lag_of("sessions", settings), "commits over the markers", 30)
    assert applied(settings) == {"vera-0", "vera-1"}
    found = audited(settings)
    assert (found.events_in, found.events_lost, found.outputs_wrong) == (2, 0, 0)


def test_partitions_that_are_added_are_read(settings: Settings, admin: KafkaAdminClient) -> None:
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        topic = settings.topic_prefix + "clicks"
        admin.create_partitions({topic: 24})
        wait_until(lambda: len(partition_ends(settings, "clicks")) == 24, "the partitions")
        with connect_producer(settings) as producer:
            producer.send(topic, key=b"poison", value=b"\xc1", partition=15).get(20)
        send(settings, [event(f"u{number}", 0) for number in range(60)])
        wait_until(lambda: len(applied(settings)) == 60, "all of them", 45)
        wait_until(lambda: len(all_records(settings, ["dead-letters"])) == 1, "the dead letter")
        assert "topic has more partitions than sessions" in log_of(worker)
    assert any(action.verb == "left" and action.topic == topic for action in apply(settings))
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send(settings, [event(f"u{number}", 1, "listen") for number in range(60)])
        wait_until(lambda: len(applied(settings)) == 120, "both topics", 45)


def test_a_missing_broker_is_said_in_few_lines() -> None:
    with LocalKafka() as kafka:
        settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix="gone-")
        apply(settings)
        with WorkerProcess(settings) as worker:
            worker.wait_ready()
            before = log_of(worker).count("\n")
            kafka.kill(1)
            wait_until(lambda: any("no answer" in reason for reason in worker.not_ready()), "its word that the broker is gone", 15)
            time.sleep(15)
            assert log_of(worker).count("\n") - before <= 20
            kafka.start(1)
            kafka.wait_ready()
            wait_until(lambda: not worker.not_ready(), "its readiness", 60)


def make_anew(admin: KafkaAdminClient, settings: Settings, topic: str) -> None:
    admin.delete_topics([settings.topic_prefix + topic])
    gone: Callable[[], bool] = lambda: settings.topic_prefix + topic not in admin.list_topics()  # noqa: E731
    wait_until(gone, "the deletion")
    time.sleep(1)
    apply(settings)


def partition_ends(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    with connect_consumer(settings) as consumer:
        numbers = consumer.partitions_for_topic(settings.topic_prefix + topic) or ()
        return dict(consumer.end_offsets([TopicPartition(settings.topic_prefix + topic, number) for number in numbers]))
