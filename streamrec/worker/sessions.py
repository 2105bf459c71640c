"""The sessions role: each event updates its user's session, exactly once in effect, and the session goes out.

The table's changelog is the topic ``sessions``: holding a session and announcing it is one write.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import structlog
from msgspec import field

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import BELIEVED_SINCE, belongs, read_event
from streamrec.core.metrics import ANOTHER_LOG, EVENTS, MISROUTED_EVENTS
from streamrec.core.session import Outcome, Position, SessionRules, State, is_another_log, update
from streamrec.core.session import is_ahead as state_is_ahead
from streamrec.core.types import Erased, Message, Session
from streamrec.core.wire import decode, encode
from streamrec.eventlog.partition import partition_of
from streamrec.worker.acks import Delivery
from streamrec.worker.follower import Follower
from streamrec.worker.limitedlog import LimitedLog
from streamrec.worker.metrics import Metrics
from streamrec.worker.output import Output
from streamrec.worker.record import Record
from streamrec.worker.table import ByteTable, Grave

log = structlog.get_logger(__name__)

UNCHANGED = {  # outcomes that should be rare, in words
    Outcome.OLDER_THAN_HISTORY: "event older than everything in its user's full history: its item counts as had, no more",
    Outcome.BEFORE_ERASURE: "event written before its user's erasure: left out",
}


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
        self._anew: set[str] = set()  # topics of which it was said that they were made anew
        self._unchanged = LimitedLog(log)
        self._clocks = LimitedLog(log)
        self._misrouted = LimitedLog(log)
        self._catalogue = LimitedLog(log)

    async def run(self, deliveries: AsyncIterator[Delivery]) -> None:
        await self._follower.caught_up.wait()
        async for delivery in deliveries:
            delivery.done(await self._take_in(delivery.record))

    async def _take_in(self, record: Record) -> Awaitable[Any]:
        at = self._output.position(record)
        try:
            event = read_event(at.topic, record.value, record.headers, record.timestamp)
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
        self._report(held, at, outcome, record)
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

    def _report(self, held: State | None, at: Position, outcome: Outcome, record: Record) -> None:
        """Logs what an operator should know of, once or at a limited rate."""
        if held is not None and is_another_log(held, at):
            self._metrics[ANOTHER_LOG].labels(topic=at.topic).inc()
            if at.topic not in self._anew:
                self._anew.add(at.topic)
                log.warning(
                    "offsets have begun again: the topic was made anew; its events are taken in",
                    at=str(record),
                    written=at.timestamp,
                    applied_offset=held.applied[at.topic],
                    applied_written=held.applied_at[at.topic],
                )
        version = self._follower.catalogue.version
        if isinstance(held, Session) and held.catalogue > version:
            self._catalogue.warning(
                "",
                "catalogue version went back: the topic items was made anew or cut; send the items again. Recommendations "
                "come from what it holds now; sessions that name a later version become dead letters",
                named=held.catalogue,
                items_end=version,
            )
        if outcome in UNCHANGED:
            self._unchanged.warning(str(outcome), UNCHANGED[outcome], example=str(record))
        if at.timestamp < BELIEVED_SINCE:
            self._clocks.warning(
                at.topic,
                "record timestamp is no time in milliseconds: set message.timestamp.type of the topic to LogAppendTime",
                example=str(record),
                timestamp=at.timestamp,
            )

    async def _send_on(self, record: Record, partition: int, user_id: str) -> Awaitable[Any]:
        self._metrics[MISROUTED_EVENTS].labels(topic=self._output.position(record).topic).inc()
        self._misrouted.warning(
            record.topic,
            "event in a wrong partition, sent on: the producer must partition by murmur2 of the user_id, modulo the partitions "
            "of the topic sessions",
            example=str(record),
        )
        return await self._output.forward(record, partition, user_id)


def is_ahead(held: bytes, read: bytes) -> bool:
    """Whether a session read back from the topic has taken in at least what the one held has."""
    try:
        theirs = _reach(read)
    except InvalidRecord:
        return False
    try:
        mine = _reach(held)
    except InvalidRecord:
        return True
    return state_is_ahead(mine, theirs)


def _reach(row: bytes) -> "_Reach":
    return decode(_Reach, row, "json" if isinstance(row, Grave) else "msgpack")


class _Reach(Message, frozen=True, kw_only=True):
    """The part of a session that says how far it goes; the rest need not be decoded."""

    applied: dict[str, int]
    applied_at: dict[str, int] = field(default_factory=dict)
