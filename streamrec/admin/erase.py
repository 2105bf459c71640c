"""Erases a user: an event on ``clicks``, in the user's own partition, of which the worker makes tombstones.

It is an event, and no tombstone written from outside, because what a worker holds must change in order with the user's events,
and a replay of the log must forget the user where the worker did.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from streamrec.admin.client import broker_errors, connect_consumer, connect_producer
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import partitions_of
from streamrec.core.errors import UserError
from streamrec.core.intake import ERASED, ERASURES
from streamrec.core.pipeline import recommendation_id
from streamrec.core.types import Erased, Erasure, Message, Session
from streamrec.core.wire import decode, encode, format_of
from streamrec.eventlog.partition import partition_of
from streamrec.settings import Settings

TOMBSTONES = ("sessions", "recommendations", "explanations")


class Erasing(NamedTuple):
    """Where the erasure stands, and on which topics it is done already."""

    event_id: str
    partition: int
    offset: int
    done: dict[str, bool]


def erase(user_id: str, settings: Settings, wait: float = 30.0) -> Erasing:
    """Asks for a user's erasure, and waits until the worker has put a tombstone on each topic that tells of the user.

    Args:
        wait: seconds; what is not done then will be when a worker comes to it.

    Raises:
        UserError: the broker cannot be reached or a topic is missing.
    """
    if not 0 < len(user_id) <= 256:
        raise UserError(f"a user id has 1 to 256 characters, this one {len(user_id)}")
    try:
        key = user_id.encode()
    except UnicodeEncodeError:
        raise UserError(f"user id {user_id!r} is no valid UTF-8, so no event can bear it") from None
    prefix = settings.topic_prefix
    partition = partition_of(user_id, load_contracts(settings.topics_dir)[ERASURES].partitions)
    now = int(time.time() * 1000)
    event = Erasure(schema_version=1, event_id=f"erase-{uuid.uuid4()}", event_type="erase", user_id=user_id, occurred_at=now)
    with broker_errors(settings, f"erasing {user_id!r}"), connect_consumer(settings) as consumer:
        partitions_of(consumer, settings, TOMBSTONES)  # names what is missing
        watched = [TopicPartition(prefix + topic, partition) for topic in TOMBSTONES]
        consumer.assign(watched)
        for place, end in consumer.end_offsets(watched).items():
            consumer.seek(place, end)
        with connect_producer(settings) as producer:
            written = producer.send(prefix + ERASURES, key=key, value=encode(event), partition=partition).get(60)
        done = _await_done(consumer, key, written.offset, prefix, wait)
    return Erasing(event.event_id, partition, written.offset, {topic: topic in done for topic in TOMBSTONES})


def _await_done(consumer: KafkaConsumer, key: bytes, offset: int, prefix: str, wait: float) -> set[str]:
    """The topics on which the erasure at this offset is done: by its tombstone, or by a record made of a session after it."""
    done: set[str] = set()
    named: dict[str, set[str]] = defaultdict(set)  # by topic, the recommendations that the user's records are about
    ends_at = time.monotonic() + wait
    while len(done) < len(TOMBSTONES) and (left := ends_at - time.monotonic()) > 0:
        found: dict[TopicPartition, list[Any]] = consumer.poll(timeout_ms=int(min(200, left * 1000)))
        for record in (each for records in found.values() for each in records if each.key == key):
            topic = record.topic.removeprefix(prefix)
            if record.value is None:
                done |= {topic} if _reach(record.headers) >= offset else set()
            elif topic != "sessions":
                named[topic].add(decode(_About, record.value, format_of(record.headers)).recommendation_id)
            elif topic in done:
                named[topic].add(recommendation_id(decode(Session, record.value).trigger))
        done |= {topic for topic in TOMBSTONES if named[topic] & named["sessions"]}
    return done


def _reach(headers: Iterable[tuple[str, bytes]]) -> int:
    """How far a tombstone's session had reached on the erasures' topic."""
    note = dict(headers).get(ERASED)
    return decode(Erased, note, "json").applied.get(ERASURES, -1) if note else -1


class _About(Message, frozen=True, kw_only=True):
    recommendation_id: str
