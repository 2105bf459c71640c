"""Several apps in one process: they start, stop and fail as one, and say truly how they are."""

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamrec.localkafka import LocalKafka
from tests.integration.stand import Stand, Worker, open_stand, wait_until

SOURCES = ("in", "middle1", "middle2")
IDS = range(40)


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path) as stand:
        stand.make(*SOURCES, "out")
        yield stand


def start(stand: Stand, **options: Any) -> Worker:
    return stand.start("chain.py", prefix=stand.prefix, **options)


def ask(worker: Worker, path: str) -> tuple[int, Any]:
    found = wait_until(lambda: re.search(r"ops port (\d+);", worker.log), "the ops server")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_three_apps_in_one_process_pass_everything_on_and_stop_in_order(stand: Stand, stop: signal.Signals) -> None:
    worker = start(stand)
    wait_until(lambda: ask(worker, "readyz") == (200, {"ready": True, "reasons": []}), "the worker to be ready")
    stand.send(IDS)
    stand.await_outputs(IDS)
    worker.process.send_signal(stop)
    assert worker.ended(15) == 0
    for number, source in enumerate(SOURCES):
        assert stand.committed(f"app{number}", source) == stand.ends(source)
    assert not list(worker.cwd.iterdir()), "a worker writes nothing where it is started"
    assert "Traceback" not in worker.log


def test_where_one_app_fails_all_stop_and_what_they_did_is_committed(stand: Stand) -> None:
    stand.send(IDS)
    worker = start(stand, raise_at=20)
    assert worker.ended() == 1
    assert "WorkerFailed: ValueError: as asked" in worker.log
    assert stand.committed("app0", "in") == stand.ends("in")
    assert stand.committed("app2", "middle2")[0] == 10, "20 is the eleventh in its partition"


def test_a_signal_while_the_apps_start_ends_them(stand: Stand) -> None:
    worker = start(stand)
    worker.says("[^MendedApp]: Starting")
    assert worker.terminate() == 0


def test_an_event_that_is_never_done_makes_the_worker_ready_but_not_live(stand: Stand) -> None:
    stand.send(IDS)
    worker = start(stand, hold=4, patience=1.5)
    stand.await_outputs(IDS)
    _, said = wait_until(lambda: (answer := ask(worker, "livez"))[0] == 503 and answer, "the worker not to be live")
    assert re.fullmatch(rf"{stand.prefix}in\[0\]@2 has waited \d s for its outputs", said["reasons"][0])
    assert ask(worker, "readyz")[0] == 200
