"""How far each session reaches into the topics of events, counted through the lives of topics made anew."""

from collections.abc import Sequence
from typing import NamedTuple

from chaos.ledger import Lives
from streamrec.core.session import State
from streamrec.eventlog.records import LogRecord
from streamrec.replay.reach import state_of

NEVER = 1 << 62


class Reached(NamedTuple):
    """A record of ``sessions``: its user's state, and by topic the last offset that it has taken in."""

    record: LogRecord
    state: State
    applied: dict[str, int]


def by_session(sessions: Sequence[LogRecord], lives: Lives) -> list[Reached]:
    """One for each record, in their order."""
    found = []
    for record in sessions:
        state = state_of(record)
        assert state is not None, "a tombstone without a note: no worker writes one"
        found.append(Reached(record, state, lives.reach(state.applied, state.applied_at)))
    return found
