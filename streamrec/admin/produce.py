"""Publish a data set: its items, then its events in time order, at the recorded pace, at a fixed rate or as fast as it goes."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from kafka import KafkaProducer

from streamrec.admin.client import broker_errors, connect, connect_producer
from streamrec.admin.topics import describe
from streamrec.core.errors import UserError
from streamrec.core.types import Message
from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.eventlog.dataset import Dataset
from streamrec.settings import Settings

TOPICS = {event_type: topic for topic, event_type in EVENT_TYPES.items()}
MAX_UNCONFIRMED = 5_000
CONFIRM_SECONDS = 60
MAX_USERS = 20_000  # whose last record is remembered, confirmed or not
PROGRESS_SECONDS = 0.1

Progress = Callable[[int, int], None]


class Produced(NamedTuple):
    """What was confirmed by the broker, and what was left out."""

    items: int
    events: int
    impressions: int  # shown to a user, not done by one: no topic holds them yet


def produce(
    dataset: Dataset,
    settings: Settings,
    *,
    speed: float | None = None,
    rate: float | None = None,
    progress: Progress = lambda done, total: None,
) -> Produced:
    """Publishes items and events, and returns when the broker has confirmed all of them.

    A user's events are written in their order across topics too: by the record timestamps the worker takes two topics.

    Args:
        speed: events come at this multiple of the recorded time.
        rate: events come at so many a second. With neither, as fast as the broker takes them.
        progress: told how many records of how many have been sent, a few times a second.

    Raises:
        UserError: the broker cannot be reached, a topic is missing, or a record was refused.
    """
    rows = np.flatnonzero(dataset.is_interaction)
    sent = _Sent(len(dataset.items) + len(rows), progress)
    prefix = settings.topic_prefix
    _require_topics(settings, ["items", *EVENT_TYPES])
    with broker_errors(settings, "producing"), connect_producer(settings, linger_ms=5) as producer:
        for item_id, item in dataset.items.items():
            sent.send(producer, prefix + "items", item_id, item)
        producer.flush()  # items first: what is recommended from is settled before the first event
        for topic in EVENT_TYPES:
            producer.partitions_for(prefix + topic)  # asked now, so that the first events are not late
        started = time.monotonic()
        for row, due in zip(rows, due_times(dataset.occurred_at[rows], speed, rate), strict=True):
            if (wait := started + due - time.monotonic()) > 0:
                time.sleep(wait)
            event = dataset.event(int(row))
            sent.send_in_order(producer, prefix + TOPICS[event.event_type], event.user_id, event)
        producer.flush()
        sent.settle()
    return Produced(len(dataset.items), len(rows), len(dataset) - len(rows))


def due_times(occurred_at: np.ndarray, speed: float | None, rate: float | None) -> Iterator[float]:
    """When each event is due, in seconds after the first."""
    for number, at in enumerate(occurred_at.tolist()):
        if speed is not None:
            yield (at - int(occurred_at[0])) / 1000 / speed
        else:
            yield number / rate if rate is not None else 0.0


class _Sent:
    """Sends, and keeps the number of unconfirmed records bounded; a refused one stops everything."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._shown_at = 0.0
        self._room = threading.Semaphore(MAX_UNCONFIRMED)
        self._refused: list[Exception] = []
        self._last: dict[str, tuple[str, Any]] = {}  # by key, the topic and the future of the last record

    def send_in_order(self, producer: KafkaProducer, topic: str, key: str, message: Message) -> None:
        """Sends when the key's last record, if it went to another topic, has been written, and a millisecond is over."""
        last_topic, last = self._last.get(key, (topic, None))
        if last_topic != topic and last is not None:
            written = last.get(timeout=CONFIRM_SECONDS)
            while time.time() * 1000 <= written.timestamp + 1:
                time.sleep(0.0005)
        self._last[key] = topic, self.send(producer, topic, key, message)
        if len(self._last) > MAX_USERS:
            self._last = {user: sent for user, sent in self._last.items() if not sent[1].is_done}

    def send(self, producer: KafkaProducer, topic: str, key: str, message: Message) -> Any:
        """Sends, and gives the future of what is written."""
        self._room.acquire()
        if self._refused:
            raise self._refused[0]
        future = producer.send(topic, key=key.encode(), value=encode(message))
        future.add_errback(self._refused.append)
        future.add_both(lambda _: self._room.release())
        self._done += 1
        if time.monotonic() - self._shown_at > PROGRESS_SECONDS:
            self._show()
        return future

    def settle(self) -> None:
        if self._refused:
            raise self._refused[0]
        self._show()

    def _show(self) -> None:
        self._progress(self._done, self._total)
        self._shown_at = time.monotonic()


def _require_topics(settings: Settings, names: list[str]) -> None:
    wanted = [settings.topic_prefix + name for name in names]
    with broker_errors(settings, "looking for topics"), connect(settings) as admin:
        found = describe(admin, wanted)
        missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f"broker {settings.broker}: no topic {', '.join(missing)}; run `streamrec topics apply` first")
