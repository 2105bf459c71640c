"""How long a sessions worker takes to load its table from the topic, and what the sessions weigh in memory.

    python -m benchmarks recovery            # 100,000 and 1,000,000 sessions of 20 events

Held against the least that it can take: reading the same records with aiokafka and keeping none. One record a session, as
compaction leaves them; within the audit window a topic holds one for each event, and takes as much longer.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient

from streamrec.core.types import Interaction, Session, Trigger
from streamrec.core.wire import encode
from streamrec.eventlog.partition import partition_of
from streamrec.localkafka import LocalKafka
from streamrec.worker.app import make_app
from streamrec.worker.reader import Reader
from streamrec.worker.sessions import is_ahead
from streamrec.worker.table import ByteTable

SIZES = (100_000, 1_000_000)
EVENTS = 20
PARTITIONS = 12
BATCH_BYTES = 500_000


def run() -> dict[str, Any]:
    """Seconds of wall clock and of CPU, bytes of resident memory a session, and the bare read's seconds, for each size."""
    found: dict[str, Any] = {}
    with LocalKafka() as kafka:
        for size in SIZES:
            topic = f"sessions-{size}"
            admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
            admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1}})
            admin.wait_for_topics([topic])
            admin.close()
            written = asyncio.run(write_sessions(kafka.bootstrap_servers, topic, size))
            measured = {what: _apart(what, kafka.bootstrap_servers, topic) for what in ("bare", "table")}
            ours, bare = measured["table"], measured["bare"]
            if ours["sessions"] != size:
                raise RuntimeError(f"{ours['sessions']} sessions were loaded of {size}")
            found[f"{size:,} sessions"] = {
                "seconds": ours["seconds"],
                "cpu seconds": ours["cpu"],
                "bare read seconds": bare["seconds"],
                "record bytes": round(written / size),
                "resident bytes a session": round(ours["resident"] / size),
            }
    return found


async def write_sessions(broker: str, topic: str, size: int) -> int:
    """Puts a session of each of so many users, ``user-0000000`` and on, on the topic; returns the bytes of their records."""
    total = 0
    async with AIOKafkaProducer(bootstrap_servers=broker, max_batch_size=BATCH_BYTES, linger_ms=20, acks=1) as producer:
        batches: dict[int, Any] = {}
        for number in range(size):
            user = f"user-{number:07}"
            partition = partition_of(user, PARTITIONS)
            value = encode(_session(user, partition, number))
            total += len(value)
            batch = batches.get(partition)
            if batch is None or batch.append(key=user.encode(), value=value, timestamp=None) is None:
                if batch is not None:
                    await producer.send_batch(batch, topic, partition=partition)
                batches[partition] = batch = producer.create_batch()
                batch.append(key=user.encode(), value=value, timestamp=None)
        for partition, batch in batches.items():
            await (await producer.send_batch(batch, topic, partition=partition))
    return total


def _session(user: str, partition: int, number: int) -> Session:
    """As real ones are: catalogue ids of four or five digits, listens minutes apart, event ids of a data set."""
    offset = number * EVENTS
    history = tuple(
        Interaction(
            item_id=str((number * 7919 + n * 104_729) % 27_000),
            event_type="click" if (number + n) % 3 == 0 else "listen",
            occurred_at=1_402_878_494_000 + number * 997 + n * 211_000,
            event_id=f"9f86d081-{offset + n}",
        )
        for n in range(EVENTS)
    )
    trigger = Trigger(topic="listens", partition=partition, offset=offset, event_id=history[-1].event_id)
    return Session(
        schema_version=1,
        user_id=user,
        trigger=trigger,
        applied={},  # so that any event that comes is new to it
        catalogue=2229,
        started_at=history[0].occurred_at,
        history=history,
    )


def _apart(what: str, broker: str, topic: str) -> dict[str, Any]:
    """Measured in a process of its own: its memory is what it says."""
    command = [sys.executable, "-m", "benchmarks.recovery", what, broker, topic]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


async def _load(what: str, broker: str, topic: str) -> dict[str, Any]:
    connection = {"bootstrap_servers": broker}
    table = ByteTable(make_app("recovery", connection), changelog=topic, is_ahead=is_ahead, connection=connection)
    before = _resident()
    began, cpu = time.perf_counter(), time.process_time()
    if what == "table":
        await table.load(set(range(PARTITIONS)))
    else:
        async with Reader(connection) as reader:
            async for _ in reader.read(await reader.extents([TopicPartition(topic, n) for n in range(PARTITIONS)])):
                pass
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu": round(time.process_time() - cpu, 2),
        "sessions": sum(table.sizes().values()),
        "resident": _resident() - before,
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_load(*sys.argv[1:]))))
