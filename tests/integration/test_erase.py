"""`streamrec erase` on a real Kafka: the user's bytes are gone from every compacted topic, and replay says what is served."""

import json
import subprocess
import sys
import time

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from msgspec.structs import replace

from streamrec.admin.client import connect_producer
from streamrec.build import build_recommender
from streamrec.core.types import Event
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.replay.engine import Replay
from streamrec.replay.order import as_recorded
from streamrec.settings import Settings
from tests.integration.stand import wait_until
from tests.integration.stream import all_records, audited, fresh_settings, send_all, some_events, wait_until_done

GONE, STAYS, BACK = "erase-me-7c1f", "stays-here", "comes-back-5a"
COMPACTED = ("sessions", "recommendations", "explanations")
QUICK = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "0",
    "file.delete.delay.ms": "100",
}


def run(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    variables = [f"STREAMREC_BROKER={settings.broker}", f"STREAMREC_TOPIC_PREFIX={settings.topic_prefix}"]
    command = ["/usr/bin/env", *variables, sys.executable, "-m", "streamrec", "erase", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def events_of(user: str, start: int) -> list[Event]:
    return [replace(each, user_id=user, event_id=f"{user}-{start}-{n}") for n, each in enumerate(some_events(12))]


@pytest.mark.timeout(600)
def test_an_erased_user_is_gone_from_every_topic_that_is_compacted(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    compact_at_once(settings)
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send_all([each for user in (GONE, STAYS, BACK) for each in events_of(user, 0)], settings)
        wait_until_done(settings)
        held = {topic: all_records(settings, [topic]) for topic in COMPACTED}
        assert all(any(GONE.encode() in (each.value or b"") for each in records) for records in held.values())
        for user in (GONE, BACK):
            done = run(settings, user, "--yes", "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["done"] == dict.fromkeys(COMPACTED, True)
        send_all(events_of(BACK, 1)[:3], settings)
        wait_until_done(settings)
        served = newest(settings)
        assert {key for _, key in served if served[_, key] is not None} == {STAYS.encode(), BACK.encode()}
        # what was erased must not come back with a worker that reads its table anew
        worker.kill(9)
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send_all(events_of(STAYS, 1)[:1], settings)
        wait_until_done(settings)

    records = all_records(settings)
    without = [each for each in records if each.key != GONE.encode()]
    emitted = replayed(settings, without)
    served = newest(settings)
    assert {place: value for place, value in served.items() if value is not None} == emitted
    assert replayed(settings, records) == emitted

    wait_until(lambda: compacted(settings), "compaction", 240)
    assert {place: value for place, value in newest(settings).items() if place[1] in (STAYS.encode(), BACK.encode())} == emitted


def test_the_audit_holds_with_erasures_redeliveries_and_latecomers_among_the_events(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    events = some_events(600, users=12)
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        for number in range(6):
            send_all(events[number * 100 : number * 100 + 100], settings)
            run(settings, f"user-{number}", "--yes", "--wait", "0")
            if number == 2:
                worker.kill(9)
                break
    with WorkerProcess(settings):
        for number in range(3, 6):
            send_all(events[number * 100 - 20 : number * 100 + 100], settings)
            run(settings, f"user-{number}", "--yes", "--wait", "0")
        wait_until_done(settings)
    found = audited(settings)
    assert found.events_lost == 0
    assert found.outputs_wrong == 0
    assert found.recommendations > 100


def test_without_a_worker_the_erasure_waits_and_says_so(kafka: LocalKafka, topic_prefix: str) -> None:
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    done = run(settings, "nobody", "--yes", "--wait", "1")
    assert done.returncode == 1
    assert "is a worker running?" in done.stderr
    assert run(settings, "x" * 257, "--yes").returncode == 2


def compact_at_once(settings: Settings) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.broker)
    topics = [settings.topic_prefix + topic for topic in COMPACTED]
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, QUICK) for topic in topics])
    admin.close()


def compacted(settings: Settings) -> bool:
    """Whether no byte of the user is left. It writes a little: only a segment that is written to is rolled, and then cleaned."""
    with connect_producer(settings) as producer:
        for topic in COMPACTED:
            for partition in range(12):
                producer.send(settings.topic_prefix + topic, key=b"roller", value=None, partition=partition)
        producer.flush()
    time.sleep(1)
    left = [each for each in all_records(settings, COMPACTED) if GONE.encode() in repr(each).encode()]
    return not left


def newest(settings: Settings) -> dict[tuple[str, bytes | None], bytes | None]:
    return {(each.topic, each.key): each.value for each in all_records(settings, COMPACTED)}


def replayed(settings: Settings, records: list) -> dict[tuple[str, bytes | None], bytes | None]:
    """What replay says is served in the end; a tombstone is nothing."""
    recorded = as_recorded([each for each in records if each.topic in ("items", "clicks", "listens", "sessions")])
    engine = Replay(build_recommender(settings), 12, settings.output_format, recorded.catalogue, recorded.initial)
    emitted = engine.run(recorded.inputs)
    found = {(each.topic, each.key): each.value for each in emitted if each.topic in COMPACTED}
    return {place: value for place, value in found.items() if value is not None}
