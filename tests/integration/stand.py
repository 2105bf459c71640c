"""A stand to try a worker on: its topics on a real Kafka, its processes, and what came out."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from streamrec.localkafka import LocalKafka

logging.getLogger("kafka").setLevel(logging.ERROR)
WORKERS = Path(__file__).parent / "workers"
ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """What the condition gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)
    return result


class Worker:
    """A process that runs a script of this folder, and its log."""

    def __init__(self, script: str, options: dict[str, Any], log: Path) -> None:
        self._log = log
        self.cwd = log.with_suffix(".cwd")
        self.cwd.mkdir()
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, WORKERS / script, json.dumps(options)],
                stdout=file,
                stderr=file,
                cwd=self.cwd,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        """Waits until the log has the text."""

        def heard() -> bool:
            if text in self.log:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode} before it said {text!r}:\n{self.log[-3000:]}"
            return False

        wait_until(heard, f"{text!r} in the log")

    def terminate(self, seconds: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)


class Stand:
    """Topics ``in``, ``out`` and ``table`` under a prefix, and workers on them."""

    def __init__(self, kafka: LocalKafka, prefix: str, folder: Path, partitions: int = 2) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.partitions = partitions
        self._folder = folder
        self._workers: list[Worker] = []
        self._readers: dict[str, tuple[Any, list[Any]]] = {}
        self._admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        self._producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

    def make(self, *names: str, partitions: int | None = None, **configs: str) -> None:
        """Makes topics; the configuration's dots are written as underscores."""
        configs = {name.replace("_", "."): value for name, value in configs.items()}
        topics = [self.prefix + name for name in names]
        self._admin.create_topics([NewTopic(topic, partitions or self.partitions, -1, topic_configs=configs) for topic in topics])
        self._admin.wait_for_topics(topics)

    def start(self, script: str = "counting.py", **options: Any) -> Worker:
        options = {
            "app_id": self.prefix + "app",
            "broker": self.kafka.bootstrap_servers,
            "source": [self.prefix + "in"],
            "outputs": self.prefix + "out",
            "table": self.prefix + "table",
        } | options
        worker = Worker(script, options, self._folder / f"worker{len(self._workers)}.log")
        self._workers.append(worker)
        return worker

    def send(self, ids: Iterable[int], partition: int | None = None, name: str = "in", **more: Any) -> None:
        """Sends an event for each id; keys repeat after seven."""
        for id_ in ids:
            at = id_ % self.partitions if partition is None else partition
            key, value = f"k{at}-{id_ // self.partitions % 7}", {"id": id_, **more}
            self._producer.send(self.prefix + name, key=key.encode(), value=json.dumps(value).encode(), partition=at)
        self._producer.flush()

    def put(self, name: str, partition: int, key: bytes, value: bytes | None) -> None:
        self._producer.send(self.prefix + name, key=key, value=value, partition=partition)
        self._producer.flush()

    def records(self, name: str) -> list[Any]:
        """Everything in a topic until now."""
        topic = self.prefix + name
        if name not in self._readers:
            consumer = KafkaConsumer(bootstrap_servers=self.kafka.bootstrap_servers, group_id=None)
            consumer.assign([TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))])
            consumer.seek_to_beginning()
            self._readers[name] = (consumer, [])
        consumer, found = self._readers[name]
        at = consumer.assignment()
        ends = consumer.end_offsets(at)
        while any(consumer.position(partition) < ends[partition] for partition in at):
            for records in consumer.poll(timeout_ms=200).values():
                found += records
        return found

    def outputs(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records("out")]

    def table(self) -> dict[str, dict[str, Any]]:
        """The last value of each key in the table's topic."""
        return {record.key.decode(): json.loads(record.value) for record in self.records("table")}

    def lost(self, ids: Iterable[int]) -> list[int]:
        """The ids without an output."""
        return sorted(set(ids) - {output["id"] for output in self.outputs()})

    def await_outputs(self, ids: Iterable[int]) -> None:
        wait_until(lambda: not self.lost(ids), "the outputs")

    def ends(self, name: str = "in") -> dict[int, int]:
        self.records(name)
        consumer, _ = self._readers[name]
        return {at.partition: end for at, end in consumer.end_offsets(consumer.assignment()).items()}

    def committed(self, group: str = "app", name: str = "in") -> dict[int, int]:
        found = self._admin.list_group_offsets(self.prefix + group)[self.prefix + group]
        return {at.partition: place.offset for at, place in found.items() if at.topic == self.prefix + name and place.offset >= 0}

    def close(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()
        for consumer, _ in self._readers.values():
            consumer.close()
        self._producer.close()
        self._admin.close()


@contextmanager
def open_stand(kafka: LocalKafka, prefix: str, folder: Path, partitions: int = 2) -> Iterator[Stand]:
    stand = Stand(kafka, prefix, folder, partitions)
    try:
        yield stand
    finally:
        stand.close()
