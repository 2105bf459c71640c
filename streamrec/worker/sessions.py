"""The sessions role: each event updates its user's session, exactly once in effect, and the session goes out.

The table's changelog is the topic ``sessions``: holding a session and announcing it is one write.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import structlog

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import belongs, read_event
from streamrec.core.metrics import EVENTS, MISROUTED_EVENTS
from streamrec.core.session import SessionRules, State, update
from streamrec.core.types import Erased, Message, Session
from streamrec.core.wire import decode, encode
from streamrec.eventlog.partition import partition_of
from streamrec.worker.acks import Delivery
from streamrec.worker.follower import Follower
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output
from streamrec.worker.record import Record
from streamrec.worker.table import ByteTable, Grave

log = structlog.get_logger(__name__)


class SessionsRole:
    """What happens to each record of ``clicks`` and ``listens``.

    Args:
        partitions: of the event topics; it decides where a user belongs.
    """

    def __init__(
        self, table: ByteTable, output: Output, follower: Follower, rules: SessionRules, partitions: int, metrics: Metrics
    ) -> None:
        self._table = table
        self._output = output
        self._follower = follower
        self._rules = rules
        self._partitions = partitions
        self._metrics = metrics

    async def run(self, deliveries: AsyncIterator[Delivery]) -> None:
        await self._follower.caught_up.wait()
        async for delivery in deliveries:
            delivery.done(await self._take_in(delivery.record))

    async def _take_in(self, record: Record) -> Awaitable[Any]:
        at = self._output.position(record)
        try:
            event = read_event(at.topic, record.value, record.headers)
            partition = partition_of(event.user_id, self._partitions)
            at_home = belongs(partition, record.partition, record.headers)
        except InvalidRecord as fault:
            return await self._output.dead_letter(record, fault)
        if not at_home:
            return await self._send_on(record, partition, event.user_id)
        self._output.readable()
        key = event.user_id.encode()
        held = self._state(partition, key)
        state, outcome = update(held, event, at, self._follower.catalogue.version, self._rules)
        self._metrics[EVENTS].labels(topic=at.topic, outcome=outcome).inc()
        # A redelivered event sends the stored session again: its first write may have died with the worker that made it.
        return await self._table.write(
            partition, key, encode(state) if isinstance(state, Session) else Grave(encode(state, "json"))
        )

    def _state(self, partition: int, key: bytes) -> State | None:
        held = self._table.read(partition, key)
        try:
            if isinstance(held, Grave):
                return decode(Erased, held, "json")
            return decode(Session, held) if held else None
        except InvalidRecord as fault:  # somebody else wrote to the topic
            log.error("a stored session is unreadable and starts anew", partition=partition, fault=str(fault))
            return None

    async def _send_on(self, record: Record, partition: int, user_id: str) -> Awaitable[Any]:
        self._metrics[MISROUTED_EVENTS].labels(topic=self._output.position(record).topic).inc()
        log.warning("event in a wrong partition, sent on: the producer must partition by murmur2 of the user_id", input=str(record))
        return await self._output.forward(record, partition, user_id)


def is_ahead(held: bytes, read: bytes) -> bool:
    """Whether a session read back from the topic has taken in at least what the one held has."""
    try:
        theirs = _applied(read)
    except InvalidRecord:
        return False
    try:
        mine = _applied(held)
    except InvalidRecord:
        return True
    return all(theirs.get(topic, -1) >= offset for topic, offset in mine.items())


def _applied(row: bytes) -> dict[str, int]:
    return decode(_Reach, row, "json" if isinstance(row, Grave) else "msgpack").applied


class _Reach(Message, frozen=True, kw_only=True):
    """The part of a session that says how far it goes; the rest need not be decoded."""

    applied: dict[str, int]
