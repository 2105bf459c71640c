"""A session that a later one of its user has superseded stays superseded, also when its worker dies before it commits."""

from collections import Counter

import pytest
from msgspec.structs import replace

from chaos.strays import strays
from streamrec.core.types import Event
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings
from tests.integration.stand import wait_until
from tests.integration.stream import all_records, fresh_settings, send_all, some_events, wait_until_done

USERS, EVENTS = 60, 3000


@pytest.mark.timeout(600)
def test_superseded_stays_superseded_after_a_crash(kafka: LocalKafka, topic_prefix: str) -> None:
    """The first worker answers the newest of a backlog and is killed; the second one must answer nothing older."""
    settings = fresh_settings(kafka.bootstrap_servers, topic_prefix)
    with WorkerProcess(settings, "sessions") as worker:
        worker.wait_ready()
        send_all(events(), settings)
        wait_until(lambda: count(settings, "sessions") >= EVENTS, "sessions", 120)
    with WorkerProcess(settings.model_copy(update={"commit_interval_seconds": 60.0}), "recommend") as worker:
        worker.wait_ready()
        wait_until(lambda: count(settings, "recommendations") >= USERS, "recommendations", 60)
        worker.kill(9)
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        wait_until_done(settings, 120)
    records = all_records(settings, ["sessions", "recommendations"])
    by_topic = {topic: [each for each in records if each.topic == topic] for topic in ("sessions", "recommendations")}
    assert Counter(stray.user for stray in strays(by_topic["sessions"], by_topic["recommendations"])) == {}


def events() -> list[Event]:
    found = some_events(EVENTS // 2, USERS) * 2
    return [replace(each, event_id=f"e{number}") for number, each in enumerate(found)]


def count(settings: Settings, topic: str) -> int:
    return len(all_records(settings, [topic]))
