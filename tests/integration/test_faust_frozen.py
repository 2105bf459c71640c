"""A worker that is frozen for longer than its session timeout, and then goes on."""

import signal
import time

import pytest

from tests.integration.stand import Stand, wait_until

SESSION_TIMEOUT = 10


@pytest.mark.parametrize("mended", [True, False])
def test_a_worker_that_slept_sends_nothing_that_others_have_done(stand: Stand, mended: bool) -> None:
    sleeper = stand.start(work_seconds=0.01, mended=mended, freeze_at=40)  # the worst moment: one request is about to be written
    sleeper.says("Worker ready")
    stand.send(range(1000))
    wait_until(lambda: len(stand.outputs()) > 10, "some outputs")
    stand.start(mended=mended)
    wait_until(lambda: not stand.lost(range(1000)), "the other one to do the rest")
    done = len(stand.outputs())
    sleeper.process.send_signal(signal.SIGCONT)
    if mended:
        assert sleeper.ended() == 1
        assert "without a lease" in sleeper.log
        assert "ending at once" in sleeper.log
    else:
        wait_until(lambda: len(stand.outputs()) > done, "it to send what it had in hand")
    time.sleep(2)
    late = [output for output in stand.outputs()[done:] if output["pid"] == sleeper.process.pid]
    assert bool(late) is not mended


def test_a_short_sleep_is_no_reason_to_end(stand: Stand) -> None:
    worker = stand.start()
    worker.says("Worker ready")
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(SESSION_TIMEOUT / 4)
    worker.process.send_signal(signal.SIGCONT)
    stand.send(range(20))
    stand.await_outputs(range(20))
    assert worker.terminate() == 0


@pytest.mark.parametrize("mended", [True, False])
def test_a_worker_that_its_coordinator_does_not_answer_sends_nothing_that_others_have_done(stand: Stand, mended: bool) -> None:
    deaf = stand.start(work_seconds=0.05, mended=mended, deaf_at=20)  # with work in hand for longer than it is a member
    deaf.says("Worker ready")
    stand.send(range(1000))
    wait_until(lambda: len(stand.outputs()) > 30, "some outputs")
    stand.start(mended=mended)
    wait_until(lambda: not stand.lost(range(1000)), "the other one to do the rest", 60)
    time.sleep(3)
    if mended:
        assert "without a lease" in deaf.log
    late = 0
    for partition in range(2):
        who = [output["pid"] == deaf.process.pid for output in stand.outputs() if output["partition"] == partition]
        late += sum(who[who.index(False) :])
    assert bool(late) is not mended
