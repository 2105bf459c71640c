"""A reader of ranges lets go of Kafka when it is told to, whatever its fetcher is doing at that moment."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from streamrec.localkafka import LocalKafka
from streamrec.worker.reader import stop_surely
from tests.integration.stand import Stand, open_stand


def test_a_consumer_whose_fetcher_swallows_the_cancellation_stops(kafka: LocalKafka, topic_prefix: str, tmp_path) -> None:
    with open_stand(kafka, topic_prefix, tmp_path) as stand:
        stand.make("in")
        asyncio.run(stop_right_after_unsubscribe(stand))


async def stop_right_after_unsubscribe(stand: Stand) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=stand.kafka.bootstrap_servers, group_id=None, enable_auto_commit=False)
    await consumer.start()
    partition = TopicPartition(stand.prefix + "in", 0)
    consumer.assign([partition])
    await consumer.getmany(partition, timeout_ms=100)  # its fetch of the empty partition is under way from now on
    consumer.unsubscribe()
    stopping = asyncio.ensure_future(stop_surely(consumer.stop(), consumer))
    stopped, _ = await asyncio.wait({stopping}, timeout=10)  # not wait_for: it cancels, which would hide the fault
    assert stopped
