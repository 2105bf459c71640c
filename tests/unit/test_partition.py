"""The partition of a user: the one that Java's client, aiokafka and kafka-python choose."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import DefaultPartitioner as PythonPartitioner

from streamrec.eventlog.partition import partition_of

# From the tests of Apache Kafka's own client (UtilsTest.testMurmur2).
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


class Cluster:
    """A cluster of one topic."""

    def __init__(self, partitions: int) -> None:
        self._partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {"clicks"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self._partitions

    def available_partitions_for_topic(self, topic: str) -> set[int]:
        return self._partitions


@pytest.mark.parametrize("user_id", JAVA)
@pytest.mark.parametrize("partitions", [1, 2, 12, 2**31])
def test_the_partition_is_javas(user_id: str, partitions: int) -> None:
    assert partition_of(user_id, partitions) == (JAVA[user_id] & 0x7FFFFFFF) % partitions


@given(user_id=st.text(min_size=1, max_size=50), partitions=st.integers(1, 200))
def test_the_partition_is_that_of_aiokafka_and_kafka_python(user_id: str, partitions: int) -> None:
    key, everything = user_id.encode(), list(range(partitions))
    assert partition_of(user_id, partitions) == DefaultPartitioner()(key, everything, everything)
    assert partition_of(user_id, partitions) == PythonPartitioner().partition("clicks", None, key, None, None, Cluster(partitions))
