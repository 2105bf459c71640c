"""The supervisor knows who ended by itself, and starts nobody who was told to stop."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from chaos.deployment import limit_files
from chaos.fleet import Fleet
from streamrec.settings import load_settings


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "all-1").mkdir()
    (tmp_path / "all-1" / "stand_in.py").write_text(
        "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"
    )
    made = Fleet(load_settings(), tmp_path, "together", ("stand_in",), print)
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def successor(fleet: Fleet, pid: int | None) -> Callable[[], bool]:
    return lambda: fleet.pid("all-1") not in (None, pid)


def test_a_sigkill_that_is_not_ours_is_counted(fleet: Fleet) -> None:
    fleet.want("all-1")
    first = fleet.pid("all-1")
    assert first is not None
    os.kill(first, signal.SIGKILL)  # as the system does when memory runs out
    until(successor(fleet, first))
    assert fleet.counts == {"ended by themselves": 1}
    second = fleet.pid("all-1")
    fleet.kill("all-1")
    until(successor(fleet, second))
    assert fleet.counts == {"ended by themselves": 1}


def test_who_was_told_to_stop_is_not_started_again_by_the_supervisor(fleet: Fleet) -> None:
    fleet.want("all-1")
    until(lambda: fleet.pid("all-1") is not None)
    fleet.terminate("all-1")
    assert fleet.wanted == []
    assert fleet.pid("all-1") is None
    fleet.want("all-1")
    assert fleet.pid("all-1") is not None


def test_a_full_disk_does_not_mind_that_a_process_has_ended() -> None:
    ended = Popen(["true"])
    ended.wait()
    limit_files(ended.pid, 1)
