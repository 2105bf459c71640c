"""Holds what a worker put on the topics against what replay computes for the same events. It trusts the brokers' logs alone.

A check that cannot fail proves nothing: tests drop, corrupt and repeat records and see it counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streamrec.build import Recommender
from streamrec.core.deadletters import PREFIX
from streamrec.core.intake import ERASED
from streamrec.core.pipeline import recommendation_id
from streamrec.core.types import Explanation, Recommendation, Session
from streamrec.core.wire import EVENT_TYPES, Format, decode, format_of
from streamrec.eventlog.records import Headers, LogRecord
from streamrec.replay.engine import Replay
from streamrec.replay.order import as_recorded
from streamrec.replay.reach import state_of
from streamrec.replay.start import Start

_ERASED = "erased"  # no id of a recommendation begins so


class Audit(NamedTuple):
    """Counts, from the logs of all topics."""

    events_in: int  # records on clicks and listens that call for a recommendation
    recommendations: int  # different ones
    superseded: int  # events (and erasures) without one, covered by a later recommendation of their user
    events_lost: int  # events with neither
    outputs_wrong: int  # records that are not what replay computes, dead letters too, and recommendations left unexplained
    duplicates: int  # recommendations sent again
    dead_letters: int  # different ones
    dead_letters_missing: int  # unreadable records that are not there whole: key, bytes and headers


def audit(
    records: Iterable[LogRecord],
    recommender: Recommender,
    partitions: int,
    written_as: Format = "msgpack",
    others: Sequence[Recommender] = (),
    whole: bool = False,
) -> Audit:
    """Recomputes everything from the inputs in ``records`` and compares it with the outputs in them.

    Where a user's first events are gone, outputs of the time before the session that the user begins with are neither
    lost nor wrong.

    Args:
        records: what all topics hold, each partition in the order of its offsets, one life after the other.
        recommender: fresh: its catalogue is filled from the records.
        partitions: how many `sessions` has.
        others: fresh ones for the other bundles that served meanwhile; each output is held against the one that it names.
        whole: no event is gone; see `as_recorded`.
    """
    by_topic: dict[str, list[LogRecord]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    events = [record for topic in EVENT_TYPES for record in by_topic[topic]]
    recorded = as_recorded([*by_topic["items"], *events, *by_topic["sessions"]], whole)
    computed: dict[str, list[LogRecord]] = defaultdict(list)
    for record in Replay(recommender, partitions, written_as, recorded.catalogue, recorded.initial).run(recorded.inputs):
        computed[record.topic].append(record)
    if not whole:
        by_topic |= _since(recorded.starts, by_topic, computed)
    sent = {name_of(record) for record in by_topic["recommendations"]}
    superseded, lost = _unanswered(computed["sessions"], sent)
    events_in = len({name_of(record) for record in computed["recommendations"] if record.value is not None})
    for other in others:
        for record in _by_another(other, by_topic, computed["sessions"], partitions, written_as):
            computed[record.topic].append(record)
    wrong = sum(_unlike(by_topic[topic], computed[topic]) for topic in ("sessions", "recommendations", "explanations"))
    wrong += len(sent - {name_of(record) for record in by_topic["explanations"]})
    begun = [start.record for start in recorded.starts.values()]
    wrong += _other_newest([*begun, *by_topic["sessions"]], [*begun, *computed["sessions"]])
    letters, due = set(map(_letter, by_topic["dead-letters"])), set(map(_letter, computed["dead-letters"]))
    return Audit(
        events_in=events_in,
        recommendations=sum(not name.startswith(_ERASED) for name in sent),
        superseded=superseded,
        events_lost=lost,
        outputs_wrong=wrong + len(letters - due),
        duplicates=len(by_topic["recommendations"]) - len(sent),
        dead_letters=len(letters),
        dead_letters_missing=len(due - letters),
    )


def _since(
    starts: Mapping[str, Start],
    found: Mapping[str, Sequence[LogRecord]],
    computed: Mapping[str, Sequence[LogRecord]],
) -> dict[str, list[LogRecord]]:
    """The outputs that were found, without those of the time before the sessions that users begin with."""
    begun = {user.encode(): start for user, start in starts.items()}
    right = {name_of(record) for record in computed["sessions"]}
    users = {record.key for record in (*found["sessions"], *computed["sessions"])}
    old = {
        (each.key, each.value, each.headers)
        for each in found["sessions"]
        if each.key in begun and each.offset <= begun[each.key].record.offset
    }
    sessions = [each for each in found["sessions"] if (each.key, each.value, each.headers) not in old]  # repeats are old, too
    before = {name_of(record) for record in found["sessions"]} - {name_of(record) for record in sessions}

    def is_due(record: LogRecord) -> bool:
        name = name_of(record)
        if name in right:
            return True
        start = begun.get(record.key or b"")
        return record.key in users and name not in before and not (start and _reaches(start, record))

    recommendations = [record for record in found["recommendations"] if is_due(record)]
    left = {name_of(record) for record in recommendations}
    left |= right - {name_of(record) for record in found["recommendations"]}
    explanations = [each for each in found["explanations"] if name_of(each) in left or each.key not in begun]
    outputs = {"sessions": sessions, "recommendations": recommendations, "explanations": explanations}
    return outputs | {"dead-letters": _letters_since(found, computed["dead-letters"])}


def _letters_since(found: Mapping[str, Sequence[LogRecord]], computed: Sequence[LogRecord]) -> list[LogRecord]:
    """The dead letters that were found, without those of records that are gone."""
    first: dict[tuple[str, int], LogRecord] = {}
    for record in (each for topic in ("items", *EVENT_TYPES) for each in found[topic]):
        first.setdefault((record.topic, record.partition), record)
    due = set(map(_letter, computed))

    def is_gone(letter: LogRecord) -> bool:
        topic, partition, offset = origin(letter)
        left = first.get((topic, partition))
        return left is None or offset < left.offset or letter.timestamp < left.timestamp

    return [each for each in found["dead-letters"] if _letter(each) in due or not is_gone(each)]


def _reaches(start: Start, output: LogRecord) -> bool:
    """Whether the session that a user begins with has taken in what caused a recommendation or its tombstone."""
    applied = start.state.applied
    if output.value is None:
        erased = state_of(output)
        return erased is not None and all(offset <= applied.get(topic, -1) for topic, offset in erased.applied.items())
    trigger = decode(Recommendation, output.value, format_of(output.headers)).trigger
    return trigger.offset <= applied.get(trigger.topic, -1)


def origin(letter: LogRecord) -> tuple[str, int, int]:
    """Topic, partition and offset at which the record of a dead letter was found."""
    headers = dict(letter.headers)
    topic, partition, offset = ((headers[PREFIX + name] or b"").decode() for name in ("topic", "partition", "offset"))
    return topic, int(partition), int(offset)


def _by_another(
    recommender: Recommender, found: dict[str, list[LogRecord]], computed: Sequence[LogRecord], partitions: int, written_as: Format
) -> Iterator[LogRecord]:
    """What this recommender makes of those computed sessions for which a record that was found names it."""
    named = {
        each.recommendation_id
        for record in found["recommendations"]
        if record.value is not None
        and (each := decode(Recommendation, record.value, format_of(record.headers))).versions.model == recommender.versions.model
    }
    engine = Replay(recommender, partitions, written_as)
    for _ in engine.run(sorted(found["items"], key=lambda record: record.offset)):
        pass  # fills its catalogue
    sessions = [(decode(Session, record.value), record) for record in computed if record.value is not None]
    due = [(session, record) for session, record in sessions if recommendation_id(session.trigger) in named]
    yield from (record for record in engine.emit(due) if record.topic != "sessions")


def _unanswered(computed: Sequence[LogRecord], sent: set[str]) -> tuple[int, int]:
    """Of the events without a recommendation, how many a later one of their user covers, and how many none does."""
    superseded = lost = 0
    covered: set[bytes] = set()  # users with a recommendation for a later session
    counted: set[str] = set()
    for record in reversed(computed):
        user, name = record.key or b"", name_of(record)
        if name in sent:
            covered.add(user)
        elif name not in counted:
            superseded += user in covered
            lost += user not in covered
        counted.add(name)
    return superseded, lost


def _unlike(found: Sequence[LogRecord], computed: Sequence[LogRecord]) -> int:
    """Records that replay does not compute."""
    right = set(map(_content, computed))
    return sum(_content(record) not in right for record in found)


def _other_newest(found: Sequence[LogRecord], computed: Sequence[LogRecord]) -> int:
    """Users whose newest session is another one."""
    newest_found = {record.key: _content(record) for record in found}
    newest_right = {record.key: _content(record) for record in computed}
    return sum(newest_found.get(user) != newest_right.get(user) for user in newest_found.keys() | newest_right.keys())


def _content(record: LogRecord) -> tuple[int, bytes | None, bytes | str]:
    """What must be as replay computes it; of a tombstone, its note."""
    return record.partition, record.key, _erasure(record) if record.value is None else record.value


def _letter(record: LogRecord) -> tuple[int, bytes | None, bytes | None, Headers]:
    """The headers are part of it: the record's own, and where it stood and why it is here."""
    return record.partition, record.key, record.value, record.headers


def _erasure(record: LogRecord) -> str:
    """What a tombstone is called: whose it is, and how far the session reached."""
    note = next((value for name, value in record.headers if name == ERASED), None) or b""
    return f"{_ERASED} {(record.key or b'').decode(errors='replace')} {note.decode(errors='replace')}"


def name_of(record: LogRecord) -> str:
    """What a record of ``sessions``, ``recommendations`` or ``explanations`` is about: a recommendation's id, or an erasure."""
    if record.value is None:
        return _erasure(record)
    if record.topic == "sessions":
        return recommendation_id(decode(Session, record.value, format_of(record.headers)).trigger)
    message: type[Recommendation | Explanation] = Recommendation if record.topic == "recommendations" else Explanation
    return decode(message, record.value, format_of(record.headers)).recommendation_id
