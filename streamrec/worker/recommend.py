"""The recommend role: sessions in, recommendations out, several to a run of the model.

Under backlog only the newest waiting session of a user is recommended for; the older ones count as superseded. They are settled
at once: acknowledgement is in order, so whatever happens the newer one, later in the same partition, comes again. A user who
asks too often is held back in the same way, which changes when a record is made and never what is in it. After a rebalance only a
user's newest session of the backlog is answered: the owner before may have answered it already (`streamrec.worker.backlog`).

The role also looks after the topic ``items``, of which every process reads everything: this is the one place that dead-letters
what is unreadable there.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_item
from streamrec.core.metrics import BATCH_SIZE, INFERENCE_SECONDS, RECOMMENDATIONS, SUPERSEDED
from streamrec.core.pipeline import Pipeline
from streamrec.core.types import Recommendation, Session
from streamrec.core.wire import decode, format_of
from streamrec.worker.acks import Delivery
from streamrec.worker.backlog import Backlog
from streamrec.worker.follower import Follower
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output


class Due(NamedTuple):
    """What is due for a user: a recommendation for the session, or a tombstone where it is None."""

    session: Session | None
    delivery: Delivery


class RateCap:
    """How often one user is recommended for: ``rate`` times a second, and as often at once after a second's rest; 0: no cap.

    Only users of the last seconds are remembered.
    """

    def __init__(self, rate: int) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._paid_until: dict[str, float] = {}  # by user, when all that was made is paid for
        self._swept_at = 0.0

    def wait(self, user: str, now: float) -> float:
        """Seconds until the user's turn; 0 takes it."""
        if not self._interval:
            return 0.0
        paid = max(self._paid_until.get(user, now), now)
        early = paid + self._interval - now - 1
        if early > 1e-6:
            return early
        self._paid_until[user] = paid + self._interval
        return 0.0

    def forget(self, now: float) -> None:
        """Drops those who have rested, once a second."""
        if now < self._swept_at + 1:
            return
        self._swept_at = now
        self._paid_until = {user: paid for user, paid in self._paid_until.items() if paid > now}


class RecommendRole:
    """What happens to each record of ``sessions``, and to those of ``items``.

    Args:
        max_batch: sessions in one run of the model.
        backlog: knows which sessions are not their user's newest; None: each may be.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        output: Output,
        follower: Follower,
        max_batch: int,
        cap: RateCap,
        metrics: Metrics,
        backlog: Backlog | None = None,
    ) -> None:
        self._backlog = backlog
        self._pipeline = pipeline
        self._output = output
        self._follower = follower
        self._max_batch = max_batch
        self._cap = cap
        self._metrics = metrics
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by what the intake lets wait
        self._held: dict[tuple[int, str], Due] = {}  # by partition and user, the newest of each whose turn it is not yet
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
        pause: float | None = None  # until the next of those held back
        while True:
            try:
                async with asyncio.timeout(pause):
                    delivery = await self._waiting.get()
            except TimeoutError:
                pass
            else:
                await self._take_in(delivery)
            while not self._waiting.empty():
                await self._take_in(self._waiting.get_nowait())
            due, pause = self._turns(monotonic())
            for first in range(0, len(due), self._max_batch):
                await self._answer(due[first : first + self._max_batch])

    async def _take_in(self, delivery: Delivery) -> None:
        """Puts a session in its user's place, ahead of an older one; what is no session is dealt with here."""
        if not delivery.dropped and self._backlog and await self._backlog.is_superseded(delivery.record):
            delivery.done()
            self._metrics[SUPERSEDED].inc()
            return
        due = None if delivery.dropped else await self._read(delivery)
        if due is None:
            return
        partition = delivery.record.partition
        user = due.session.user_id if due.session else (delivery.record.key or b"").decode(errors="replace")
        older = self._held.pop((partition, user), None)
        if older is not None:
            older.delivery.done()
            self._metrics[SUPERSEDED].inc()
        self._held[partition, user] = due

    def _turns(self, now: float) -> tuple[list[Due], float | None]:
        """Takes out those whose turn it is, in the order in which they came, and says how long the next one waits."""
        waits = {place: self._cap.wait(place[1], now) if due.session else 0.0 for place, due in self._held.items()}
        due = [self._held.pop(place) for place, wait in waits.items() if not wait]
        self._cap.forget(now)
        return due, min((waits[place] for place in self._held), default=None)

    async def _read(self, delivery: Delivery) -> Due | None:
        record = delivery.record
        try:
            if self._output.position(record).topic == "items":
                read_item(record.key, record.value, record.headers)
                delivery.done()
            elif record.value is None:  # the user was erased
                return Due(None, delivery)
            else:
                return Due(decode(Session, record.value, format_of(record.headers)), delivery)
        except InvalidRecord as fault:
            delivery.done(await self._output.dead_letter(record, fault))
            return None
        self._output.readable()
        return None

    async def _answer(self, due: Sequence[Due]) -> None:
        sessions = []
        for each in due:
            if each.delivery.dropped:  # also while the batch before this one was in the model
                continue
            if each.session is None:
                each.delivery.done(await self._output.tombstone("recommendations", each.delivery.record))
            elif await self._catalogue_reached(each.session, each.delivery):
                sessions.append((each.session, each.delivery))
        if not sessions:
            return
        loop = asyncio.get_running_loop()
        asked = [session for session, _ in sessions]
        with self._metrics[INFERENCE_SECONDS].time():
            made = await loop.run_in_executor(self._thread, self._pipeline.recommend, asked, self._follower.catalogue)
        self._metrics[BATCH_SIZE].observe(len(made))
        for (_, delivery), recommendation in zip(sessions, made, strict=True):
            if not delivery.dropped:  # its user's newer session may be answered elsewhere by now
                await self._send(delivery, recommendation)

    async def _catalogue_reached(self, session: Session, delivery: Delivery) -> bool:
        try:
            await self._follower.reached(session.catalogue)
        except InvalidRecord as fault:
            if delivery.dropped:  # meanwhile
                return False
            delivery.done(await self._output.dead_letter(delivery.record, fault))
            return False
        self._output.readable()
        return True

    async def _send(self, delivery: Delivery, recommendation: Recommendation) -> None:
        partition, user = delivery.record.partition, recommendation.user_id
        delivery.done(await self._output.message("recommendations", user, recommendation, partition))
        self._metrics[RECOMMENDATIONS].labels(source=recommendation.source).inc()
