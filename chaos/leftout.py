"""Valid events that nobody took in although no rule leaves them out, found without the code that applies them.

It looks at what a user's session held before and after an event. The rules by which an event may be missing from
the history are written down here once more: it is there already (a retry), it is older than everything in a full
history and its item is known as had, or the user was erased after it was written.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from chaos.ledger import checksum, first_place
from chaos.reaches import Reached
from streamrec.core.types import Erased, Session
from streamrec.core.wire import EVENT_TYPES
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord

FULL = 100  # interactions that a history holds
SKEW_MS = 5 * 60_000


class _Event(NamedTuple):
    record: LogRecord
    fields: Mapping[str, Any]


def left_out(
    by_topic: Mapping[str, Sequence[LogRecord]], reaches: Sequence[Reached], valid: Collection[int], partitions: int
) -> int:
    """How many valid events there are in the logs that no session has taken in, and that no rule leaves out.

    Args:
        valid: the checksums of the records that were sent as valid events.
        partitions: how many `sessions` has: a user's home is murmur2 of the id, modulo this.
    """
    waiting: dict[tuple[str, str], deque[_Event]] = defaultdict(deque)  # by user and topic
    lost = 0
    for topic in EVENT_TYPES:
        sent_on = {at for record in by_topic.get(topic, ()) if (at := first_place(record))}
        for record in by_topic.get(topic, ()):
            if checksum(record.key, record.value) not in valid:
                continue
            event = _Event(record, msgspec.msgpack.decode(record.value or b""))
            user = event.fields["user_id"]
            if record.partition == partition_of(user, partitions):
                waiting[user, topic].append(event)
            elif first_place(record) is None:
                lost += (record.partition, record.offset) not in sent_on
    held: dict[str, Reached] = {}
    for reached in reaches:
        user = (reached.record.key or b"").decode()
        before = held.get(user)
        if before is not None and any(reached.applied.get(topic, -1) < end for topic, end in before.applied.items()):
            continue  # a late write of a worker that had lost the partition
        held[user] = reached
        for topic, end in reached.applied.items():
            queue = waiting[user, topic]
            while queue and queue[0].record.offset <= end:
                lost += not _accounted(queue.popleft(), before, reached)
    return lost + sum(len(queue) for queue in waiting.values())


def _accounted(event: _Event, before: Reached | None, after: Reached) -> bool:
    """Whether a session that has reached the event shows it, or a rule says why not."""
    record, fields = event
    now, past = after.state, None if before is None else before.state
    if isinstance(now, Erased) and (past is None or past.erased_at != now.erased_at):
        return True  # the erasure came just now: what the user did until then is forgotten
    if isinstance(now, Erased):
        return record.topic != "clicks" and record.timestamp <= now.erased_at
    if any(each.event_id == fields["event_id"] for each in now.history):
        return True
    if past is not None and past.erased_at is not None and record.topic != "clicks" and record.timestamp <= past.erased_at:
        return True
    if not isinstance(past, Session):
        return False
    if any(each.event_id == fields["event_id"] for each in past.history):
        return True
    happened = min(fields["occurred_at"], record.timestamp + SKEW_MS)
    is_older = len(past.history) == FULL and happened < past.history[0].occurred_at
    return is_older and _is_had(fields["item_id"], now)


def _is_had(item_id: str, session: Session) -> bool:
    if any(each.item_id == item_id for each in session.history):
        return True
    return crc32(item_id.encode()) in {*session.had, *session.had_late}
