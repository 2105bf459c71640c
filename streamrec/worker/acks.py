"""Acknowledges in order: a record is committed when its outputs are confirmed, and everything of its partition before it.

A record that is never settled, or whose output Kafka refused, is never committed over: the process stops and starts again from
the committed offset.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from streamrec.core.errors import UserError
from streamrec.worker.record import Record

log = structlog.get_logger(__name__)


class DeliveryFailed(Exception):
    """Kafka did not take an output, so its input must come again."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A record that was handed out. Whoever has it says `done`, once, with the futures of what was sent because of it."""

    record: Record
    taken_at: float
    _settle: Callable[["Delivery"], None]
    dropped: bool = False  # a rebalance has taken it back: whoever has the partition now gets it again
    _waiting: set[asyncio.Future[Any]] = field(default_factory=set)
    _said: bool = False

    def done(self, *outputs: Awaitable[Any]) -> None:
        """The record is dealt with as soon as these are."""
        self._said = True
        self._waiting = {asyncio.ensure_future(output) for output in outputs}
        for output in list(self._waiting):
            output.add_done_callback(self._confirmed)
        if not self._waiting:
            self._settle(self)

    @property
    def settled(self) -> bool:
        return self._said and not self._waiting

    @property
    def failure(self) -> BaseException | None:
        """Why an output was refused."""
        for output in self._waiting:
            if output.done():
                return asyncio.CancelledError() if output.cancelled() else output.exception()
        return None

    def _confirmed(self, output: asyncio.Future[Any]) -> None:
        if not output.cancelled() and output.exception() is None:
            self._waiting.discard(output)
        self._settle(self)


class Acks:
    """The deliveries of one app that are not acknowledged yet.

    Args:
        app: the Faust app whose consumer commits.
        limit: how many may wait at a time; `take` waits for room.
    """

    def __init__(self, app: Any, limit: int = 1000) -> None:
        self._app = app
        self._limit = limit
        self._queues: dict[tuple[str, int], deque[Delivery]] = {}
        self._room = asyncio.Event()
        self._failed = False
        self.waiting = 0
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        self._given_up: int | None = None  # the generation whose partitions are given up
        app.after_drain = self._give_up

    async def take(self, record: Record) -> Delivery:
        """The record's place in the order of acknowledgement. To be called in the order of the offsets."""
        while self._failed or self.waiting >= self._limit:
            self._room.clear()
            await self._room.wait()
        delivery = Delivery(record, monotonic(), self._settle)
        if record.generation == self._app.consumer_generation_id != self._given_up:
            self._queues.setdefault((record.topic, record.partition), deque()).append(delivery)
            self.waiting += 1
        else:
            delivery.dropped = True
        return delivery

    def waits(self, topic: str, partition: int) -> bool:
        """Whether a delivery of the partition is not acknowledged yet."""
        return bool(self._queues.get((topic, partition)))

    def oldest(self) -> Delivery | None:
        """The delivery that has waited longest."""
        return min((queue[0] for queue in self._queues.values() if queue), key=lambda delivery: delivery.taken_at, default=None)

    def _give_up(self) -> None:
        """What is undone when the partitions go must not be done any more, nor what still waits for room."""
        self._given_up = self._app.consumer_generation_id
        self._forget()

    async def _on_assigned(self, app: Any, assigned: Any, **_: Any) -> None:
        # What the old assignment left undone is delivered again; its late acks must not count for the new one.
        self._forget()

    def _settle(self, delivery: Delivery) -> None:
        queue = self._queues.get((delivery.record.topic, delivery.record.partition), deque())
        if delivery.failure is not None and not self._failed and delivery in queue:
            self._fail(delivery, delivery.failure)
        while queue and queue[0].settled:
            self._acknowledge(queue.popleft().record.message)
            self.waiting -= 1
            self._room.set()

    def _acknowledge(self, message: Any) -> None:
        if message is None:
            return  # brought by the sentinel: Faust does not wait for it
        if hasattr(self._app.consumer, "confirm"):
            self._app.consumer.confirm(message)
        else:
            message.ack(self._app.consumer)  # Faust as released

    def _fail(self, delivery: Delivery, cause: BaseException) -> None:
        self._failed = True
        advice = " ".join(getattr(cause, "__notes__", ()))  # of a refusal that an operator can mend: see `send`
        log.critical(
            "an output was refused: stopping, acknowledging nothing over it",
            input=str(delivery.record),
            cause=f"{cause!r} {advice}".strip(),
        )
        self._forget()
        self._app.fail(UserError(advice) if advice else DeliveryFailed(f"the output of {delivery.record}: {cause!r}"))

    def _forget(self) -> None:
        for queue in self._queues.values():
            for delivery in queue:
                delivery.dropped = True
                if delivery.record.message is not None:  # or a stop would wait for it
                    self._app.consumer.unacked.discard(delivery.record.message)
            queue.clear()
        self.waiting = 0
        self._room.set()
