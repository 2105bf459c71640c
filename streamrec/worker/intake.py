"""Where records enter a role: in order, watched, and with their place in the order of acknowledgement taken."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, cast

import faust
import structlog
from aiokafka import TopicPartition
from faust.types import TP

from streamrec.core.errors import UserError
from streamrec.worker.acks import Acks, Delivery
from streamrec.worker.app import App
from streamrec.worker.order import TimeOrder
from streamrec.worker.reader import Connection
from streamrec.worker.sentinel import Sentinel

log = structlog.get_logger(__name__)

Body = Callable[[AsyncIterator[Delivery]], Awaitable[None]]


class Intake:
    """The input of one app.

    Args:
        app: from `make_app`.
        topics: what the body reads; the partitions with one number go to one worker where the app has a table.
        connection: how the sentinel reads past Faust.
        body: takes deliveries and says `done` to each, in any order. It must not raise: where it does the process stops,
            because the record that it had in hand would be dropped.
        limit: deliveries that may wait for their acknowledgement at a time.
        order_wait: where given, the topics are taken in the order of time; see `streamrec.worker.order`.
        on_loss: called with the topic and the number of records that Faust skipped.
    """

    def __init__(
        self,
        app: App,
        topics: Sequence[str],
        connection: Connection,
        body: Body,
        *,
        limit: int = 1000,
        order_wait: float | None = None,
        on_loss: Callable[[str, int], None] = lambda topic, lost: None,
    ) -> None:
        self.app = app
        self.topics = tuple(topics)
        self.acks = Acks(app, limit)
        self.sentinel = Sentinel(app, connection, on_loss)
        self.order = None if order_wait is None else TimeOrder(app, topics, order_wait, self.sentinel.reached)
        self._body = body
        self._taking: TopicPartition | None = None  # of which a record waits for its place among the deliveries
        raw: faust.Schema[bytes, bytes] = faust.Schema(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        source = app.topic(*topics, schema=raw, allow_empty=True)
        app.agent(source, name=f"{app.conf.id}-intake", concurrency=1)(self._agent)

    async def _agent(self, stream: Any) -> None:
        try:
            await self._body(self._deliveries(stream))
        except UserError as error:  # one line says all that there is to say
            log.critical("stopping, acknowledging nothing over it", app=self.app.conf.id, why=str(error))
            self.app.fail(error)
        except Exception as error:
            log.critical("an agent raised: stopping, acknowledging nothing over it", app=self.app.conf.id, exc_info=True)
            self.app.fail(error)

    async def late(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The partitions that hold records which were not delivered yet, and the offset that is due there.

        Where the rest of a partition holds no record, its commit moves to the end.
        """
        free = [at for at in partitions if self.order is None or not self.order.holds(at.topic, at.partition)]
        late, passed = await self.sentinel.overdue(free)
        for at, end in passed.items():
            if at != self._taking and not self.acks.waits(at.topic, at.partition):
                self.sentinel.passes(at, end)
                cast(Any, self.app.consumer).advance(TP(at.topic, at.partition), end)
        return late

    def held_up(self) -> dict[TopicPartition, int]:
        """The partitions in which an open transaction holds back what was written behind it, and the offset at which it begins."""
        app = cast(Any, self.app)
        if app.rebalancing or not app.tables.actives_ready:
            return {}
        return {TopicPartition(*tp): lso for tp, (lso, end) in app.consumer.stable_ends().items() if lso < end}

    async def _deliveries(self, stream: Any) -> AsyncIterator[Delivery]:
        records = self.sentinel.records(stream)
        async for record in self.order.records(records) if self.order else records:
            self._taking = TopicPartition(record.topic, record.partition)
            delivery = await self.acks.take(record)
            self._taking = None
            if not delivery.dropped:
                yield delivery
