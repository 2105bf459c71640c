"""The lives of a topic: a topic that is deleted and made anew counts its offsets from 0 again.

A log that holds several lives has the same topic, partition and offset more than once. Within a partition the
records are taken in the order in which the log gives them; a life ends where offsets go back and time goes on.
"""

from collections import defaultdict, deque
from collections.abc import Iterable

from streamrec.eventlog.records import LogRecord


def lives(records: Iterable[LogRecord]) -> dict[tuple[str, int], list[list[LogRecord]]]:
    """By topic and partition the records of each life, the oldest life first, each by offset.

    A record whose offset goes back is of a new life only if it was written after everything before it. If not,
    the log is out of order, or holds a record twice.
    """
    found: dict[tuple[str, int], list[list[LogRecord]]] = defaultdict(lambda: [[]])
    newest: dict[tuple[str, int], int] = {}
    for record in records:
        at = record.topic, record.partition
        life = found[at][-1]
        if life and record.offset <= life[-1].offset and record.timestamp > newest[at]:
            found[at].append([record])
        else:
            life.append(record)
        newest[at] = max(newest.get(at, record.timestamp), record.timestamp)
    for of_partition in found.values():
        for life in of_partition:
            life.sort(key=lambda record: record.offset)
    return dict(found)


class Queue:
    """The records of one user in one partition, to be taken out in their order."""

    def __init__(self) -> None:
        self._lives: deque[deque[LogRecord]] = deque([deque()])  # sessions have reached the first one
        self._last = -1

    def append(self, life: int, record: LogRecord) -> None:
        """Adds the next record; ``life`` is the number of the life that it is of."""
        if life != self._last:
            self._lives.append(deque())
            self._last = life
        self._lives[-1].append(record)

    def up_to(self, offset: int, written_at: int | None) -> list[LogRecord]:
        """Takes out what a session has taken in that reaches ``offset``.

        Args:
            written_at: the greatest record timestamp that it has taken in; it tells which life ``offset`` is of.
                None of a session that does not know: it reaches the next life only when nothing is left of the last.
        """
        due: list[LogRecord] = []
        while self._reaches_next(written_at):
            due += self._lives.popleft()
        current = self._lives[0]
        while current and current[0].offset <= offset:
            due.append(current.popleft())
        return due

    def rest(self) -> list[LogRecord]:
        """What was never taken out."""
        return [record for life in self._lives for record in life]

    def _reaches_next(self, written_at: int | None) -> bool:
        if len(self._lives) == 1:
            return False
        return not self._lives[0] if written_at is None else self._lives[1][0].timestamp <= written_at
