"""The recorded events as live ones, and the subscriber who waits for what is recommended: one thread each."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from msgspec.structs import replace

from streamrec.admin.client import connect_consumer, connect_producer
from streamrec.admin.dump import as_log_record, partitions_of
from streamrec.core.types import Event
from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.eventlog.dataset import Dataset
from streamrec.eventlog.records import LogRecord
from streamrec.settings import Settings

OUTPUTS = ("recommendations", "explanations", "dead-letters")
TOPIC_OF = {event_type: topic for topic, event_type in EVENT_TYPES.items()}


class Received(NamedTuple):
    """A record and when it came, by the steady clock, in seconds."""

    record: LogRecord
    at: float


def send_items(dataset: Dataset, settings: Settings) -> None:
    """Publishes the catalogue and returns when all of it is confirmed."""
    with connect_producer(settings, linger_ms=5) as producer:
        sent = [
            producer.send(f"{settings.topic_prefix}items", key=item_id.encode(), value=encode(item))
            for item_id, item in dataset.items.items()
        ]
        for future in sent:
            future.get(timeout=30)


def send_events(
    dataset: Dataset, rows: Sequence[int], rate: float, settings: Settings, sending: Callable[[Event], None], stop: threading.Event
) -> None:
    """Publishes the rows as if they happened now, ``rate`` a second, until they are all sent or ``stop`` is set.

    Ids and times are made new, so that the demo can run again on the same broker; ``sending`` is called before each.
    """
    run = f"{time.time_ns() // 1_000_000:x}"
    with connect_producer(settings, linger_ms=0) as producer:
        started = time.monotonic()
        for number, row in enumerate(rows):
            if stop.wait(max(0.0, started + number / rate - time.monotonic())):
                return
            event = replace(dataset.event(row), event_id=f"{run}-{row}", occurred_at=time.time_ns() // 1_000_000)
            sending(event)
            producer.send(settings.topic_prefix + TOPIC_OF[event.event_type], key=event.user_id.encode(), value=encode(event))


class Subscriber(threading.Thread):
    """Reads the output topics from now on into ``received``; `start` returns once it is listening."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="subscriber", daemon=True)
        self.received: SimpleQueue[Received] = SimpleQueue()
        self._settings = settings
        self._listening = threading.Event()
        self._stopping = threading.Event()
        self.failure: Exception | None = None

    def start(self) -> None:
        super().start()
        self._listening.wait()
        self.check()

    def check(self) -> None:
        """Raises what ended the reading, if anything did."""
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            self._read()
        except Exception as failure:  # raised again in the thread that waits
            self.failure = failure
        finally:
            self._listening.set()

    def _read(self) -> None:
        with connect_consumer(self._settings, fetch_max_wait_ms=100) as consumer:
            self._seek_to_end(consumer)
            self._listening.set()
            while not self._stopping.is_set():
                for records in consumer.poll(timeout_ms=100).values():
                    at = time.monotonic()
                    for record in records:
                        self.received.put(Received(as_log_record(record, len(self._settings.topic_prefix)), at))

    def _seek_to_end(self, consumer: KafkaConsumer) -> None:
        partitions: list[TopicPartition] = partitions_of(consumer, self._settings, OUTPUTS)
        consumer.assign(partitions)
        for partition, offset in consumer.end_offsets(partitions).items():
            consumer.seek(partition, offset)
