"""What can be replayed: a data set, a log file, or the topics of a broker, each as records in the order to apply them."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.eventlog.dataset import EVENT_TYPES as KINDS
from streamrec.eventlog.dataset import Dataset
from streamrec.eventlog.partition import partition_of
from streamrec.eventlog.records import LogRecord

TOPIC_OF = {event_type: topic for topic, event_type in EVENT_TYPES.items()}


def dataset_records(dataset: Dataset, partitions: int) -> Iterator[LogRecord]:
    """What `streamrec produce` would put on fresh topics: the items, then the events, offsets counted in file order.

    A record is written when its event happened, and the events come as a worker takes them in: by that time, those
    of one time by the name of their topic.
    """
    started_at = int(dataset.occurred_at[0]) if len(dataset.occurred_at) else 0
    for offset, item in enumerate(dataset.items.values()):
        yield LogRecord("items", 0, offset, started_at, item.item_id.encode(), encode(item))
    offsets: dict[tuple[str, int], int] = defaultdict(int)
    topics = np.array([TOPIC_OF.get(name, "") for name in KINDS])[dataset.event_type]
    order = np.lexsort((topics, dataset.occurred_at))  # stable: within a topic the file's order stays
    for row in order[dataset.is_interaction[order]].tolist():
        event = dataset.event(row)
        topic, partition = TOPIC_OF[event.event_type], partition_of(event.user_id, partitions)
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        yield LogRecord(topic, partition, offset, event.occurred_at, event.user_id.encode(), encode(event))
