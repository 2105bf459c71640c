"""A worker whose partitions get other leaders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from streamrec.localkafka import LocalKafka
from tests.integration.stand import Stand, open_stand, wait_until


@pytest.fixture
def stand(kafka3: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka3, topic_prefix, tmp_path, partitions=6) as stand:
        stand.make("in", "out")
        stand.make("table", cleanup_policy="compact")
        yield stand


def move_leaders(kafka: LocalKafka, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        partitions = admin.describe_topics([topic])[0]["partitions"]
        turned = {each["partition_index"]: [*each["replica_nodes"][1:], each["replica_nodes"][0]] for each in partitions}
        admin.alter_partition_reassignments({TopicPartition(topic, partition): nodes for partition, nodes in turned.items()})
        wanted = {partition: nodes[0] for partition, nodes in turned.items()}

        def moved() -> bool:
            admin.elect_leaders(0, [topic], raise_errors=False)
            return wanted == {
                each["partition_index"]: each["leader_id"] for each in admin.describe_topics([topic])[0]["partitions"]
            }

        wait_until(moved, "the leaders to move")
    finally:
        admin.close()


def test_a_rebalance_after_the_changelogs_leaders_moved_stalls_nobody(stand: Stand) -> None:
    first = stand.start()
    first.says("Worker ready")
    stand.send(range(60))
    stand.await_outputs(range(60))
    move_leaders(stand.kafka, stand.prefix + "table")  # the worker fetches nothing from it, so nobody tells it
    second = stand.start()
    second.says("Worker ready")
    wait_until(lambda: first.log.count("Worker ready") == 2, "the rebalance")
    stand.send(range(60, 120))
    stand.await_outputs(range(120))
    assert first.terminate() == second.terminate() == 0
