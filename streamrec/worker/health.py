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
        patience: seconds that a record may lie in its topic or wait for its acknowledgement while nothing moves.
    """

    def __init__(self, intakes: Sequence[Intake], patience: float = 60.0) -> None:
        self._intakes = intakes
        self._patience = patience
        self._late_since: dict[TopicPartition, tuple[int, float]] = {}  # (the offset that is due, since when)

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
        for partition, (due, since) in self._late_since.items():
            if now - since > self._patience:
                reasons.append(f"{partition.topic}[{partition.partition}]@{due} has not been delivered for {now - since:.0f} s")
        return reasons

    async def watch(self) -> None:
        """Compares what lies in the topics with what was delivered, until cancelled."""
        while True:
            await asyncio.sleep(self._patience / 6)
            late: dict[TopicPartition, int] = {}
            for intake in self._intakes:
                try:
                    late |= await asyncio.wait_for(self._late(intake), self._patience)
                except (KafkaError, OSError, TimeoutError) as error:
                    log.warning("cannot see how far the topics go", app=intake.app.conf.id, error=repr(error))
            now = monotonic()
            before = self._late_since
            self._late_since = {at: before[at] if before.get(at, (None,))[0] == due else (due, now) for at, due in late.items()}

    async def _late(self, intake: Intake) -> dict[TopicPartition, int]:
        app = intake.app
        if not app.tables.actives_ready or app.rebalancing or app.should_stop:
            return {}  # a slow recovery is not a standstill
        mine = [TopicPartition(*tp) for tp in app.consumer.assignment() if tp.topic in intake.topics]
        return await intake.sentinel.overdue(mine) if mine else {}
