"""Looks at the broker every few seconds, past Faust: does it answer, and are the topics still those of the start?

A topic that vanishes or is replaced under a running worker ends it: what it holds in memory and what it commits belong
to a log that is gone. Kafka's ids of topics tell (KIP-516). aiokafka 0.14 does not ask for them, so kafka-python does, in
a thread of its own. It also names the producers of transactions that stay open (KIP-664).
"""

import asyncio
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from streamrec.admin.client import broker_errors, connect
from streamrec.admin.topics import describe
from streamrec.settings import Settings

log = structlog.get_logger(__name__)

EVERY = 3.0  # seconds between two looks
SILENCE = 9.0  # seconds without an answer after which the broker counts as gone
SURE = 2  # looks in a row that find a topic gone or replaced: one broker may know less than the others


class TopicReplaced(Exception):
    """A topic that this process works with is gone, or another one has its name."""


class TopicWatch(threading.Thread):
    """Watches topics by id.

    Args:
        topics: full names.
        homes: for topics that are keyed by user, the number of partitions that users live in; a topic may have more.
    """

    def __init__(self, settings: Settings, topics: Collection[str], homes: Mapping[str, int]) -> None:
        super().__init__(name="topic-watch", daemon=True)
        self._settings = settings
        self._topics = sorted(topics)
        self._homes = homes
        self._more: set[str] = set()  # topics of which it was said that they have more partitions
        self._wrong: dict[str, int] = {}  # by topic, looks in a row
        self._stopping = threading.Event()
        self._replaced = ""
        self._answered_at = monotonic()
        self._silent = ""  # why, as the client says
        self.ids: dict[str, str] = {}
        self.held_up: Collection[TopicPartition] = ()  # partitions in which a transaction has been open for long
        self.producers: Mapping[TopicPartition, str] = {}  # whose transactions these are

    def start(self) -> None:
        """Looks once, and goes on in a thread.

        Raises:
            UserError: the broker cannot be reached.
        """
        with broker_errors(self._settings, "looking at topics"), connect(self._settings) as admin:
            self._look(admin)
        super().start()

    def stop(self) -> None:
        """Ends the thread, soon."""
        self._stopping.set()

    def not_ready(self) -> list[str]:
        """Why the broker makes this process not ready."""
        silence = monotonic() - self._answered_at
        if silence < SILENCE:
            return []
        return [f"broker {self._settings.broker}: no answer for {silence:.0f} s" + (f" ({self._silent})" if self._silent else "")]

    async def until_replaced(self) -> None:
        """Waits, and raises TopicReplaced; says meanwhile when the broker falls silent, and when it answers again."""
        silent = False
        while not self._replaced:
            reasons = self.not_ready()
            if reasons and not silent:
                log.error("broker does not answer; waiting for it", why=reasons[0])
            elif silent and not reasons:
                log.info("broker answers again", broker=self._settings.broker)
            silent = bool(reasons)
            await asyncio.sleep(0.5)
        raise TopicReplaced(self._replaced)

    def run(self) -> None:
        while not self._stopping.wait(EVERY):
            admin: KafkaAdminClient | None = None
            try:
                admin = connect(self._settings)
                while not self._stopping.wait(EVERY if self._answered_recently else 0):
                    self._look(admin)
            except Exception as error:  # whatever kafka-python raises while brokers come and go: ask again
                self._silent = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            finally:
                if admin is not None:
                    with suppress(Exception):
                        admin.close()

    @property
    def _answered_recently(self) -> bool:
        return monotonic() - self._answered_at < EVERY

    def _look(self, admin: KafkaAdminClient) -> None:
        found = describe(admin, self._topics)
        self._answered_at = monotonic()
        self._silent = ""
        for topic in self._topics:
            self._compare(topic, found.get(topic))
        self.producers = _open_transactions(admin, self.held_up) if self.held_up else {}

    def _compare(self, topic: str, found: dict[str, Any] | None) -> None:
        had = self.ids.get(topic)
        now = str(found["topic_id"]) if found else None
        if now is not None and had is None:
            self.ids[topic] = now
        elif had is not None and now != had:
            self._wrong[topic] = self._wrong.get(topic, 0) + 1
            if self._wrong[topic] >= SURE:
                what = "was deleted" if now is None else f"was deleted and made anew (its id was {had}, is {now})"
                self._replaced = self._replaced or f"topic {topic} {what} under this worker"
                return
        else:
            self._wrong.pop(topic, None)
        if found and len(found["partitions"]) > self._homes.get(topic, 1 << 31) and topic not in self._more:
            self._more.add(topic)
            log.warning(
                "topic has more partitions than sessions: users keep their partitions, records elsewhere are sent on to them",
                topic=topic,
                partitions=len(found["partitions"]),
                users_in=self._homes[topic],
            )


def _open_transactions(admin: KafkaAdminClient, partitions: Collection[TopicPartition]) -> dict[TopicPartition, str]:
    """By partition the producers with an open transaction there; nothing where the broker does not tell."""
    try:
        states = admin.describe_producers([TopicPartition(*at) for at in partitions])
        listed = [each for of_broker in admin.list_transactions().values() for each in of_broker]
        names = {each.producer_id: each.transactional_id for each in listed}
    except (KafkaError, OSError) as error:
        log.debug("cannot see who leaves a transaction open", error=repr(error))
        return {}
    return {
        at: ", ".join(
            f"producer {each.producer_id}" + (f" (transactional.id {names[each.producer_id]})" if each.producer_id in names else "")
            for each in state.active_producers
            if each.current_transaction_start_offset >= 0
        )
        for at, state in states.items()
    }
