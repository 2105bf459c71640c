"""Which partition a key belongs in: murmur2, as the Java client, kafkajs, aiokafka and kafka-python choose it."""

from functools import lru_cache

from kafka.partitioner.default import murmur2


@lru_cache(maxsize=65_536)
def partition_of(user_id: str, partitions: int) -> int:
    """The partition, of ``partitions`` in all, that holds everything of this user."""
    return int(murmur2(user_id.encode()) & 0x7FFFFFFF) % partitions
