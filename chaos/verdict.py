"""What came of it all, from the brokers' logs alone. Pure: records and samples in, counts out."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from chaos.commits import committed_ahead
from chaos.ledger import LIFE, Confirmed, Lives, Partition, Place, Transaction, checksum
from chaos.leftout import left_out
from chaos.reaches import NEVER, by_session
from chaos.strays import Stray, firsts, strays
from chaos.watch import Sample
from streamrec.build import Recommender
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event
from streamrec.core.types import Erasure, Recommendation
from streamrec.core.wire import EVENT_TYPES, decode, format_of
from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import Audit, audit, name_of
from streamrec.replay.reach import reach_of, state_of


class Verdict(NamedTuple):
    """Counts beside those of the audit. All but the last two must be 0."""

    gaps: int  # offsets that hold no record, no marker of a transaction and no aborted record
    unkept: int  # records that the brokers confirmed to the producer and do not have where they said
    late_without_rule: int  # valid events that no session has taken in, and that no rule leaves out
    committed_ahead: int  # records that were committed before what they ask for was in the logs
    stale: int  # users whose last recommendation is not for their newest session
    out_of_order: int  # recommendations that came after a later one of their user
    aborted: int  # records of aborted transactions: nobody may have taken them in
    repeats_of_another_model: int  # recommendations sent again after a bundle swap, by the new model


class Known(NamedTuple):
    """What the run knows of its own doing; see `chaos.ledger.Ledger`."""

    confirmed: Sequence[Confirmed] = ()
    valid: Collection[int] = frozenset()
    transactions: Sequence[Transaction] = ()
    ends: Mapping[tuple[Partition, int], int] = {}
    lives: Lives = Lives()
    partitions: int = 12  # of `sessions`

    @property
    def aborted(self) -> set[Place]:
        return {each.place for entry in self.transactions if not entry.committed for each in entry.records}


class Wait(NamedTuple):
    """When an event was written to its topic, how long its user waited (both in milliseconds), and in which partition."""

    written: int
    waited: int
    partition: int


def judge(records: Iterable[LogRecord], samples: Sequence[Sample], known: Known) -> tuple[Verdict, list[Stray]]:
    """The counts, and what is behind ``out_of_order``.

    Args:
        records: what all topics hold and held, each partition in the order of its offsets, one life after the other.
        samples: what was committed, and how far the topics went afterwards, at some moments.
    """
    by_topic: dict[str, list[LogRecord]] = defaultdict(list)
    for record in visible(records, known):
        by_topic[record.topic].append(known.lives.unrolled(record))
    reaches = by_session(by_topic["sessions"], known.lives)
    found = strays(by_topic["sessions"], by_topic["recommendations"])
    counts = Verdict(
        gaps=_gaps(by_topic, known),
        unkept=_unkept(by_topic, known.confirmed),
        late_without_rule=left_out(by_topic, reaches, known.valid, known.partitions),
        committed_ahead=committed_ahead(by_topic, reaches, samples, known.lives, known.partitions),
        stale=_stale(by_topic["sessions"], by_topic["recommendations"]),
        out_of_order=len(found),
        aborted=len(known.aborted),
        repeats_of_another_model=_of_another_model(by_topic["recommendations"]),
    )
    return counts, found


def visible(records: Iterable[LogRecord], known: Known) -> list[LogRecord]:
    """Without those of aborted transactions, however the topics were read."""
    aborted = known.aborted
    return [record for record in records if known.lives.unrolled(record)[:3] not in aborted]


def held_against_replay(records: Sequence[LogRecord], recommenders: Sequence[Recommender], partitions: int) -> Audit:
    """The audit, with a recommender for each bundle that served."""
    return audit(records, recommenders[0], partitions, others=recommenders[1:], whole=True)


def is_right(audit: Audit, found: Verdict) -> bool:
    """Whether nothing was lost and nothing is wrong."""
    lost = audit.events_lost + audit.dead_letters_missing + found.gaps + found.unkept + found.late_without_rule
    return not (lost or audit.outputs_wrong or found.committed_ahead or found.stale or found.out_of_order)


def waits(records: Sequence[LogRecord]) -> list[Wait]:
    """How long the user of each event waited for its first recommendation, or for one that covers it."""
    written: dict[tuple[object, ...], LogRecord] = {}  # by what a session calls its cause
    answered: dict[str, int] = {}
    sessions = []
    for record in records:
        if record.topic in EVENT_TYPES:
            written[_called(record)] = record
        elif record.topic == "recommendations":
            answered.setdefault(name_of(record), record.timestamp)
        elif record.topic == "sessions":
            sessions.append(record)
    first: dict[bytes | None, int] = {}  # by user, of this session's recommendation and those of later ones
    waited: dict[str, Wait] = {}
    for record in reversed(sessions):
        name = name_of(record)
        first[record.key] = min(answered.get(name, NEVER), first.get(record.key, NEVER))
        cause = written.get(_cause(record))
        if cause is not None and first[record.key] < NEVER:
            waited[name] = Wait(cause.timestamp, first[record.key] - cause.timestamp, record.partition)
    return sorted(waited.values())


def _called(event: LogRecord) -> tuple[object, ...]:
    """By what a session names the event that caused it; an erasure has its time there."""
    try:
        read = read_event(event.topic, event.value, event.headers, event.timestamp)
    except InvalidRecord:
        return ()
    return *event[:3], event.timestamp if isinstance(read, Erasure) else read.event_id


def _cause(session: LogRecord) -> tuple[object, ...]:
    reach, state = reach_of(session), state_of(session)
    if reach is None or state is None:
        return ()
    return reach.trigger or (reach.topic, reach.partition, reach.offset, state.erased_at)


def _gaps(by_topic: Mapping[str, Sequence[LogRecord]], known: Known) -> int:
    """Offsets that nothing accounts for; a transaction left a marker in each partition that it wrote to."""
    held: Counter[tuple[Partition, int]] = Counter()
    ends: dict[tuple[Partition, int], int] = {}
    for records in by_topic.values():
        for record in records:
            at = (record.topic, record.partition), record.offset // LIFE
            held[at] += 1
            ends[at] = record.offset % LIFE + 1
    for entry in known.transactions:
        held.update(entry.partitions)
        if not entry.committed:
            held.update(((topic, partition), offset // LIFE) for (topic, partition, offset), _ in entry.records)
    return sum(abs(end - held[at]) for at, end in (ends | dict(known.ends)).items())


def _unkept(by_topic: Mapping[str, Sequence[LogRecord]], confirmed: Iterable[Confirmed]) -> int:
    due = list(confirmed)
    places = {each.place for each in due}
    found = {
        record[:3]: checksum(record.key, record.value)
        for records in by_topic.values()
        for record in records
        if record[:3] in places
    }
    return sum(found.get(each.place) != each.checksum for each in due)


def _stale(sessions: Sequence[LogRecord], made: Sequence[LogRecord]) -> int:
    """Users whose last recommendation is not for their newest session."""
    newest = {record.key: name for name, record in firsts(sessions).items()}
    last = {record.key: name_of(record) for record in made}
    return sum(last.get(user) != name for user, name in newest.items())


def _of_another_model(made: Sequence[LogRecord]) -> int:
    first: dict[str, str] = {}
    others = 0
    for record in made:
        if record.value is not None:
            each = decode(Recommendation, record.value, format_of(record.headers))
            others += first.setdefault(each.recommendation_id, each.versions.model) != each.versions.model
    return others


def longest_waits(waited: Sequence[Wait], moments: Sequence[int]) -> list[int]:
    """For each moment the longest wait among the events written between it and the next one; milliseconds, in order."""
    longest = []
    for start, end in pairwise([*moments, NEVER]):
        among = waited[bisect_right(waited, (start, -1, -1)) : bisect_right(waited, (end, -1, -1))]
        longest.append(max((each.waited for each in among), default=0))
    return longest
