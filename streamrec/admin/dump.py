"""What topics hold, read once from a broker in one order that follows every partition's own."""

import heapq
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streamrec.admin.client import broker_errors, connect_consumer
from streamrec.core.errors import UserError
from streamrec.eventlog.records import LogRecord
from streamrec.settings import Settings

Bound = int | datetime | None  # an offset in every partition, a time (aware), or none
POLL_MS = 500


def read_topics(settings: Settings, topics: Sequence[str], start: Bound = None, end: Bound = None) -> list[LogRecord]:
    """The records from ``start`` up to ``end`` (not included), and never beyond what the topics hold at the call.

    They come by timestamp, and within a partition in the order of its offsets whatever the timestamps say.

    Args:
        topics: without the deployment's prefix.

    Raises:
        UserError: the broker cannot be reached, a topic is missing, or offsets were asked for that are kept no more.
    """
    with broker_errors(settings, "reading topics"), _reader(settings) as consumer:
        partitions = partitions_of(consumer, settings, topics)
        first, last = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        starts = _offsets(consumer, start, default=first)
        ends = _offsets(consumer, end, default=last)
        for partition in partitions:
            if isinstance(start, int) and start < first[partition]:
                where = f"{partition.topic}, partition {partition.partition}"
                raise UserError(f"{where}: offset {start} is kept no more; the oldest is {first[partition]}")
        due = {each: range(starts[each], min(ends[each], last[each])) for each in partitions}
        found = _read(consumer, {each: offsets for each, offsets in due.items() if offsets}, len(settings.topic_prefix))
    return list(heapq.merge(*found, key=lambda record: (record.timestamp, record.topic, record.partition)))


def _reader(settings: Settings) -> KafkaConsumer:
    # Where retention overtakes the reading that is an error, not a jump to the end.
    return connect_consumer(settings, max_poll_records=5_000, auto_offset_reset="none")


def partitions_of(consumer: KafkaConsumer, settings: Settings, topics: Sequence[str]) -> list[TopicPartition]:
    """Every partition of the topics, in order; raises UserError where a topic is missing."""
    found: list[TopicPartition] = []
    for name in topics:
        topic = settings.topic_prefix + name
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            seen = f" that {settings.sasl_username} may read" if settings.sasl_username else ""
            raise UserError(f"broker {settings.broker}: no topic {topic}{seen}; run `streamrec topics apply` or see to the ACLs")
        found.extend(TopicPartition(topic, number) for number in sorted(numbers))
    return found


def as_log_record(record: Any, prefix: int) -> LogRecord:
    """kafka-python's record as ours; ``prefix`` is the length of the deployment's prefix."""
    topic, partition, offset = record.topic[prefix:], record.partition, record.offset
    headers = tuple((name, value) for name, value in record.headers)
    return LogRecord(topic, partition, offset, record.timestamp, record.key, record.value, headers)


def _offsets(consumer: KafkaConsumer, bound: Bound, default: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
    if bound is None:
        return default
    if isinstance(bound, int):
        return dict.fromkeys(default, bound)
    end = consumer.end_offsets(list(default))
    found = consumer.offsets_for_times(dict.fromkeys(default, round(bound.timestamp() * 1000)))
    return {each: found[each].offset if found.get(each) else end[each] for each in default}


def _read(consumer: KafkaConsumer, due: dict[TopicPartition, range], prefix: int) -> list[list[LogRecord]]:
    """Each partition's records. All are held: kafka-python 3.0.12 may never go on with a partition that was paused."""
    consumer.assign(list(due))
    for partition, offsets in due.items():
        consumer.seek(partition, offsets.start)
    found: dict[TopicPartition, list[LogRecord]] = {partition: [] for partition in due}
    # By position, not by the last record: an offset may hold a transaction's marker, or nothing after compaction.
    while any(consumer.position(partition) < offsets.stop for partition, offsets in due.items()):
        for partition, records in consumer.poll(timeout_ms=POLL_MS).items():
            found[partition].extend(as_log_record(each, prefix) for each in records if each.offset < due[partition].stop)
    return list(found.values())
