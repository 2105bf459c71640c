"""The load: real listens under made-up users, with everything that producers do wrong. What is sent follows from the seed."""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError
from msgspec.structs import replace

from chaos.verdict import Confirmed, checksum
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
SKEWS = (-30 * MINUTE, 3 * MINUTE, 60 * MINUTE, 10 * 365 * 24 * 60 * MINUTE)
REMEMBERED = 200  # events of which one may be repeated


class Sending(NamedTuple):
    """A record to send, to its key's partition unless another is named. ``what`` is a key of SHARES, or "event"."""

    topic: str
    key: bytes
    value: bytes | None
    what: str
    partition: int | None = None
    headers: Headers = ()


def sendings(seed: int, dataset: Dataset, users: int, partitions: int, started_at: int, rate: float) -> Iterator[Sending]:
    """Records without end; some users come more often than others.

    Args:
        partitions: of a topic of events.
        started_at: when the first event happens, in milliseconds UTC.
        rate: events a second, by their own clock.
    """
    random = Random(seed)
    sent: deque[Event] = deque(maxlen=REMEMBERED)
    items = list(dataset.items.values())
    number = 0
    while True:
        number += 1
        what = random.choices([*SHARES, "event"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
        event = replace(
            dataset.event(random.randrange(len(dataset))),
            event_id=f"{seed}-{number}",
            event_type=random.choice(["click", "listen", "listen"]),
            user_id=f"user-{int(users * random.random() ** 2)}",
            occurred_at=started_at + round(number * 1000 / rate),
        )
        topic = TOPIC_OF[event.event_type]
        match what:
            case "repeated" if sent:
                event = random.choice(sent)
                topic = TOPIC_OF[event.event_type]
            case "late":
                event = replace(event, occurred_at=event.occurred_at - random.randint(31, 300) * MINUTE)
            case "out of order":
                event = replace(event, occurred_at=event.occurred_at - random.randint(1, 20 * MINUTE))
            case "skewed clock":
                event = replace(event, occurred_at=event.occurred_at + random.choice(SKEWS))
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


class Load(threading.Thread):
    """Sends at a rate until `stop`, whatever becomes of the brokers. Its producer retries, so it repeats and reorders."""

    def __init__(self, records: Iterator[Sending], settings: Settings, rate: float) -> None:
        super().__init__(name="load", daemon=True)
        self._records = records
        self._settings = settings
        self.rate = rate
        self._burst = 0
        self._stopping = threading.Event()
        self.sent: Counter[str] = Counter()
        self.confirmed: list[Confirmed] = []
        self.refused = 0
        self.failure: BaseException | None = None

    def burst(self, count: int) -> None:
        """Sends so many at once, besides."""
        self._burst += count

    @property
    def bursting(self) -> bool:
        """Whether a burst is not all sent yet."""
        return self._burst > 0

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure

    def _run(self) -> None:
        options = {"linger_ms": 5, "enable_idempotence": False, "delivery_timeout_ms": 600_000, "reconnect_backoff_max_ms": 1000}
        with connect_producer(self._settings, **options) as producer:
            due = time.monotonic()
            while not self._stopping.is_set():
                if self._burst:
                    self._burst -= 1
                else:
                    due = max(due + 1 / self.rate, time.monotonic() - 1)  # what a blocked producer missed is not made up for
                    if self._stopping.wait(max(0.0, due - time.monotonic())):
                        break
                self._send(producer, next(self._records))
            producer.flush(timeout=120)

    def _send(self, producer: KafkaProducer, record: Sending) -> None:
        topic = self._settings.topic_prefix + record.topic
        with suppress(KafkaError):  # no metadata for a minute: all brokers are away
            future = producer.send(
                topic, key=record.key, value=record.value, partition=record.partition, headers=list(record.headers)
            )
            self.sent[record.what] += 1
            future.add_callback(self._confirmed, record.topic, checksum(record.key, record.value))
            future.add_errback(self._refused)

    def _confirmed(self, topic: str, checksum: int, at: Any) -> None:
        self.confirmed.append(Confirmed((topic, at.partition, at.offset), checksum))

    def _refused(self, error: BaseException) -> None:
        self.refused += 1


def check(load: Load) -> None:
    """Raises UserError if the load has ended by itself."""
    if load.failure is not None:
        raise UserError(f"the load ended: {load.failure!r}") from load.failure
