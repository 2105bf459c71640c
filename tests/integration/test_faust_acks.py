"""No input is committed before its outputs are confirmed and all before it is done. Each test also runs without its piece."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamrec.localkafka import LocalKafka
from tests.integration.stand import Stand, open_stand, wait_until

FIRST, REST = range(10), range(10, 60)  # what is committed already, and what comes then
HELD = 10  # stands exactly at the committed offset
TOO_LARGE = "x" * 3000


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path, partitions=1) as stand:
        stand.make("in")
        yield stand


def killed_with_one_event_undone(stand: Stand, **how: Any) -> None:
    stand.make("out", "table")
    stand.send(FIRST)
    worker = stand.start(hold=HELD, awaited=["output"], **how)
    wait_until(lambda: stand.committed() == {0: len(FIRST)}, "the first events to be committed")
    stand.send(REST)
    stand.await_outputs(REST)
    before = len(stand.outputs())
    if not how:
        stand.send(range(60, 61))
        stand.await_outputs(range(61))
    else:
        wait_until(lambda: stand.committed() == stand.ends(), "everything to be committed")
    worker.kill()
    assert before == 60


def outputs_of_the_next_worker(stand: Stand) -> set[int]:
    done = len(stand.outputs())
    stand.start()
    stand.send(range(99, 100))
    stand.await_outputs([99])
    return {output["id"] for output in stand.outputs()[done:]}


def test_an_event_whose_outputs_are_not_confirmed_comes_again_though_later_ones_were_done(stand: Stand) -> None:
    killed_with_one_event_undone(stand)
    assert stand.committed() == {0: HELD}
    assert outputs_of_the_next_worker(stand) >= {HELD, *REST}


def test_faust_as_released_commits_over_an_undone_event_at_the_committed_offset(stand: Stand) -> None:
    killed_with_one_event_undone(stand, mended=False, in_order=False)
    assert outputs_of_the_next_worker(stand) == {99}


@pytest.mark.parametrize("refused", ["out", "table"])
def test_a_write_that_kafka_refuses_stops_the_process_and_its_input_comes_again(stand: Stand, refused: str) -> None:
    stand.make(refused, max_message_bytes="2000")
    stand.make("table" if refused == "out" else "out")
    stand.send(FIRST)
    worker = stand.start()
    stand.await_outputs(FIRST)
    stand.send([HELD], padding=TOO_LARGE)
    assert worker.ended() == 1
    assert f"input={stand.prefix}in[0]@{HELD}" in worker.log
    assert "MessageSizeTooLarge" in worker.log
    assert stand.committed() == {0: HELD}


def test_without_waiting_for_the_changelog_a_refused_table_write_is_committed_over(stand: Stand) -> None:
    stand.make("table", max_message_bytes="2000")
    stand.make("out")
    stand.send([HELD], padding=TOO_LARGE)
    worker = stand.start(awaited=["output"])
    wait_until(lambda: stand.committed() == {0: 1}, "everything to be committed")
    assert worker.terminate() == 0
    assert not stand.records("table")


def test_an_agent_that_raises_stops_the_process_and_its_event_comes_again(stand: Stand) -> None:
    stand.make("out", "table")
    stand.send([*FIRST, *REST])
    worker = stand.start(raise_at=HELD)
    assert worker.ended() == 1
    assert "no idea what to do with 10" in worker.log
    assert stand.committed() == {0: HELD}
    stand.start()
    stand.await_outputs([*FIRST, *REST])


def test_sigterm_does_not_wait_for_ever_for_an_event_that_is_never_done(stand: Stand) -> None:
    stand.make("out", "table")
    stand.send([*FIRST, *REST])
    worker = stand.start(hold=HELD, drain_timeout=1.0)
    stand.await_outputs([*FIRST, *REST])
    assert worker.terminate() == 0
    assert f"50 events are not done and will come again: ['{stand.prefix}in[0]@{HELD}'" in worker.log
    assert stand.committed() == {0: HELD}
