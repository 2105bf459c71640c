"""What the worker emits is, byte for byte, what replay computes for the same log; however often it is stopped meanwhile."""

import itertools
import signal
from collections import Counter

import pytest

from streamrec.admin.client import connect_producer
from streamrec.build import build_recommender
from streamrec.core.types import Recommendation
from streamrec.core.wire import decode, encode
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.replay.audit import audit
from tests.integration.stream import POISON, all_records, audited, fresh_settings, send_all, some_events, wait_until_done

PARTITIONS = 12


@pytest.fixture(scope="module")
def settings(kafka: LocalKafka):
    """A deployment whose worker has taken in 1,500 events, with poison, retries and a misrouted one between them."""
    settings = fresh_settings(kafka.bootstrap_servers, "equal-")
    events = some_events(1500)
    log = [*events[:700], *POISON, *events[690:]]  # ten events twice, as a producer's retry would send them
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send_all(log, settings)
        send_to_wrong_partition(events[-1], settings)
        wait_until_done(settings)
    return settings


def send_to_wrong_partition(event, settings):
    """Under a key that fits into a request only compressed, which the worker's are not."""
    stray = encode(event).replace(event.event_id.encode(), b"x" * len(event.event_id))
    with connect_producer(settings, compression_type="gzip", max_request_size=4_000_000) as producer:
        for partition in (0, 1):
            topic = settings.topic_prefix + ("clicks" if event.event_type == "click" else "listens")
            producer.send(topic, key=b"k" * 600_000, value=stray, partition=partition).get(10)


def test_every_output_is_what_replay_computes(settings):
    found = audited(settings)
    assert found.events_lost == 0
    assert found.outputs_wrong == 0
    assert found.events_in == found.recommendations + found.superseded == 1501
    assert (found.dead_letters, found.dead_letters_missing) == (len(POISON), 0)


def test_no_slate_is_empty_or_holds_what_its_user_has_had(settings):
    had: dict[tuple, set] = {}
    for record in all_records(settings, ["recommendations"]):
        recommendation = decode(Recommendation, record.value)
        had.setdefault(recommendation.user_id, set()).update(recommendation.history)
        assert recommendation.items
        assert not {item.item_id for item in recommendation.items} & set(recommendation.history)


@pytest.mark.parametrize(
    ("topic", "fault", "counted"),
    [
        ("recommendations", "drop", "events_lost"),
        ("recommendations", "corrupt", "outputs_wrong"),
        ("explanations", "drop", "outputs_wrong"),
        ("explanations", "corrupt", "outputs_wrong"),
        ("sessions", "corrupt", "outputs_wrong"),
        ("dead-letters", "drop", "dead_letters_missing"),
        ("recommendations", "repeat", "duplicates"),
    ],
)
def test_the_audit_counts_what_is_planted(settings, topic, fault, counted):
    records = all_records(settings)
    sent = Counter((record.topic, record.value) for record in records)  # of what came twice, one may go
    place = max(number for number, each in enumerate(records) if each.topic == topic and sent[topic, each.value] == 1)
    planted = plant(records, place, fault)
    before = audit(records, build_recommender(settings), PARTITIONS)
    after = audit(planted, build_recommender(settings), PARTITIONS)
    assert getattr(after, counted) > getattr(before, counted)


def plant(records, place, fault):
    record = records[place]
    if fault == "drop":
        return [*records[:place], *records[place + 1 :]]
    if fault == "repeat":
        return [*records[: place + 1], record, *records[place + 1 :]]
    other = record._replace(value=record.value.replace(b"user-", b"USER-"))
    return [*records[:place], other, *records[place + 1 :]]


@pytest.mark.timeout(900)
def test_nothing_is_lost_when_the_worker_is_stopped_and_started_under_load(kafka3: LocalKafka, topic_prefix: str, pytestconfig):
    """`--events 20000 --restarts 5` is the long form; some restarts are in order, the others are crashes."""
    count, restarts = pytestconfig.getoption("--events"), pytestconfig.getoption("--restarts")
    settings = fresh_settings(kafka3.bootstrap_servers, topic_prefix)
    log = some_events(count, users=300)
    poison = itertools.cycle(POISON)
    log = [each for number, event in enumerate(log) for each in ((event, next(poison)) if number % 100 == 99 else (event,))]
    parts = [log[len(log) * n // (restarts + 1) : len(log) * (n + 1) // (restarts + 1)] for n in range(restarts + 1)]
    for number, part in enumerate(parts):
        with WorkerProcess(settings) as worker:
            if number == 0:
                worker.wait_ready()
            send_all(part, settings)
            if number == restarts:
                wait_until_done(settings, 240)
            elif number % 2:
                worker.kill(signal.SIGKILL)
    found = audited(settings)
    print(found)  # the long form is run for its figures
    assert found.events_lost == 0
    assert found.outputs_wrong == 0
    assert found.dead_letters == count // 100
    assert found.dead_letters_missing == 0
    assert found.events_in == count
