"""The recommend role: sessions in, recommendations out, several to a run of the model.

Under backlog only the newest waiting session of a user is recommended for; the older ones count as superseded and are
acknowledged with it. The role also looks after the topic ``items``, of which every process reads everything: this is the one
place that dead-letters what is unreadable there.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_item
from streamrec.core.metrics import BATCH_SIZE, INFERENCE_SECONDS, RECOMMENDATIONS, SUPERSEDED
from streamrec.core.pipeline import Pipeline
from streamrec.core.types import Recommendation, Session
from streamrec.core.wire import decode, format_of
from streamrec.worker.acks import Delivery
from streamrec.worker.follower import Follower
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output


class Due(NamedTuple):
    """A session to recommend for, and the deliveries that are done when that is: its own, and those it supersedes."""

    session: Session
    deliveries: list[Delivery]


class RecommendRole:
    """What happens to each record of ``sessions``, and to those of ``items``.

    Args:
        max_batch: sessions in one run of the model.
    """

    def __init__(self, pipeline: Pipeline, output: Output, follower: Follower, max_batch: int, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._output = output
        self._follower = follower
        self._max_batch = max_batch
        self._metrics = metrics
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by what the intake lets wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(self, deliveries: AsyncIterator[Delivery]) -> None:
        await self._follower.caught_up.wait()
        try:
            async with asyncio.TaskGroup() as group:
                batches = group.create_task(self._run_batches())
                async for delivery in deliveries:
                    self._waiting.put_nowait(delivery)
                batches.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _run_batches(self) -> None:
        while True:
            taken = [await self._waiting.get()]
            while not self._waiting.empty():
                taken.append(self._waiting.get_nowait())
            due = await self._newest(taken)
            for first in range(0, len(due), self._max_batch):
                await self._recommend(due[first : first + self._max_batch])

    async def _newest(self, taken: Sequence[Delivery]) -> list[Due]:
        """One entry a user, in the order of their newest sessions; what is no session is dealt with here."""
        newest: dict[str, Due] = {}
        for delivery in taken:
            session = await self._read(delivery)
            if session is None:
                continue
            older = newest.pop(session.user_id, None)
            if older is not None:
                self._metrics[SUPERSEDED].inc()
            newest[session.user_id] = Due(session, [*(older.deliveries if older else ()), delivery])
        return list(newest.values())

    async def _read(self, delivery: Delivery) -> Session | None:
        record = delivery.record
        try:
            if self._output.position(record).topic == "items":
                read_item(record.key, record.value, record.headers)
                delivery.done()
                return None
            if record.value is None:  # a tombstone: the user was erased
                delivery.done()
                return None
            return decode(Session, record.value, format_of(record.headers))
        except InvalidRecord as fault:
            delivery.done(await self._output.dead_letter(record, fault))
            return None

    async def _recommend(self, due: Sequence[Due]) -> None:
        sessions = [each.session for each in due]
        await self._follower.reached(max(session.catalogue for session in sessions))
        loop = asyncio.get_running_loop()
        with self._metrics[INFERENCE_SECONDS].time():
            made = await loop.run_in_executor(self._thread, self._pipeline.recommend, sessions, self._follower.catalogue)
        self._metrics[BATCH_SIZE].observe(len(due))
        for each, recommendation in zip(due, made, strict=True):
            await self._send(each, recommendation)

    async def _send(self, due: Due, recommendation: Recommendation) -> None:
        partition = due.deliveries[-1].record.partition
        sent = asyncio.ensure_future(
            await self._output.message("recommendations", recommendation.user_id, recommendation, partition)
        )
        for delivery in due.deliveries:
            delivery.done(sent)
        self._metrics[RECOMMENDATIONS].labels(source=recommendation.source).inc()
