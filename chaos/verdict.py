"""What came of it all, from the brokers' logs alone. Pure: records and samples in, counts out."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple
from zlib import crc32

from chaos.watch import Sample
from streamrec.build import Recommender
from streamrec.core.deadletters import PREFIX as DLQ
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import MISROUTED, read_event, read_item
from streamrec.core.types import Recommendation
from streamrec.core.wire import EVENT_TYPES, decode, format_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import Audit, audit, name_of
from streamrec.replay.order import Reach, reach_of

Place = tuple[str, int, int]  # topic, partition, offset
NEVER = 1 << 62


class Verdict(NamedTuple):
    """Counts beside those of the audit. All but the last two must be 0; those two tell what repeats look like."""

    gaps: int  # offsets within a partition that hold no record
    unkept: int  # records that the brokers confirmed to the producer and do not have where they said
    committed_ahead: int  # records that were committed before what they ask for was in the logs
    stale: int  # users whose last recommendation is not for their newest session
    repeats_of_another_model: int  # recommendations sent again after a bundle swap, by the new model
    out_of_order: int  # recommendations that came after a later one of their user


class Wait(NamedTuple):
    """When an event was written to its topic, how long its user waited (both in milliseconds), and in which partition."""

    written: int
    waited: int
    partition: int


class Confirmed(NamedTuple):
    """Where the brokers said that they had put a record, and its `checksum`: after a truncation another may stand there."""

    place: Place
    checksum: int


def judge(records: Sequence[LogRecord], samples: Sequence[Sample], confirmed: Iterable[Confirmed]) -> Verdict:
    """Args:
    records: what all topics hold, each partition in the order of its offsets.
    samples: what was committed, and how far the topics went afterwards, at some moments.
    confirmed: what the brokers said of the load's records.
    """
    by_topic: dict[str, list[LogRecord]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    stale, out_of_order = _order(by_topic["sessions"], by_topic["recommendations"])
    return Verdict(
        gaps=_gaps(records),
        unkept=_unkept(records, confirmed),
        committed_ahead=_committed_ahead(by_topic, samples),
        stale=stale,
        repeats_of_another_model=_of_another_model(by_topic["recommendations"]),
        out_of_order=out_of_order,
    )


def checksum(key: bytes | None, value: bytes | None) -> int:
    """Of a record's contents."""
    return crc32(b"%r %r" % (key, value))


def held_against_replay(records: Sequence[LogRecord], recommenders: Sequence[Recommender], partitions: int) -> Audit:
    """The audit, with a recommender for each bundle that served."""
    return audit(records, recommenders[0], partitions, others=recommenders[1:])


def is_right(audit: Audit, found: Verdict) -> bool:
    """Whether nothing was lost and nothing is wrong."""
    lost = audit.events_lost + audit.dead_letters_missing + found.gaps + found.unkept
    return not (lost or audit.outputs_wrong or found.committed_ahead or found.stale)


def waits(records: Sequence[LogRecord]) -> list[Wait]:
    """How long the user of each event waited: for its first recommendation, or for one that covers it where that came earlier."""
    written: dict[Place, int] = {}
    answered: dict[str, int] = {}
    sessions = []
    for record in records:
        if record.topic in EVENT_TYPES:
            written[_place(record)] = record.timestamp
        elif record.topic == "recommendations":
            answered.setdefault(name_of(record), record.timestamp)
        elif record.topic == "sessions":
            sessions.append(record)
    first: dict[str, int] = {}  # by user, of this session's recommendation and those of later ones
    waited: dict[Place, Wait] = {}
    for record in reversed(sessions):
        cause = _cause(record)
        at = answered.get(name_of(record), NEVER)
        first[cause.user_id] = min(at, first.get(cause.user_id, NEVER))
        place = cause.topic, cause.partition, cause.offset
        if place in written and first[cause.user_id] < NEVER:
            waited[place] = Wait(written[place], first[cause.user_id] - written[place], cause.partition)
    return sorted(waited.values())


def _gaps(records: Sequence[LogRecord]) -> int:
    last: dict[tuple[str, int], int] = {}
    missing = 0
    for record in records:
        missing += record.offset - last.get((record.topic, record.partition), -1) - 1
        last[record.topic, record.partition] = record.offset
    return missing


def _unkept(records: Sequence[LogRecord], confirmed: Iterable[Confirmed]) -> int:
    due = list(confirmed)
    places = {each.place for each in due}
    found = {place: checksum(record.key, record.value) for record in records if (place := _place(record)) in places}
    return sum(found.get(each.place) != each.checksum for each in due)


def _order(sessions: Sequence[LogRecord], made: Sequence[LogRecord]) -> tuple[int, int]:
    """Users whose last recommendation is not for their newest session; first recommendations that come after a later one."""
    rank: dict[str, int] = {}  # of each recommendation that is due, among its user's
    newest: dict[bytes | None, str] = {}
    counted: dict[bytes | None, int] = defaultdict(int)
    for record in sessions:
        name, user = name_of(record), record.key
        if name not in rank:
            counted[user] += 1
            rank[name] = counted[user]
            newest[user] = name
    highest: dict[bytes | None, int] = defaultdict(int)
    last: dict[bytes | None, str] = {}
    out_of_order = 0
    seen: set[str] = set()
    for record in made:
        name, user = name_of(record), record.key
        at = rank.get(name, 0)
        out_of_order += at < highest[user] and name not in seen
        seen.add(name)
        highest[user] = max(highest[user], at)
        last[user] = name
    return sum(last.get(user) != name for user, name in newest.items()), out_of_order


def _of_another_model(made: Sequence[LogRecord]) -> int:
    first: dict[str, str] = {}
    others = 0
    for record in made:
        if record.value is not None:
            each = decode(Recommendation, record.value, format_of(record.headers))
            others += first.setdefault(each.recommendation_id, each.versions.model) != each.versions.model
    return others


def _committed_ahead(by_topic: Mapping[str, Sequence[LogRecord]], samples: Sequence[Sample]) -> int:
    """Records below a committed offset whose output stood, at that moment, not in the logs yet.

    An output stands in the partition number of its input. For each input the first offset at which it is satisfied; then, per
    partition, how far the outputs must reach for everything up to an offset to be: a running maximum. A session may also be
    committed because a newer one of its user, which is not, will be answered in its place. An event in another partition than
    its user's is done when it stands in that one; when it came there is not looked at.
    """
    of_user: dict[tuple[int, bytes | None], list[int]] = defaultdict(list)
    users: dict[tuple[int, int], list[int]] = {}  # (partition, offset) of a session: the offsets of all of its user's
    for record in by_topic["sessions"]:
        of_user[record.partition, record.key].append(record.offset)
        users[record.partition, record.offset] = of_user[record.partition, record.key]

    def superseded(topic: str, partition: int, offset: int, sample: Sample) -> bool:
        if topic != "sessions":
            return False
        offsets = users[partition, offset]
        start = bisect_right(offsets, sample.committed.get((topic, partition), 0) - 1)
        return start < bisect_right(offsets, sample.ends[topic, partition] - 1)

    dead = {_origin(record): record.offset for record in reversed(by_topic["dead-letters"])}
    sent_on = {(record.topic, *home) for topic in EVENT_TYPES for record in by_topic[topic] if (home := _first_place(record))}
    satisfied: dict[Place, tuple[str, int]] = {}  # by which topic's offset
    satisfied |= _of_events(by_topic)
    satisfied |= _of_sessions(by_topic)
    explained: dict[str, int] = {}
    for record in by_topic["explanations"]:
        explained.setdefault(name_of(record), record.offset)
    for record in by_topic["recommendations"]:
        satisfied[_place(record)] = "explanations", explained.get(name_of(record), NEVER)
    needs: dict[tuple[str, int, str], list[tuple[int, int]]] = defaultdict(list)  # (input topic, partition, output topic)
    for topic in ("clicks", "listens", "items", "sessions", "recommendations"):
        for record in by_topic[topic]:
            place = _place(record)
            if place in sent_on:
                continue
            if place in dead:
                needs[topic, record.partition, "dead-letters"].append((record.offset, dead[place]))
            elif place in satisfied:
                output, offset = satisfied[place]
                needs[topic, record.partition, output].append((record.offset, offset))
            elif topic != "items":
                needs[topic, record.partition, "sessions"].append((record.offset, NEVER))
            elif not _readable_item(record):
                needs[topic, record.partition, "dead-letters"].append((record.offset, NEVER))
    ahead = set()
    for (topic, partition, output), pairs in needs.items():
        offsets = [offset for offset, _ in pairs]
        reach = list(accumulate((need for _, need in pairs), max))
        for sample in samples:
            done = bisect_right(offsets, sample.committed.get((topic, partition), 0) - 1)
            if done and reach[done - 1] >= sample.ends[output, partition]:
                end = sample.ends[output, partition]
                ahead |= {
                    (topic, partition, offset)
                    for offset, need in pairs[:done]
                    if need >= end and not superseded(topic, partition, offset, sample)
                }
    return len(ahead)


def _of_events(by_topic: Mapping[str, Sequence[LogRecord]]) -> dict[Place, tuple[str, int]]:
    """Where the first session stands that has taken in an event."""
    # by user, source and partition: (applied, offset in sessions)
    reaches: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(list)
    for record in by_topic["sessions"]:
        cause = _cause(record)
        for source, applied in cause.applied.items():
            found = reaches[cause.user_id, source, record.partition]
            if not found or applied > found[-1][0]:
                found.append((applied, record.offset))
    satisfied = {}
    for topic in EVENT_TYPES:
        for record in by_topic[topic]:
            try:
                user = read_event(topic, record.value, record.headers, record.timestamp).user_id
            except InvalidRecord:
                continue
            found = reaches[user, topic, record.partition]
            place = bisect_right(found, (record.offset - 1, NEVER))
            satisfied[_place(record)] = "sessions", found[place][1] if place < len(found) else NEVER
    return satisfied


def _of_sessions(by_topic: Mapping[str, Sequence[LogRecord]]) -> dict[Place, tuple[str, int]]:
    """Where the first recommendation stands for a session, or for a later one of its user."""
    first: dict[str, int] = {}
    for record in by_topic["recommendations"]:
        first.setdefault(name_of(record), record.offset)
    satisfied = {}
    best: dict[bytes | None, int] = {}  # by user, over this session and later ones
    for record in reversed(by_topic["sessions"]):
        best[record.key] = min(best.get(record.key, NEVER), first.get(name_of(record), NEVER))
        satisfied[_place(record)] = "recommendations", best[record.key]
    return satisfied


def _readable_item(record: LogRecord) -> bool:
    try:
        read_item(record.key, record.value, record.headers)
    except InvalidRecord:
        return False
    return True


def _cause(record: LogRecord) -> Reach:
    cause = reach_of(record)
    assert cause is not None, "a tombstone without a note: no worker writes one"
    return cause


def _first_place(record: LogRecord) -> tuple[int, int] | None:
    """Partition and offset where an event stood that was sent on to its user's partition."""
    place = next((value for name, value in record.headers if name == MISROUTED and value), None)
    if place is None:
        return None
    partition, offset = place.decode().split("@")
    return int(partition), int(offset)


def _origin(record: LogRecord) -> Place:
    headers = dict(record.headers)
    topic, partition, offset = ((headers[DLQ + name] or b"").decode() for name in ("topic", "partition", "offset"))
    return topic, int(partition), int(offset)


def _place(record: LogRecord) -> Place:
    return record.topic, record.partition, record.offset


def longest_waits(waited: Sequence[Wait], moments: Sequence[int]) -> list[int]:
    """For each moment the longest wait among the events written between it and the next one; milliseconds, in order."""
    longest = []
    for start, end in pairwise([*moments, NEVER]):
        among = waited[bisect_right(waited, (start, -1, -1)) : bisect_right(waited, (end, -1, -1))]
        longest.append(max((each.waited for each in among), default=0))
    return longest
