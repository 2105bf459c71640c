"""What Faust as released loses, and that the mends and the sentinel lose nothing of it. Each test also runs without its piece."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.localkafka import LocalKafka
from tests.integration.stand import Stand, open_stand, wait_until

BEFORE, ALL = range(20), range(420)
SLOW = {"slow_seek": 0.5, "work_seconds": 0.004}  # events that are fetched during the seek wait in the agent's queue


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path) as stand:
        stand.make("in", "out")
        stand.make("table", cleanup_policy="compact")
        yield stand


def stopped_in_the_middle(stand: Stand) -> None:
    """A worker has done the first events and stopped; the others wait for the next worker."""
    stand.send(BEFORE)
    first = stand.start()
    stand.await_outputs(BEFORE)
    assert first.terminate() == 0
    stand.send(ALL[len(BEFORE) :])


def test_faust_as_released_loses_what_was_fetched_during_the_seek(stand: Stand) -> None:
    stopped_in_the_middle(stand)
    stand.start(mended=False, sighted=False, **SLOW)
    wait_until(lambda: stand.committed() == stand.ends(), "everything to be committed")
    assert len(stand.lost(ALL)) > 20


def test_with_the_mend_nothing_is_fetched_before_the_seek_and_nothing_is_lost_or_done_twice(stand: Stand) -> None:
    stopped_in_the_middle(stand)
    worker = stand.start(sighted=False, **SLOW)
    stand.await_outputs(ALL)
    assert len(stand.outputs()) == len(ALL)
    assert worker.terminate() == 0
    assert stand.committed() == stand.ends()


def test_the_sentinel_finds_what_unmended_faust_skipped_and_hands_it_over_in_order(stand: Stand) -> None:
    stopped_in_the_middle(stand)
    worker = stand.start(mended=False, **SLOW)
    stand.await_outputs(ALL)
    worker.says("Faust skipped records")
    assert f"topic={stand.prefix}in" in worker.log
    offsets: dict[int, list[int]] = {0: [], 1: []}
    for output in stand.outputs():
        offsets[output["partition"]].append(output["offset"])
    for seen in offsets.values():
        first_seen = list(dict.fromkeys(seen))
        assert first_seen == sorted(first_seen)


def test_a_rescale_under_load_counts_every_event_of_every_key_once(stand: Stand) -> None:
    stand.send(ALL[:100])
    first = stand.start(work_seconds=0.002)
    first.says("Worker ready")
    second = stand.start(work_seconds=0.002)
    stand.send(ALL[100:200])
    second.says("Worker ready")
    stand.send(ALL[200:300])
    assert first.terminate() == 0
    stand.send(ALL[300:])
    stand.await_outputs(ALL)
    assert second.terminate() == 0
    assert {output["pid"] for output in stand.outputs()} == {first.process.pid, second.process.pid}
    assert len(stand.outputs()) == len(ALL)
    assert {key: session["count"] for key, session in stand.table().items()} == {f"k{p}-{n}": 30 for p in (0, 1) for n in range(7)}


def test_a_killed_worker_loses_nothing_and_its_table_counts_nothing_twice(stand: Stand) -> None:
    stand.send(ALL[:200])
    first = stand.start(work_seconds=0.002)
    wait_until(lambda: len(stand.outputs()) > 50, "some outputs")
    first.kill()
    stand.send(ALL[200:])
    stand.start()
    stand.await_outputs(ALL)
    assert {key: session["count"] for key, session in stand.table().items()} == {f"k{p}-{n}": 30 for p in (0, 1) for n in range(7)}
