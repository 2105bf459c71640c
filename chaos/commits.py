"""Records that were committed before what they ask for was in the logs."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from chaos.ledger import Lives, Place, first_place
from chaos.reaches import NEVER, Reached
from chaos.watch import Sample
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event, read_item
from streamrec.core.wire import EVENT_TYPES
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import name_of, origin

Output = tuple[str, int]  # topic and partition
INPUTS = ("clicks", "listens", "items", "sessions", "recommendations")

ByTopic = Mapping[str, Sequence[LogRecord]]


class Need(NamedTuple):
    """An input's offset, and that of an output which must be in the log before the input is committed."""

    offset: int
    output: int


def committed_ahead(by_topic: ByTopic, reaches: Sequence[Reached], samples: Sequence[Sample], lives: Lives, partitions: int) -> int:
    """How many records were below a committed offset while their output was not in the logs yet.

    For each input it finds the first offset at which it is satisfied; then, per partition, how far the outputs must
    reach for everything up to an offset to be: a running maximum. A session may also be committed because a newer one
    of its user, which is not, will be answered in its place. An event in another partition than its user's is done
    when it is in that one; when it came there is not looked at.

    Args:
        partitions: how many each output topic has.
    """
    superseded = _superseded(by_topic)
    ahead: set[Place] = set()
    for (topic, partition, output), needs in _needs(by_topic, reaches, lives, partitions).items():
        offsets = [need.offset for need in needs]
        reach = list(accumulate((need.output for need in needs), max))
        for sample in samples:
            done = bisect_right(offsets, sample.committed.get((topic, partition), 0) - 1)
            end = sample.ends.get(output, 0)
            if sample.is_judged and done and reach[done - 1] >= end:
                ahead |= {
                    (topic, partition, need.offset)
                    for need in needs[:done]
                    if need.output >= end and not superseded(topic, partition, need.offset, sample)
                }
    return len(ahead)


def _superseded(by_topic: ByTopic) -> Callable[[str, int, int, Sample], bool]:
    """Whether at a moment a later session of the same user was in the log and not committed."""
    of_user: dict[tuple[int, bytes | None], list[int]] = defaultdict(list)
    users: dict[tuple[int, int], list[int]] = {}  # by partition and offset of a session: its user's offsets
    for record in by_topic.get("sessions", ()):
        of_user[record.partition, record.key].append(record.offset)
        users[record.partition, record.offset] = of_user[record.partition, record.key]

    def superseded(topic: str, partition: int, offset: int, sample: Sample) -> bool:
        if topic != "sessions":
            return False
        offsets = users[partition, offset]
        start = bisect_right(offsets, sample.committed.get((topic, partition), 0) - 1)
        return start < bisect_right(offsets, sample.ends[topic, partition] - 1)

    return superseded


def _needs(
    by_topic: ByTopic, reaches: Sequence[Reached], lives: Lives, partitions: int
) -> dict[tuple[str, int, Output], list[Need]]:
    """By input topic and partition, and by output: what the inputs need."""
    letters = by_topic.get("dead-letters", ())
    dead = {_origin(letter, lives): (letter.partition, letter.offset) for letter in reversed(letters)}
    sent_on = {(topic, *first) for topic in EVENT_TYPES for record in by_topic.get(topic, ()) if (first := first_place(record))}
    satisfied = _of_events(by_topic, reaches) | _of_sessions(by_topic) | _of_recommendations(by_topic)
    needs: dict[tuple[str, int, Output], list[Need]] = defaultdict(list)
    for topic in INPUTS:
        for record in by_topic.get(topic, ()):
            place = record[:3]
            if place in sent_on:
                continue
            home = record.partition % partitions
            if place in dead:
                (home, offset), output = dead[place], "dead-letters"
            elif place in satisfied:
                output, offset = satisfied[place]
            elif topic != "items":
                output, offset = "sessions", NEVER
            elif not _readable_item(record):
                output, offset = "dead-letters", NEVER
            else:
                continue
            needs[topic, record.partition, (output, home)].append(Need(record.offset, offset))
    return needs


def _of_events(by_topic: ByTopic, reaches: Sequence[Reached]) -> dict[Place, tuple[str, int]]:
    """Where the first session is that has taken in an event."""
    # by user, source and partition: (applied, offset in sessions)
    reached: dict[tuple[bytes, str, int], list[tuple[int, int]]] = defaultdict(list)
    for record, _, applied in reaches:
        for source, offset in applied.items():
            found = reached[record.key or b"", source, record.partition]
            if not found or offset > found[-1][0]:
                found.append((offset, record.offset))
    satisfied = {}
    for topic in EVENT_TYPES:
        for record in by_topic.get(topic, ()):
            try:
                user = read_event(topic, record.value, record.headers, record.timestamp).user_id
            except InvalidRecord:
                continue
            found = reached[user.encode(), topic, record.partition]
            at = bisect_right(found, (record.offset - 1, NEVER))
            satisfied[record[:3]] = "sessions", found[at][1] if at < len(found) else NEVER
    return satisfied


def _of_sessions(by_topic: ByTopic) -> dict[Place, tuple[str, int]]:
    """Where the first recommendation is for a session, or for a later one of its user."""
    first: dict[str, int] = {}
    for record in by_topic.get("recommendations", ()):
        first.setdefault(name_of(record), record.offset)
    satisfied = {}
    best: dict[bytes | None, int] = {}  # by user, over this session and later ones
    for record in reversed(by_topic.get("sessions", ())):
        best[record.key] = min(best.get(record.key, NEVER), first.get(name_of(record), NEVER))
        satisfied[record[:3]] = "recommendations", best[record.key]
    return satisfied


def _of_recommendations(by_topic: ByTopic) -> dict[Place, tuple[str, int]]:
    explained: dict[str, int] = {}
    for record in by_topic.get("explanations", ()):
        explained.setdefault(name_of(record), record.offset)
    made = by_topic.get("recommendations", ())
    return {record[:3]: ("explanations", explained.get(name_of(record), NEVER)) for record in made}


def _readable_item(record: LogRecord) -> bool:
    try:
        read_item(record.key, record.value, record.headers)
    except InvalidRecord:
        return False
    return True


def _origin(letter: LogRecord, lives: Lives) -> Place:
    """Where the record of a dead letter was found; its topic was in the same life when the letter was written."""
    topic, partition, offset = origin(letter)
    return topic, partition, lives.offset(topic, offset, letter.timestamp)
