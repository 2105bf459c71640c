"""Looks at the brokers while things go wrong: how far each role has committed, and how far each topic goes."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec

from chaos.ledger import LIFE, Ledger
from streamrec.admin.client import connect_consumer
from streamrec.settings import Settings
from streamrec.worker.main import SOURCES

EVERY = 0.5
REQUEST_MS = 5000

Offsets = dict[tuple[str, int], int]  # by topic (without the prefix) and partition


class Sample(NamedTuple):
    """``ends`` was asked for after ``committed`` had come, so what is committed was done before it.

    Offsets are counted through the lives of topics made anew: see `chaos.ledger`.
    """

    at: float  # by the steady clock, when both were there
    committed: Offsets
    ends: Offsets
    is_judged: bool = True  # False while somebody else than the workers has set offsets


class Watch(threading.Thread):
    """Samples until `stop`; while no broker answers there are none."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        super().__init__(name="watch", daemon=True)
        self._settings = settings
        self._ledger = ledger
        self._stopping = threading.Event()
        self.is_judging = True  # see `Sample.is_judged`
        self.samples: list[Sample] = []

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.is_set():
            with suppress(Exception):  # whatever kafka-python raises while brokers come and go: ask again
                admin = KafkaAdminClient(
                    bootstrap_servers=self._settings.brokers, bootstrap_timeout_ms=REQUEST_MS, request_timeout_ms=REQUEST_MS
                )
                try:
                    while not self._stopping.wait(EVERY):
                        self.samples.append(self._sample(admin))
                finally:
                    admin.close()
            self._stopping.wait(EVERY)

    def wait_drained(self, limit: float) -> float | None:
        """Waits until everything that the topics hold now is done by every role; the seconds it took, or None after ``limit``.

        Role by role, for what one has done is there for the next only then.
        """
        began = time.monotonic()
        for topics in SOURCES.values():
            due = self._next(began + limit)
            while due is not None:
                now = self._next(began + limit)
                if now is None or self._is_done(now, of_topics(due.ends, topics)):
                    due = now
                    break
            if due is None:
                return None
        return time.monotonic() - began

    def _is_done(self, now: Sample, ends: Offsets) -> bool:
        left = {at: range(now.committed.get(at, 0), end) for at, end in ends.items() if now.committed.get(at, 0) < end}
        touched = {at for entry in self._ledger.transactions for at, _ in entry.partitions}
        return left.keys() <= touched and not any(self._holds_records(at, offsets) for at, offsets in left.items())

    def _holds_records(self, at: tuple[str, int], offsets: range) -> bool:
        """Whether somebody who reads what is committed finds anything there: nobody commits over markers alone."""
        partition = TopicPartition(self._settings.topic_prefix + at[0], at[1])
        with suppress(Exception), connect_consumer(self._settings, isolation_level="read_committed") as consumer:
            consumer.assign([partition])
            consumer.seek(partition, offsets.start % LIFE)
            give_up_at = time.monotonic() + REQUEST_MS / 1000
            while consumer.position(partition) < offsets.stop % LIFE and time.monotonic() < give_up_at:
                if consumer.poll(timeout_ms=200):
                    return True
            return bool(consumer.position(partition) < offsets.stop % LIFE)
        return True  # no broker: look again

    def lag(self) -> dict[str, int]:
        """Records that are not done yet, by topic, when last looked."""
        if not self.samples:
            return {}
        last = self.samples[-1]
        return {
            topic: sum(max(0, end - last.committed.get(at, 0)) for at, end in of_topics(last.ends, [topic]).items())
            for topics in SOURCES.values()
            for topic in topics
        }

    def _next(self, give_up_at: float) -> Sample | None:
        asked = time.monotonic()
        while time.monotonic() < give_up_at:
            if self.samples and self.samples[-1].at - asked > 0:
                return self.samples[-1]
            time.sleep(0.05)
        return None

    def _sample(self, admin: KafkaAdminClient) -> Sample:
        prefix, ledger, is_judged = self._settings.topic_prefix, self._ledger, self.is_judging
        groups = {f"{prefix}streamrec-{role}": None for role in SOURCES}
        committed: Offsets = {}
        for places in admin.list_group_offsets(groups).values():
            committed |= {(at.topic.removeprefix(prefix), at.partition): each.offset for at, each in places.items()}
        wanted = [TopicPartition(prefix + topic, number) for topic, count in ledger.partitions.items() for number in range(count)]
        found = admin.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST))
        ends = {(at.topic.removeprefix(prefix), at.partition): each.offset for at, each in found.items()}
        if len(ends) < len(wanted):
            raise LookupError("some partitions have no leader")
        committed, ends = (
            {at: ledger.lives.now(at[0]) + offset for at, offset in of.items()} for of in (dict.fromkeys(ends, 0) | committed, ends)
        )
        return Sample(time.monotonic(), committed, ends, is_judged and self.is_judging)


def of_topics(offsets: Offsets, topics: Iterable[str]) -> Offsets:
    wanted = set(topics)
    return {at: offset for at, offset in offsets.items() if at[0] in wanted}
