"""From a producer's send to the subscriber's receipt, held against the least that Kafka allows: one bare aiokafka loop that
reads each event and sends one record for it. Worker, broker and load share this machine.
"""

import asyncio
import sys
import threading
import time
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streamrec.admin.topics import apply
from streamrec.core.types import Event, Recommendation
from streamrec.core.wire import decode
from streamrec.demo.live import Subscriber, send_events, send_items
from streamrec.demo.run import DATA
from streamrec.demo.worker import WorkerProcess
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.localkafka import LocalKafka
from streamrec.localkafka.guarded import Guarded
from streamrec.settings import Settings, load_settings

RATES = (20, 100)  # events a second
SECONDS = 20
WARM_UP = 3  # seconds that are left out
READY = "the bare loop has its partitions"


def run() -> dict[str, Any]:
    """Percentiles in milliseconds for streamrec and for the bare loop, at each rate, and their ratio."""
    dataset = read_dataset(DATA)
    found: dict[str, Any] = {}
    with LocalKafka() as kafka:
        for rate in RATES:
            ours = load_settings(broker=kafka.bootstrap_servers, topic_prefix=f"ours{rate}-")
            bare = load_settings(broker=kafka.bootstrap_servers, topic_prefix=f"bare{rate}-")
            apply(ours)
            apply(bare)
            send_items(dataset, ours)
            with WorkerProcess(ours) as worker:
                worker.wait_ready()
                measured = _measure(dataset, rate, ours, lambda value: decode(Recommendation, value).trigger.event_id)
            guarded = Guarded()
            command = [sys.executable, "-m", "benchmarks.latency", bare.broker, bare.topic_prefix]
            log = guarded.scratch / "log"
            guarded.start("bare", command, DATA.parents[3], log)
            while READY not in log.read_text():
                time.sleep(0.05)
            limit = _measure(dataset, rate, bare, lambda value: decode(Event, value).event_id)
            guarded.close()
            ratios = {name: round(measured[name] / limit[name], 1) for name in ("p50", "p95", "p99")}
            found[f"{rate} events/s"] = {"streamrec ms": measured, "bare aiokafka ms": limit, "ratio": ratios}
    return found


def _measure(dataset: Dataset, rate: float, settings: Settings, event_id: Any) -> dict[str, Any]:
    subscriber = Subscriber(settings)
    subscriber.start()
    sent: dict[str, float] = {}
    send_events(
        dataset,
        range(len(dataset))[: int(rate * SECONDS)],
        rate,
        settings,
        lambda event: sent.update({event.event_id: time.monotonic()}),
        threading.Event(),
    )
    time.sleep(2)
    subscriber.stop()
    latencies = {}
    while not subscriber.received.empty():
        record, at = subscriber.received.get()
        if record.topic == "recommendations":
            name = event_id(record.value)
            latencies.setdefault(name, (at - sent[name]) * 1000)
    counted = [latency for name, latency in latencies.items() if sent[name] - min(sent.values()) > WARM_UP]
    points = np.percentile(counted, [50, 95, 99])
    return {
        **{name: round(float(at), 1) for name, at in zip(("p50", "p95", "p99"), points, strict=True)},
        "answered": len(latencies) / len(sent),
    }


async def _bare_loop(broker: str, prefix: str) -> None:
    consumer = AIOKafkaConsumer(
        f"{prefix}listens", bootstrap_servers=broker, group_id=f"{prefix}bare", auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", linger_ms=0)
    await consumer.start()
    await producer.start()
    print(READY, flush=True)
    async for record in consumer:
        await producer.send(f"{prefix}recommendations", record.value, record.key, partition=record.partition)


if __name__ == "__main__":
    asyncio.run(_bare_loop(*sys.argv[1:]))
