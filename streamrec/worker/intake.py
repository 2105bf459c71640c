"""Where records enter a role: in order, watched, and with their place in the order of acknowledgement taken."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import faust
import structlog

from streamrec.core.errors import UserError
from streamrec.worker.acks import Acks, Delivery
from streamrec.worker.app import App
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
        on_loss: Callable[[str, int], None] = lambda topic, lost: None,
    ) -> None:
        self.app = app
        self.topics = tuple(topics)
        self.acks = Acks(app, limit)
        self.sentinel = Sentinel(app, connection, on_loss)
        self._body = body
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

    async def _deliveries(self, stream: Any) -> AsyncIterator[Delivery]:
        async for record in self.sentinel.records(stream):
            delivery = await self.acks.take(record)
            if not delivery.dropped:
                yield delivery
