"""The replay itself: records in, what the worker would emit for them out. Without a clock, a broker or a model of its own."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from streamrec.build import Recommender
from streamrec.core.deadletters import dead_letter
from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.intake import ERASED, belongs, read_event, read_item
from streamrec.core.session import Outcome, Position, State, update
from streamrec.core.types import Erased, Message, Session
from streamrec.core.wire import CONTENT_TYPES, EVENT_TYPES, Format, encode
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord

BATCH = 32  # sessions in one run of the model; it changes no answer


class Replay:
    """One pass over a log. ``counts`` says what became of its records, by outcome or fault.

    Args:
        partitions: how many `sessions` has; it decides where a user belongs.
        written_as: the format of the output topics.
        catalogue_at: the version to use for a trigger, where the log records it; else what has been read so far.
        initial: what is held of users before the first record.
    """

    def __init__(
        self,
        recommender: Recommender,
        partitions: int,
        written_as: Format = "msgpack",
        catalogue_at: Mapping[Position, int] | None = None,
        initial: Mapping[str, State] | None = None,
    ) -> None:
        self._recommender = recommender
        self._partitions = partitions
        self._written_as = written_as
        self._catalogue_at = catalogue_at or {}
        self._sessions: dict[str, State] = dict(initial or {})
        self._offsets: dict[tuple[str, int], int] = defaultdict(int)
        self.counts: Counter[str] = Counter()

    def run(self, records: Iterable[LogRecord]) -> Iterator[LogRecord]:
        """For each event its session, recommendation and explanation; for each unreadable record its dead letter.

        Raises:
            UserError: the log holds items out of order.
        """
        due: list[tuple[Session, LogRecord]] = []
        for record in records:
            try:
                state = self._take_in(record)
            except InvalidRecord as fault:
                yield from self.emit(due)  # or the output's order would depend on the batches
                due = []
                self.counts[f"dead letter: {fault.reason}"] += 1
                yield self._dead_letter(record, fault)
                continue
            if isinstance(state, Erased):
                yield from self.emit(due)
                due = []
                yield from self._tombstones(state, record)
            elif state is not None:
                due.append((state, record))
            if len(due) == BATCH:
                yield from self.emit(due)
                due = []
        yield from self.emit(due)

    def _take_in(self, record: LogRecord) -> State | None:
        """Applies a record; a session comes back where a recommendation is due, what is left of one where a tombstone is."""
        if record.topic == "items":
            self._take_in_item(record)
            return None
        if record.topic not in EVENT_TYPES:
            return None
        event = read_event(record.topic, record.value, record.headers, record.timestamp)
        if not belongs(partition_of(event.user_id, self._partitions), record.partition, record.headers):
            self.counts["misrouted"] += 1  # the worker sends it on: it comes again, in its right partition
            return None
        at = Position(record.topic, record.partition, record.offset, record.timestamp)
        catalogue = self._catalogue_at.get(at, self._recommender.catalogue.version)
        state, outcome = update(self._sessions.get(event.user_id), event, at, catalogue, self._recommender.session_rules)
        self._sessions[event.user_id] = state
        self.counts[outcome] += 1
        return None if outcome is Outcome.REDELIVERED else state

    def _take_in_item(self, record: LogRecord) -> None:
        catalogue = self._recommender.catalogue
        if record.offset < catalogue.version:
            raise UserError(
                f"items, offset {record.offset}: a later one came before it; a log holds items in the order of their offsets"
            )
        try:
            catalogue.apply(record.offset, *read_item(record.key, record.value, record.headers))
        except InvalidRecord:
            catalogue.skip_to(record.offset + 1)
            raise
        self.counts["items"] += 1

    def emit(self, due: list[tuple[Session, LogRecord]]) -> Iterator[LogRecord]:
        """What goes out for sessions, each with the record that caused it."""
        pipeline, catalogue, _, _ = self._recommender
        for batch in (due[first : first + BATCH] for first in range(0, len(due), BATCH)):
            recommendations = pipeline.recommend([session for session, _ in batch], catalogue)
            for (session, record), recommendation in zip(batch, recommendations, strict=True):
                yield self._output("sessions", session.user_id, session, record, "msgpack")
                yield self._output("recommendations", session.user_id, recommendation, record, self._written_as)
                explanation = pipeline.explain(recommendation, catalogue)
                yield self._output("explanations", session.user_id, explanation, record, self._written_as)

    def _tombstones(self, erased: Erased, caused_by: LogRecord) -> Iterator[LogRecord]:
        user = read_event(caused_by.topic, caused_by.value, caused_by.headers).user_id
        headers = ((ERASED, encode(erased, "json")),)
        for topic in ("sessions", "recommendations", "explanations"):
            offset = self._next_offset(topic, caused_by.partition)
            yield LogRecord(topic, caused_by.partition, offset, caused_by.timestamp, user.encode(), None, headers)

    def _output(self, topic: str, key: str, message: Message, caused_by: LogRecord, written_as: Format) -> LogRecord:
        offset = self._next_offset(topic, caused_by.partition)
        headers = (("content-type", CONTENT_TYPES[written_as]),)
        value = encode(message, written_as)
        return LogRecord(topic, caused_by.partition, offset, caused_by.timestamp, key.encode(), value, headers)

    def _dead_letter(self, record: LogRecord, fault: InvalidRecord) -> LogRecord:
        at = Position(record.topic, record.partition, record.offset, record.timestamp)
        role = "sessions" if record.topic in EVENT_TYPES else "recommend"
        letter = dead_letter(at, fault, role, record.key, record.value, record.headers)
        partition = record.partition % self._partitions  # where partitions were added, dead-letters has still the old ones
        offset = self._next_offset("dead-letters", partition)
        return LogRecord("dead-letters", partition, offset, record.timestamp, *letter)

    def _next_offset(self, topic: str, partition: int) -> int:
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        return offset
