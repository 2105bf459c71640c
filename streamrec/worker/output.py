"""Where records leave a role: messages to their topic, unreadable records to the dead letters."""

from collections.abc import Awaitable
from time import monotonic
from typing import Any

import faust
import structlog

from streamrec.core.deadletters import DeadLetterLimit, dead_letter
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import ERASED, MISROUTED
from streamrec.core.metrics import DEAD_LETTERS
from streamrec.core.session import Position
from streamrec.core.types import Message
from streamrec.core.wire import CONTENT_TYPES, Format, encode
from streamrec.worker.app import send
from streamrec.worker.limitedlog import LimitedLog
from streamrec.worker.metrics import Metrics
from streamrec.worker.record import Record

log = structlog.get_logger(__name__)

LOG_SECONDS = 5.0  # between two lines about dead letters of one topic and reason


class Output:
    """What one role sends.

    Args:
        prefix: the deployment's, before every topic's name.
        written_as: the format of the messages.
        limit: when so much is unreadable for so long that it is no longer the records' fault.
        partitions: of the topics that hold users; a record of a partition beyond them is a dead letter of this modulo.
    """

    def __init__(
        self,
        app: faust.App,
        role: str,
        prefix: str,
        written_as: Format,
        metrics: Metrics,
        limit: DeadLetterLimit,
        partitions: int,
    ) -> None:
        self._partitions = partitions
        self._app = app
        self._role = role
        self._prefix = prefix
        self._format = written_as
        self._headers = (("content-type", CONTENT_TYPES[written_as]),)
        self._metrics = metrics
        self._limit = limit
        self._log = LimitedLog(log, LOG_SECONDS)

    def readable(self) -> None:
        """To be told of every record that could be read: dead letters are held against them."""
        self._limit.readable(monotonic())

    def position(self, record: Record) -> Position:
        """Where a record stands, with the name of its topic as messages use it."""
        return Position(record.topic.removeprefix(self._prefix), record.partition, record.offset, record.timestamp)

    async def message(self, topic: str, key: str, message: Message, partition: int) -> Awaitable[Any]:
        """Sends a message to the partition that its user's events are in."""
        value = encode(message, self._format)
        return await send(self._app, self._prefix + topic, key.encode(), value, partition=partition, headers=self._headers)

    async def tombstone(self, topic: str, erased: Record) -> Awaitable[Any]:
        """Sends a user's tombstone on to another topic, with the note that it bears."""
        headers = tuple(header for header in erased.headers if header[0] == ERASED)
        return await send(self._app, self._prefix + topic, erased.key, None, partition=erased.partition, headers=headers)

    async def forward(self, record: Record, partition: int, user_id: str) -> Awaitable[Any]:
        """Sends a record on to its user's partition of its topic, as it is but for its key, which may be anything of any length."""
        headers = (*record.headers, (MISROUTED, f"{record.partition}@{record.offset}".encode()))
        return await send(self._app, record.topic, user_id.encode(), record.value, partition=partition, headers=headers)

    async def dead_letter(self, record: Record, fault: InvalidRecord) -> Awaitable[Any]:
        """Keeps an unreadable record whole.

        Raises:
            UserError: too many records were unreadable for too long; this one is not to be acknowledged.
        """
        at = self.position(record)
        self._limit.unreadable(at, fault, monotonic())
        self._metrics[DEAD_LETTERS].labels(topic=at.topic, reason=fault.reason).inc()
        self._log.warning(f"{at.topic} {fault.reason}", "dead letter", input=str(record), fault=str(fault))
        letter = dead_letter(at, fault, self._role, record.key, record.value, record.headers)
        topic = self._prefix + "dead-letters"
        partition = record.partition % self._partitions
        return await send(self._app, topic, letter.key, letter.value, partition=partition, headers=letter.headers)
