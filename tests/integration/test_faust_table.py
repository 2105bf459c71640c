"""The table is what its changelog says, whoever wrote it, and says so as fast as Kafka can be read."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streamrec.localkafka import LocalKafka
from streamrec.worker.app import make_app
from streamrec.worker.table import ByteTable
from tests.integration.stand import Stand, open_stand


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path) as stand:
        stand.make("in", "out", "table")
        yield stand


def session(count: int) -> bytes:
    return json.dumps({"count": count, "applied": {}}).encode()


def table_of(stand: Stand) -> ByteTable:
    connection = {"bootstrap_servers": stand.kafka.bootstrap_servers}
    app = make_app(stand.prefix + "app", connection)
    return ByteTable(
        app,
        changelog=stand.prefix + "table",
        is_ahead=lambda held, read: json.loads(read)["count"] > json.loads(held)["count"],
        connection=connection,
    )


@pytest.mark.parametrize(("credulous", "counted"), [(False, 6), (True, 3)])
def test_the_late_write_of_a_worker_that_lost_the_partition_changes_nothing(stand: Stand, credulous: bool, counted: int) -> None:
    for count in (4, 5, 2):  # the last one comes from a worker that was stuck meanwhile
        stand.put("table", 0, b"k0-0", session(count))
    stand.start(credulous=credulous)
    stand.send([0])
    stand.await_outputs([0])
    assert [output["count"] for output in stand.outputs()] == [counted]


def test_a_table_holds_the_newest_value_of_each_key_and_no_deleted_one(stand: Stand) -> None:
    for n in range(500):
        stand.put("table", n % 2, b"k%d" % (n % 50), session(n))
    stand.put("table", 0, b"k48", None)
    table = table_of(stand)

    asyncio.run(table.load({0, 1}))

    assert table.loaded == 501
    assert table.sizes() == {0: 24, 1: 25}
    assert table.read(0, b"k48") is None
    assert table.read(1, b"k49") == session(499)


def test_only_what_somebody_else_wrote_to_is_read_again_after_a_rebalance(stand: Stand) -> None:
    for partition in (0, 1):
        stand.put("table", partition, b"k", session(1))
    table = table_of(stand)

    async def rebalance_twice() -> list[int]:
        await table.load({0, 1})
        read = [table.loaded]
        await table.load({0, 1})
        read.append(table.loaded)
        stand.put("table", 1, b"k", session(2))
        await table.load({0, 1})
        return [*read, table.loaded]

    assert asyncio.run(rebalance_twice()) == [2, 0, 2]
    assert table.read(1, b"k") == session(2)


def test_a_partition_that_was_lost_is_forgotten(stand: Stand) -> None:
    stand.put("table", 0, b"k", session(1))
    table = table_of(stand)

    async def lose_it() -> None:
        await table.load({0, 1})
        await table.load({1})

    asyncio.run(lose_it())
    assert table.sizes() == {1: 0}


def test_a_changelog_that_ends_in_a_transaction_marker_is_read_to_its_end(stand: Stand) -> None:
    async def write(transactions: int) -> None:
        producer: Any = AIOKafkaProducer(bootstrap_servers=stand.kafka.bootstrap_servers, transactional_id=stand.prefix)
        async with producer:
            for n in range(transactions):
                async with producer.transaction():
                    await producer.send_and_wait(stand.prefix + "table", key=b"k", value=session(n), partition=0)

    table = table_of(stand)

    async def load() -> None:
        await write(3)
        await table.load({0})

    asyncio.run(load())
    assert table.read(0, b"k") == session(2)
    assert table.loaded == 3
    assert stand.ends("table") == {0: 6, 1: 0}
