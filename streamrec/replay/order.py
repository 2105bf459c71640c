"""The order in which a worker took in what several topics hold, and where each user's replay begins.

A user's clicks and listens arrive on two topics, and how they interleave is decided when they are taken in. The
``sessions`` log keeps what was decided: each of its records says how far into every source it reaches.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import NamedTuple

from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event
from streamrec.core.session import Position, State
from streamrec.core.wire import EVENT_TYPES
from streamrec.eventlog.records import LogRecord
from streamrec.replay.lives import Queue, lives
from streamrec.replay.reach import Cause, Reach, reach_of
from streamrec.replay.start import Start, Step, starts


class Recorded(NamedTuple):
    """Input records in the order they were applied, and what a replay of them needs besides.

    Attributes:
        inputs: without the events that a start has taken in already.
        catalogue: the version that was named for each trigger.
        starts: of the users whose earlier events are not in the log any more.
    """

    inputs: list[LogRecord]
    catalogue: dict[Position, int]
    starts: dict[str, Start]

    @property
    def initial(self) -> dict[str, State]:
        """What is held of users before the first of the inputs."""
        return {user: start.state for user, start in self.starts.items()}


def as_recorded(records: Iterable[LogRecord], whole: bool = False) -> Recorded:
    """Items first, then events as the sessions in ``records`` tell; those not yet applied last, by time.

    A log without ``sessions`` records keeps its own order. Where compaction took sessions out, the events of a
    user between two that are left go by time, the later one's trigger last; those of one topic keep their own order
    always. A topic made anew follows what it held before (see `lives`). Users whose first events are gone begin with
    one of their sessions (see `starts`).

    Args:
        whole: no event is gone, so everybody begins with nothing, whatever the sessions hold.

    Raises:
        UserError: a ``sessions`` record cannot be read.
    """
    records = list(records)
    reached = [(record, reach) for record in records if record.topic == "sessions" and (reach := reach_of(record))]
    if not reached:
        return Recorded(records, {}, {})
    items = sorted((record for record in records if record.topic == "items"), key=lambda record: record.offset)
    queues, written_at = _by_user(record for record in records if record.topic in EVENT_TYPES)
    steps = [Step(reach, record, _due(reach, queues)) for record, reach in reached]
    begun = {} if whole else starts(steps)
    pins = {
        Position(*cause[:3], _in_life(reach, written_at[cause])): reach.catalogue
        for _, reach in reached
        if (cause := reach.trigger) is not None and cause in written_at
    }
    return Recorded([*items, *_interleave(steps, begun, queues)], pins, begun)


def _by_user(
    events: Iterable[LogRecord],
) -> tuple[dict[tuple[str | None, str, int], Queue], dict[Cause, list[int]]]:
    """Events by user, topic and partition; and when each was written, in several lives perhaps."""
    queues: dict[tuple[str | None, str, int], Queue] = defaultdict(Queue)
    written_at: dict[Cause, list[int]] = defaultdict(list)
    for (topic, partition), of_partition in sorted(lives(events).items()):
        for life, records in enumerate(of_partition):
            for record in records:
                try:
                    event = read_event(topic, record.value, record.headers, record.timestamp)
                except InvalidRecord:
                    queues[None, topic, partition].append(life, record)
                    continue
                queues[event.user_id, topic, partition].append(life, record)
                written_at[topic, partition, record.offset, event.event_id].append(record.timestamp)
    return queues, written_at


def _due(reach: Reach, queues: dict[tuple[str | None, str, int], Queue]) -> dict[str, list[LogRecord]]:
    """By topic what this session has taken in and none before it had."""
    return {
        topic: queues[reach.user_id, topic, reach.partition].up_to(offset, reach.applied_at.get(topic))
        for topic, offset in reach.applied.items()
    }


def _in_life(reach: Reach, written_at: Sequence[int]) -> int:
    """When the trigger was written: of several lives the last one that the session has reached."""
    newest = reach.applied_at.get(reach.topic)
    return max((at for at in written_at if newest is None or at <= newest), default=written_at[0])


def _interleave(
    steps: Sequence[Step], begun: Mapping[str, Start], queues: Mapping[tuple[str | None, str, int], Queue]
) -> Iterator[LogRecord]:
    for cause, record, due in steps:
        start = begun.get(cause.user_id)
        if start is not None and record.offset <= start.record.offset:
            continue
        others = [records for topic, records in due.items() if topic != cause.topic]
        own = due.get(cause.topic, [])
        first = max((n for n, each in enumerate(own) if each.offset == cause.offset), default=len(own))
        yield from merge(*others, own[:first], key=_by_time)
        yield from own[first:]
    yield from merge(*(queue.rest() for queue in queues.values()), key=_by_time)


def _by_time(record: LogRecord) -> tuple[int, str]:
    return record.timestamp, record.topic
