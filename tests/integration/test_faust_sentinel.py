"""Gaps that lost nothing are no losses, and what is gone for good is named. That losses are found: test_faust_losses.py."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient

from streamrec.localkafka import LocalKafka
from streamrec.worker.reader import Reader
from tests.integration.stand import Stand, open_stand


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path, partitions=1) as stand:
        stand.make("out", "table")
        yield stand


async def send_in_transactions(stand: Stand, ids: range) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=stand.kafka.bootstrap_servers, transactional_id=stand.prefix)
    async with producer:
        for id_ in ids:
            async with producer.transaction():
                await producer.send_and_wait(stand.prefix + "in", key=b"k", value=json.dumps({"id": id_}).encode())


def test_transaction_markers_are_no_losses_and_are_committed_past(stand: Stand) -> None:
    stand.make("in")
    asyncio.run(send_in_transactions(stand, range(10)))
    worker = stand.start()
    stand.await_outputs(range(10))
    asyncio.run(send_in_transactions(stand, range(10, 20)))
    stand.await_outputs(range(20))
    assert worker.terminate() == 0
    assert "skipped" not in worker.log
    assert [output["offset"] for output in stand.outputs()] == list(range(0, 40, 2))
    assert stand.committed() == {0: 39}, "the offset after the last event; only its marker follows"


def test_records_that_retention_took_before_they_were_read_are_named(stand: Stand) -> None:
    stand.make("in")
    stand.send(range(5))
    first = stand.start()
    stand.await_outputs(range(5))
    first.terminate()
    stand.send(range(5, 10))
    admin = KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(stand.prefix + "in", 0): 8})
    admin.close()
    second = stand.start()
    stand.await_outputs([8, 9])
    second.says("retention took these offsets before they were read")
    assert "start=5" in second.log
    assert "end=8" in second.log


def test_a_reader_gives_the_range_and_no_more(stand: Stand) -> None:
    stand.make("in")
    stand.send(range(10))
    partition = TopicPartition(stand.prefix + "in", 0)

    async def read() -> list[int]:
        async with Reader({"bootstrap_servers": stand.kafka.bootstrap_servers}) as reader:
            assert await reader.extents([partition]) == {partition: (0, 10)}
            assert len(await reader.first(partition, 0, 10, 1)) >= 1
            return [record.offset async for records in reader.read({partition: (3, 7)}) for record in records]

    assert asyncio.run(read()) == [3, 4, 5, 6]
