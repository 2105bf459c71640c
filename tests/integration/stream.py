"""What the tests of the whole worker share: topics with a log in them, and waiting until every role has done all of it."""

import time
from collections.abc import Iterable, Sequence

from kafka import KafkaConsumer, TopicPartition
from msgspec.structs import replace

from streamrec.admin.client import connect_producer
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.admin.topics import apply
from streamrec.build import build_recommender
from streamrec.core.types import Event
from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.demo.live import TOPIC_OF, send_items
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import Audit, audit
from streamrec.settings import Settings, load_settings

SOURCES = {"sessions": ("clicks", "listens"), "recommend": ("sessions", "items"), "explain": ("recommendations",)}
POISON = (b"", b"\xc1", b'{"schema_version": 1}', b"\x81\xaeschema_version\x02", None)


def fresh_settings(broker: str, prefix: str, **options: object) -> Settings:
    """Settings whose topics exist and whose catalogue is filled."""
    settings = load_settings(broker=broker, topic_prefix=prefix, **options)
    apply(settings)
    send_items(read_dataset(DATA), settings)
    return settings


def some_events(count: int, users: int = 40) -> list[Event]:
    """Real listens, every third one turned into a click; the stations' plays are dealt out to more users.

    All within half an hour: two topics are fetched in any order, and what is further apart than that could come late.
    """
    dataset = read_dataset(DATA)
    rows = range(len(dataset) - count, len(dataset))
    events = []
    for number, row in enumerate(rows):
        event = replace(dataset.event(row), user_id=f"user-{number * 7919 % users}", occurred_at=1_402_878_494_000 + 50 * number)
        events.append(replace(event, event_type="click") if number % 3 == 0 else event)
    return events


def send_all(events: Iterable[Event | bytes | None], settings: Settings) -> None:
    """Publishes events, and poison where there are bytes instead; returns when everything is confirmed."""
    with connect_producer(settings, linger_ms=5) as producer:
        for number, event in enumerate(events):
            if isinstance(event, Event):
                topic, key, value = TOPIC_OF[event.event_type], event.user_id, encode(event)
            else:
                topic, key, value = sorted(EVENT_TYPES)[number % 2], f"poison-{number}", event
            producer.send(settings.topic_prefix + topic, key=key.encode(), value=value, headers=[("test", b"%d" % number)])
        producer.flush()


def wait_until_done(settings: Settings, seconds: float = 60) -> None:
    """Returns when each role has committed everything that its topics hold."""
    give_up_at = time.monotonic() + seconds
    while left := {role: lag for role in SOURCES if (lag := lag_of(role, settings))}:
        if time.monotonic() > give_up_at:
            raise AssertionError(f"after {seconds} s there is still to do: {left}")
        time.sleep(0.2)


def lag_of(role: str, settings: Settings) -> int:
    """Records of the role's topics behind which nothing is committed."""
    group = f"{settings.topic_prefix}streamrec-{role}"
    consumer = KafkaConsumer(bootstrap_servers=settings.brokers, group_id=group, enable_auto_commit=False)
    try:
        topics = [settings.topic_prefix + topic for topic in SOURCES[role]]
        partitions = [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        return sum(end - (consumer.committed(at) or 0) for at, end in ends.items())
    finally:
        consumer.close()


def all_records(settings: Settings, topics: Sequence[str] | None = None) -> list[LogRecord]:
    """What the topics hold now."""
    return list(read_topics(settings, topics or list(load_contracts())))


def audited(settings: Settings) -> Audit:
    """The broker's logs held against replay."""
    partitions = load_contracts()["clicks"].partitions
    return audit(all_records(settings), build_recommender(settings), partitions, settings.output_format)
