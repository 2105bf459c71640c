"""Whether the apps of a process are ready and live. Live means that they get on, not that they answer."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streamrec.worker.intake import Intake

log = structlog.get_logger(__name__)


class Health:
    """Watches the intakes of a process.

    Args:
        intakes: of the apps that run.
        patience: seconds that a record may lie in its topic while nothing of its app moves, or wait for its acknowledgement. While
            the app works off a backlog in other partitions, a partition's turn may take SLOW times as long.
    """

    SLOW = 5

    def __init__(self, intakes: Sequence[Intake], patience: float = 60.0) -> None:
        self._intakes = intakes
        self._patience = patience
        self._late_since: dict[str, dict[TopicPartition, tuple[int, float]]] = {}  # by app: (the offset that is due, since when)
        self._moved_at: dict[str, float] = {}  # by app, when anything of it moved last

    async def not_ready(self) -> list[str]:
        """Why the process is not ready, by app; empty when every app has its assignment and its tables."""
        reasons = []
        for intake in self._intakes:
            app: Any = intake.app
            name = app.conf.id
            if not app.started or app.should_stop:
                reasons.append(f"{name}: not started" if not app.should_stop else f"{name}: stopping")
            elif app.tables.recovery.in_recovery:
                reasons.append(f"{name}: loading its tables")
            elif app.rebalancing or not app.tables.actives_ready:
                reasons.append(f"{name}: no assignment yet")
        return reasons

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

    async def watch(self) -> None:
        """Compares what lies in the topics with what was delivered, until cancelled."""
        while True:
            await asyncio.sleep(self._patience / 6)
            for intake in self._intakes:
                app = intake.app.conf.id
                try:
                    self._look(app, await asyncio.wait_for(self._late(intake), self._patience), monotonic())
                except (KafkaError, OSError, TimeoutError) as error:
                    log.warning("cannot see how far the topics go", app=app, error=repr(error))
                    self._look(app, {}, monotonic())

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
        return await intake.sentinel.overdue(mine) if mine else {}
