"""What Faust as released loses, and that the mends and the sentinel lose nothing of it. Each test also runs without its piece."""

from typing import Any

from tests.integration.stand import Stand, Worker, wait_until

BEFORE, DURING, AFTER = range(20), range(20, 420), range(420, 422)
ALL = range(AFTER.stop)
PER_KEY = {f"k{partition}-{n}": 30 for partition in (0, 1) for n in range(7)}  # of the first 420
# Time for the first events to be fetched before the seek, and again after it; most of them then wait in the agent's queue.
SLOW = {"slow_seek": 1.5, "work_seconds": 0.008}


def restart(stand: Stand, **faults: Any) -> Worker:
    """A worker has done the first events and stopped; many came meanwhile, and some when the next worker was ready."""
    stand.send(BEFORE)
    first = stand.start()
    stand.await_outputs(BEFORE)
    assert first.terminate() == 0
    stand.send(DURING)
    second = stand.start(**faults)
    second.says("Worker ready")
    stand.send(AFTER)
    stand.await_outputs(AFTER)
    return second


def test_faust_as_released_loses_what_was_fetched_during_the_seek_and_commits_over_it(stand: Stand) -> None:
    restart(stand, mended=False, sighted=False, **SLOW)
    assert len(stand.lost(ALL)) > 10
    wait_until(lambda: stand.committed() == stand.ends(), "everything to be committed")


def test_with_the_mend_nothing_is_fetched_before_the_seek_and_nothing_is_lost_or_done_twice(stand: Stand) -> None:
    worker = restart(stand, sighted=False, **SLOW)
    assert not stand.lost(ALL)
    assert len(stand.outputs()) == len(ALL)
    assert worker.terminate() == 0
    assert stand.committed() == stand.ends()


def test_the_sentinel_finds_what_unmended_faust_skipped_and_hands_it_over_in_order(stand: Stand) -> None:
    worker = restart(stand, mended=False, **SLOW)
    assert not stand.lost(ALL)
    worker.says("Faust skipped records")
    offsets: dict[int, list[int]] = {0: [], 1: []}
    for output in stand.outputs():
        offsets[output["partition"]].append(output["offset"])
    for seen in offsets.values():
        first_seen = list(dict.fromkeys(seen))
        assert first_seen == sorted(first_seen)


def test_a_rescale_under_load_counts_every_event_of_every_key_once(stand: Stand) -> None:
    stand.send(range(100))
    first = stand.start(work_seconds=0.002)
    first.says("Worker ready")
    second = stand.start(work_seconds=0.002)
    stand.send(range(100, 200))
    second.says("Worker ready")
    stand.send(range(200, 300))
    assert first.terminate() == 0
    stand.send(range(300, 420))
    stand.await_outputs(range(420))
    assert second.terminate() == 0
    assert {output["pid"] for output in stand.outputs()} == {first.process.pid, second.process.pid}
    assert len(stand.outputs()) == 420
    assert {key: session["count"] for key, session in stand.table().items()} == PER_KEY


def test_a_killed_worker_loses_nothing_and_its_table_counts_nothing_twice(stand: Stand) -> None:
    stand.send(range(200))
    first = stand.start(work_seconds=0.002)
    wait_until(lambda: len(stand.outputs()) > 50, "some outputs")
    first.kill()
    stand.send(range(200, 420))
    stand.start()
    stand.await_outputs(range(420))
    assert {key: session["count"] for key, session in stand.table().items()} == PER_KEY


def lost_in_the_first_rebalance(stand: Stand, **how: Any) -> list[int]:
    """Events that came during a rebalance of partitions without a commit, and had no output."""
    how |= {"sighted": False, "slow_drain": 1}
    first = stand.start(**how)
    first.says("Worker ready")
    second = stand.start(**how)
    first.says("Draining")
    stand.send(range(20))  # taken by a fetch that began in the old generation, and thrown away with it
    wait_until(lambda: first.log.count("Worker ready") == 2, "the end of the rebalance")
    second.says("Worker ready")
    stand.send(range(20, 22))
    stand.await_outputs(range(20, 22))
    return stand.lost(range(20))


def test_faust_as_released_loses_events_in_the_first_rebalance_of_a_partition_without_a_commit(stand: Stand) -> None:
    assert lost_in_the_first_rebalance(stand, mended=False)


def test_with_the_mend_they_are_not_lost(stand: Stand) -> None:
    assert not lost_in_the_first_rebalance(stand)
