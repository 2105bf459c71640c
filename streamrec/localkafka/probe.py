"""Says whether a cluster is usable: all its brokers known, a record produced and consumed in a group, every replica in sync.

It does not know how the nodes were started; ``still_there`` is asked while it waits.
"""

import logging
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

log = logging.getLogger(__name__)

PAUSE = 0.03
StillThere = Callable[[], None]
"""Raises when a node has ended, or the time is over."""


def wait_usable(cluster_id: str, addresses: Mapping[int, str], still_there: StillThere, client: Mapping[str, Any]) -> None:
    """Return when the nodes (id to ``host:port``) serve; what ``still_there`` raises passes through.

    Args:
        cluster_id: whose nodes they are. Another cluster may hold a port of ours, which ours then finds out too late.
        client: further settings of a client, such as its credentials.
    """
    for address in addresses.values():
        _until(partial(_answers, address), still_there)
    settings = {"bootstrap_servers": list(addresses.values()), "client_id": "streamrec-localkafka", **client}
    topic = f"localkafka-probe-{uuid.uuid4().hex[:12]}"
    _until(lambda: _serves(cluster_id, set(addresses), topic, settings), still_there)


def _serves(cluster_id: str, nodes: set[int], topic: str, settings: Mapping[str, Any]) -> bool:
    """One attempt, with clients of its own: kafka-python's keep what they learnt while brokers came and went."""
    # Short, for `still_there` to be asked often; kafka-python would wait half a minute for a node that has just died.
    admin = KafkaAdminClient(**settings, bootstrap_timeout_ms=3000, request_timeout_ms=5000)
    try:
        cluster = admin.describe_cluster()
        serving = {broker["broker_id"] for broker in cluster["brokers"] if not broker["is_fenced"]}
        # Equal, not only contained: until the others are seen to be gone, a new topic may still be given to them.
        if cluster["cluster_id"] != cluster_id or serving != nodes or not _in_sync(admin, nodes):
            return False
        with suppress(TopicAlreadyExistsError):  # an earlier attempt got this far
            admin.create_topics([NewTopic(topic, 1, min(3, len(nodes)))])
        if not _round_trip(topic, settings):
            return False
        admin.delete_groups([topic])
        admin.delete_topics([topic])
        return True
    finally:
        admin.close()


def _until(attempt: Callable[[], bool], still_there: StillThere) -> None:
    """Try until it succeeds; an error is "not yet"."""
    while True:
        still_there()
        try:
            if attempt():
                return
        except (KafkaError, OSError) as error:
            log.debug("not yet: %r", error)
        time.sleep(PAUSE)


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=1):
        return True


def _round_trip(topic: str, settings: Mapping[str, Any]) -> bool:
    """Produce a record and read it in a group: Kafka makes its own topic of offsets when it sees the first group."""
    producer = KafkaProducer(**settings, acks="all")
    try:
        producer.send(topic, b"probe").get(timeout=10)
    finally:
        producer.close()
    consumer = KafkaConsumer(topic, **settings, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        got = bool(consumer.poll(timeout_ms=10_000))
        consumer.commit()
        return got
    finally:
        consumer.close()


def _in_sync(admin: Any, nodes: set[int]) -> bool:
    """Whether each replica on one of these nodes is in sync; after a restart that takes a moment."""
    partitions = [partition for topic in admin.describe_topics() for partition in topic["partitions"]]
    return all(nodes & set(p["replica_nodes"]) <= set(p["isr_nodes"]) for p in partitions)
