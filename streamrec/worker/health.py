"""Whether the apps of a process are ready and live. Live means that they get on, not that they answer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streamrec.worker.intake import Intake
from streamrec.worker.limitedlog import LimitedLog
from streamrec.worker.topicwatch import TopicWatch

log = structlog.get_logger(__name__)

READY_EVERY = 1.0  # seconds between two looks for the gauge
OPEN_SECONDS = 60.0  # that a transaction may stay open before it is named


class Health:
    """Watches the intakes of a process.

    Args:
        intakes: of the apps that run.
        patience: seconds that a record may lie in its topic while nothing of its app moves, or wait for its acknowledgement. While
            the app works off a backlog in other partitions, a partition's turn may take SLOW times as long.
        also: further reasons not to be ready.
        publish: told once a second whether the process is ready.
        watch: what it sees of the broker counts, too.
    """

    SLOW = 5

    def __init__(
        self,
        intakes: Sequence[Intake],
        patience: float = 60.0,
        also: Sequence[Callable[[], list[str]]] = (),
        publish: Callable[[bool], None] = lambda ready: None,
        watch: TopicWatch | None = None,
    ) -> None:
        self._intakes = intakes
        self._patience = patience
        self._also = also
        self._publish = publish
        self._watch = watch
        self._unseen = LimitedLog(log)
        self._late_since: dict[str, dict[TopicPartition, tuple[int, float]]] = {}  # by app: (the offset that is due, since when)
        self._moved_at: dict[str, float] = {}  # by app, when anything of it moved last
        self._open_since: dict[TopicPartition, tuple[int, float]] = {}  # (last stable offset, since when it is not the end)

    async def not_ready(self) -> list[str]:
        """Why the process is not ready; empty when the broker answers and every app has its assignment, its tables and has caught
        up after a restart from a first offset."""
        of_broker = self._watch.not_ready() if self._watch else []
        return [*of_broker, *self._of_apps(), *(reason for reasons in self._also for reason in reasons())]

    async def notes(self) -> list[str]:
        """What an operator should know although the process is ready: transactions that have been open for long."""
        producers = self._watch.producers if self._watch else {}
        return [
            f"{at.topic}[{at.partition}]: a transaction of {producers.get(at) or 'an unknown producer'}, open at offset "
            f"{offset} for {monotonic() - since:.0f} s, holds back what is behind it: have it commit or abort"
            for at, (offset, since) in self._long_open()
        ]

    async def not_live(self) -> list[str]:
        """Why the process should be started again; empty while records move, or there are none, or Kafka is away."""
        now = monotonic()
        reasons = []
        for intake in self._intakes:
            oldest = intake.acks.oldest()
            if oldest is not None and now - oldest.taken_at > self._patience:
                reasons.append(f"{oldest.record} has waited {now - oldest.taken_at:.0f} s for its outputs")
            if intake.app.crashed or intake.app.failure:
                reasons.append(f"{intake.app.conf.id}: failed")
        for app, late in self._late_since.items():
            for at, (due, since) in late.items():
                idle = now - max(since, self._moved_at[app])
                if idle > self._patience or now - since > self._patience * self.SLOW:
                    reasons.append(f"{at.topic}[{at.partition}]@{due} has not been delivered for {now - since:.0f} s")
        return reasons

    async def watch_ready(self) -> None:
        """Publishes readiness until cancelled."""
        while True:
            self._look_for_open_transactions(monotonic())
            self._publish(not await self.not_ready())
            await asyncio.sleep(READY_EVERY)

    async def watch(self) -> None:
        """Compares what lies in the topics with what was delivered, until cancelled."""
        while True:
            await asyncio.sleep(self._patience / 6)
            for intake in self._intakes:
                app = intake.app.conf.id
                try:
                    self._look(app, await asyncio.wait_for(self._late(intake), self._patience), monotonic())
                except (KafkaError, OSError, TimeoutError) as error:
                    self._unseen.warning("", "cannot read end offsets", app=app, error=repr(error))
                    self._look(app, {}, monotonic())

    def _of_apps(self) -> Iterator[str]:
        for intake in self._intakes:
            app: Any = intake.app
            name = app.conf.id
            if not app.started or app.should_stop:
                yield f"{name}: not started" if not app.should_stop else f"{name}: stopping"
            elif app.tables.recovery.in_recovery:
                yield f"{name}: loading its tables"
            elif app.rebalancing or not app.tables.actives_ready:
                yield f"{name}: no assignment yet"
            else:
                yield from self._restarted(intake)

    def _restarted(self, intake: Intake) -> Iterator[str]:
        """Partitions whose commit was void, until they have been read again to where they ended then."""
        restarted = getattr(intake.app.consumer, "restarted", {})
        for at, restart in list(restarted.items()):
            reached = intake.sentinel.reached(at)
            if restart.end > restart.start and (reached is None or reached < restart.end):
                yield (
                    f"{at.topic}[{at.partition}]: committed offset {restart.committed} is void, {restart.why}; "
                    f"read again to {reached or restart.start} of {restart.end}"
                )

    def _look(self, app: str, late: dict[TopicPartition, int], now: float) -> None:
        """Keeps since when each partition has been late at the same offset, and when this last changed for any of the app's."""
        before = self._late_since.get(app, {})
        if late != {at: due for at, (due, _) in before.items()}:
            self._moved_at[app] = now
        self._late_since[app] = {at: before[at] if before.get(at, (None,))[0] == due else (due, now) for at, due in late.items()}

    async def _late(self, intake: Intake) -> dict[TopicPartition, int]:
        app = intake.app
        if not app.tables.actives_ready or app.rebalancing or app.should_stop:
            return {}  # a slow recovery is not a standstill
        mine = [TopicPartition(*tp) for tp in app.consumer.assignment() if tp.topic in intake.topics]
        return await intake.late(mine) if mine else {}

    def _look_for_open_transactions(self, now: float) -> None:
        """Keeps since when a partition's last stable offset has stood still before its end."""
        held_up = {at: lso for intake in self._intakes for at, lso in intake.held_up().items()}
        before = self._open_since
        self._open_since = {
            at: before[at] if at in before and before[at][0] == offset else (offset, now) for at, offset in held_up.items()
        }
        if self._watch:
            self._watch.held_up = [at for at, _ in self._long_open()]

    def _long_open(self) -> list[tuple[TopicPartition, tuple[int, float]]]:
        now = monotonic()
        return [(at, (offset, since)) for at, (offset, since) in self._open_since.items() if now - since > OPEN_SECONDS]
