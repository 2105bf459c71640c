"""The load: real listens under made-up users, with everything that producers do wrong. What is sent follows from the seed.

Every user is on both topics, some mostly on one and some mostly on the other. Events happen by a clock of their own,
which starts in the past, so that it can run faster than the wall clock and yet never ahead of it.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from random import Random
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError
from msgspec.structs import replace

from chaos.ledger import Confirmed, Ledger, checksum
from streamrec.admin.client import connect_producer
from streamrec.core.errors import UserError
from streamrec.core.intake import ERASURES
from streamrec.core.types import Erasure, Event
from streamrec.core.wire import encode
from streamrec.demo.live import TOPIC_OF
from streamrec.eventlog.dataset import Dataset
from streamrec.eventlog.records import Headers
from streamrec.settings import Settings

MINUTE = 60_000
HOUR = 60 * MINUTE
SHARES = {  # of the records; the rest is as it should be
    "repeated": 0.05,
    "late": 0.02,
    "out of order": 0.03,
    "poison": 0.007,
    "unknown version": 0.002,
    "oversized": 0.001,
    "skewed clock": 0.02,
    "item changed": 0.005,
    "misrouted": 0.003,
    "erasure": 0.002,
}
POISON = (b"", b"\xc1", b'{"schema_version": 1}', None)
HEADERS: tuple[Headers, ...] = (
    (),
    (("trace", b"\x00\xff"), ("trace", b"")),
    (("content-type", b"application/json"),),
)  # of poison
VALID = {"event", "repeated", "late", "out of order", "skewed clock", "misrouted"}
# From an upload in the evening to one after a week: how much older than the clock a late event is.
LATE = ((31 * MINUTE, 5 * HOUR), (5 * HOUR, 48 * HOUR), (48 * HOUR, 240 * HOUR))
# The clock of a user's device is wrong by one of these.
SKEWS = (-30 * MINUTE, 3 * MINUTE, 60 * MINUTE, -3 * MINUTE, 10 * 365 * 24 * HOUR)
REMEMBERED = 200  # events of which one may be repeated


class Sending(NamedTuple):
    """A record to send, to its key's partition unless another is named. ``what`` is a key of SHARES, or "event"."""

    topic: str
    key: bytes
    value: bytes | None
    what: str
    partition: int | None = None
    headers: Headers = ()


class Clock:
    """When events happen, in milliseconds UTC.

    Args:
        started_at: the time of the first event.
        rate: events a second, by this clock.
        latest: the time that no event may be ahead of.
    """

    def __init__(self, started_at: int, rate: float, latest: Callable[[], float] = lambda: inf) -> None:
        self.speed = 1.0
        self._now = float(started_at)
        self._step = 1000 / rate
        self._latest = latest

    def tick(self) -> int:
        """The time of the next event."""
        self._now = min(self._now + self._step * self.speed, self._latest())
        return self.now

    @property
    def now(self) -> int:
        """The time of the last event."""
        return round(self._now)


def sendings(seed: int, dataset: Dataset, users: int, partitions: int, clock: Clock) -> Iterator[Sending]:
    """Records without end; some users come more often than others.

    Args:
        partitions: of a topic of events.
    """
    random = Random(seed)
    sent: deque[Event] = deque(maxlen=REMEMBERED)
    items = list(dataset.items.values())
    number = 0
    while True:
        number += 1
        what = random.choices([*SHARES, "event"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
        user = int(users * random.random() ** 2)
        event = replace(
            dataset.event(random.randrange(len(dataset))),
            event_id=f"{seed}-{number}",
            event_type="click" if random.random() < click_share(user) else "listen",
            user_id=f"user-{user}",
            occurred_at=clock.tick(),
        )
        topic = TOPIC_OF[event.event_type]
        match what:
            case "repeated" if sent:
                event = random.choice(sent)
                topic = TOPIC_OF[event.event_type]
            case "late":
                event = replace(event, occurred_at=event.occurred_at - random.randint(*random.choice(LATE)))
            case "out of order":
                event = replace(event, occurred_at=event.occurred_at - random.randint(1, 20 * MINUTE))
            case "skewed clock":
                event = replace(event, occurred_at=event.occurred_at + SKEWS[user % len(SKEWS)])
            case "misrouted":
                yield Sending(topic, event.user_id.encode(), encode(event), what, random.randrange(partitions))
                continue
            case "erasure":
                erasure = Erasure(
                    schema_version=1,
                    event_id=event.event_id,
                    event_type="erase",
                    user_id=event.user_id,
                    occurred_at=event.occurred_at,
                )
                yield Sending(ERASURES, event.user_id.encode(), encode(erasure), what)
                continue
            case "poison":
                yield Sending(topic, event.user_id.encode(), random.choice(POISON), what, headers=HEADERS[number % len(HEADERS)])
                continue
            case "unknown version":
                new = encode(event).replace(b"schema_version\x01", b"schema_version\x09")
                yield Sending(topic, event.user_id.encode(), new, what)
                continue
            case "oversized":
                big = replace(event, properties={"note": "x" * 300_000})
                yield Sending(topic, event.user_id.encode(), encode(big), what)
                continue
            case "item changed":
                item = random.choice(items)
                value = None if random.random() < 0.3 else encode(replace(item, title=f"{item.title} ({number})"))
                yield Sending("items", item.item_id.encode(), value if random.random() < 0.9 else b"\xc1", what)
                continue
        sent.append(event)
        yield Sending(topic, event.user_id.encode(), encode(event), what)


def click_share(user: int) -> float:
    """The part of a user's events that are clicks: from 5 % to 65 %."""
    return 0.05 + 0.6 * (user * 37 % 100) / 100


class Load(threading.Thread):
    """Sends at a rate until `stop`, whatever becomes of the brokers. Its producer retries, so it repeats and reorders."""

    def __init__(self, records: Iterator[Sending], settings: Settings, rate: float, ledger: Ledger) -> None:
        super().__init__(name="load", daemon=True)
        self._records = records
        self._settings = settings
        self.rate = rate
        self._ledger = ledger
        self._burst = 0
        self._stopping = threading.Event()
        self._held: str | None = None  # a topic that nothing is sent to
        self._waiting: deque[Sending] = deque()  # for it
        self._in_flight: Counter[str] = Counter()  # by topic: sent, and neither confirmed nor refused yet
        self._lock = threading.Lock()
        self.sent: Counter[str] = Counter()
        self.refused = 0
        self.failure: BaseException | None = None

    def burst(self, count: int) -> None:
        """Sends so many at once, besides."""
        self._burst += count

    @property
    def bursting(self) -> bool:
        """Whether a burst is not all sent yet."""
        return self._burst > 0

    @contextmanager
    def held(self, topic: str) -> Iterator[None]:
        """Sends nothing to the topic meanwhile, and everything that was due for it afterwards.

        Entered once all that was sent is confirmed or refused.
        """
        with self._lock:
            self._held = topic
        try:
            while self._in_flight[topic] and self.is_alive():
                time.sleep(0.05)
            yield
        finally:
            with self._lock:
                self._held = None

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure

    def _run(self) -> None:
        options = {"linger_ms": 5, "enable_idempotence": False, "delivery_timeout_ms": 600_000}
        # partitions that were added are used within seconds, as by a producer that starts
        options |= {"reconnect_backoff_max_ms": 1000, "metadata_max_age_ms": 5_000}
        with connect_producer(self._settings, **options) as producer:
            due = time.monotonic()
            while not self._stopping.is_set():
                if self._burst:
                    self._burst -= 1
                else:
                    due = max(due + 1 / self.rate, time.monotonic() - 1)  # what a blocked producer missed is not made up for
                    if self._stopping.wait(max(0.0, due - time.monotonic())):
                        break
                self._waiting.append(next(self._records))
                self._send_waiting(producer)
            self._send_waiting(producer)
            producer.flush(timeout=120)

    def _send_waiting(self, producer: KafkaProducer) -> None:
        """Sends all but what is for a topic that is held."""
        for _ in range(len(self._waiting)):
            record = self._waiting.popleft()
            with self._lock:
                if is_held := record.topic == self._held:
                    self._waiting.append(record)
                else:
                    self._in_flight[record.topic] += 1
            if not is_held:
                self._send(producer, record)

    def _send(self, producer: KafkaProducer, record: Sending) -> None:
        topic, contents = self._settings.topic_prefix + record.topic, checksum(record.key, record.value)
        if record.what in VALID:
            self._ledger.valid.add(contents)
        try:
            future = producer.send(
                topic, key=record.key, value=record.value, partition=record.partition, headers=list(record.headers)
            )
        except KafkaError:  # no metadata for a minute: all brokers are away
            self._settled(record.topic)
            return
        self.sent[record.what] += 1
        future.add_callback(self._confirmed, record.topic, contents)
        future.add_errback(self._refused, record.topic)

    def _confirmed(self, topic: str, contents: int, at: Any) -> None:
        self._ledger.confirmed.append(Confirmed(self._ledger.place(topic, at.partition, at.offset), contents))
        self._settled(topic)

    def _refused(self, topic: str, error: BaseException) -> None:
        self.refused += 1
        self._settled(topic)

    def _settled(self, topic: str) -> None:
        with self._lock:
            self._in_flight[topic] -= 1


def check(load: Load) -> None:
    """Raises UserError if the load has ended by itself."""
    if load.failure is not None:
        raise UserError(f"the load ended: {load.failure!r}") from load.failure
