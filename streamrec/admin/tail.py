"""Follow a topic from a terminal: records as they come, without a consumer group."""

import time
from collections.abc import Iterator

from streamrec.admin.client import broker_errors, connect_consumer
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import as_log_record, partitions_of
from streamrec.core.errors import UserError
from streamrec.eventlog.records import LogRecord
from streamrec.settings import Settings

POLL_MS = 200  # how long Ctrl-C and the end of `seconds` may have to wait


def tail(
    topic: str, settings: Settings, user: str | None = None, from_beginning: bool = False, seconds: float | None = None
) -> Iterator[LogRecord]:
    """What comes on the topic from now on; `streamrec.eventlog.records.as_json` makes a record readable.

    Args:
        topic: without the deployment's prefix.
        user: only records with this key.
        from_beginning: everything that the topic holds first.
        seconds: stops after this time; by default never.

    Raises:
        UserError: no contract names the topic, it is missing on the broker, or the broker cannot be reached.
    """
    known = load_contracts(settings.topics_dir)
    if topic not in known:
        raise UserError(f"no topic {topic!r}; there are {', '.join(known)}")
    with broker_errors(settings, f"reading {topic}"), connect_consumer(settings) as consumer:
        partitions = partitions_of(consumer, settings, [topic])
        consumer.assign(partitions)
        offsets = consumer.beginning_offsets(partitions) if from_beginning else consumer.end_offsets(partitions)
        for partition, offset in offsets.items():
            consumer.seek(partition, offset)
        ends_at = float("inf") if seconds is None else time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            for records in consumer.poll(timeout_ms=int(min(POLL_MS, left * 1000))).values():
                for record in records:
                    if user is None or record.key == user.encode():
                        yield as_log_record(record, len(settings.topic_prefix))
