"""Recommendations that came after a later one of their user, and what is known of how that came about."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streamrec.eventlog.records import LogRecord
from streamrec.replay.audit import name_of


class Stray(NamedTuple):
    """A recommendation seen for the first time after a later one of its user, and the sessions of both."""

    user: str
    partition: int
    older: LogRecord
    newer: LogRecord
    older_session: LogRecord | None  # None: no session is known for it
    newer_session: LogRecord


class Member(NamedTuple):
    """From this time on (milliseconds UTC) a worker had these partitions of its group's topics."""

    at: int
    role: str
    worker: str
    partitions: Mapping[str, Sequence[int]]  # by topic


class Happened(NamedTuple):
    """A fault, from when to when, in milliseconds UTC."""

    number: int
    kind: str
    start: int
    over: int
    recovered: int | None


def firsts(sessions: Iterable[LogRecord]) -> dict[str, LogRecord]:
    """By name the first record of each session, in their order."""
    found: dict[str, LogRecord] = {}
    for record in sessions:
        found.setdefault(name_of(record), record)
    return found


def strays(sessions: Sequence[LogRecord], made: Iterable[LogRecord]) -> list[Stray]:
    """The first recommendations that came after one for a later session of their user."""
    first = firsts(sessions)
    rank = {name: n for n, name in enumerate(first)}
    newest: dict[bytes | None, tuple[int, str, LogRecord]] = {}  # by user
    found = []
    seen: set[str] = set()
    for record in made:
        name = name_of(record)
        at = rank.get(name, -1)
        if at >= newest.get(record.key, (-1, "", record))[0]:
            newest[record.key] = at, name, record
        elif name not in seen:
            _, later, newer = newest[record.key]
            user = (record.key or b"").decode(errors="replace")
            found.append(Stray(user, record.partition, record, newer, first.get(name), first[later]))
        seen.add(name)
    return found


def evidence(stray: Stray, faults: Sequence[Happened], members: Sequence[Member]) -> dict[str, Any]:
    """What `out-of-order.json` says of one: who wrote what, when, and during which fault."""
    at = stray.older.timestamp
    begun = [fault for fault in faults if fault.start <= at]
    fault = begun[-1] if begun else None
    return {
        "user": stray.user,
        "partition": stray.partition,
        "fault": None if fault is None else fault._asdict(),
        "older": _told(stray.older, "recommend", members) | {"session": _session(stray.older_session, members)},
        "newer": _told(stray.newer, "recommend", members) | {"session": _session(stray.newer_session, members)},
    }


def _session(record: LogRecord | None, members: Sequence[Member]) -> dict[str, Any] | None:
    return None if record is None else _told(record, "sessions", members)


def _told(record: LogRecord, role: str, members: Sequence[Member]) -> dict[str, Any]:
    return {
        "recommendation_id": name_of(record),
        "offset": record.offset,
        "written": record.timestamp,
        "owners": owners(record, role, members),
    }


def owners(record: LogRecord, role: str, members: Sequence[Member]) -> dict[str, Any]:
    """Who had the partition when the record was written, who had it before, and since when, as far as seen."""
    of_partition = [
        each for each in members if each.role == role and any(record.partition in of for of in each.partitions.values())
    ]
    place = bisect_right([each.at for each in of_partition], record.timestamp)
    seen = of_partition[max(place - 2, 0) : place]
    named = zip(("now", "before"), reversed(seen), strict=False)
    return {name: {"worker": each.worker, "since": each.at} for name, each in named}


def line(found: Mapping[str, Any]) -> str:
    """One line of it, for people."""
    older, newer = found["older"], found["newer"]
    fault = found["fault"]
    during = "no fault" if fault is None else f"fault {fault['number']} ({fault['kind']})"
    wrote = ", ".join(
        f"{name} {each['owners'].get('now', {}).get('worker', 'unknown')}" for name, each in (("older", older), ("newer", newer))
    )
    return (
        f"out of order: {found['user']} in partition {found['partition']}, {during}: recommendation of session "
        f"@{(older['session'] or {}).get('offset')} at @{older['offset']} ({older['written']}) after that of session "
        f"@{newer['session']['offset']} at @{newer['offset']} ({newer['written']}); written by {wrote}"
    )
