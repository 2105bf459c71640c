"""What can be hurt, and what faults have in common."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from chaos.fleet import Fleet
from chaos.ledger import Ledger
from chaos.load import Clock, Load, Sending
from chaos.watch import Watch
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings

READY_SECONDS = 90.0


class Deployment(NamedTuple):
    """Brokers, workers and their load."""

    kafka: LocalKafka
    nodes: tuple[int, ...]
    settings: Settings
    fleet: Fleet
    load: Load
    bundles: dict[str, Path]  # "first" (the one to begin with), "second" and "failing"
    ledger: Ledger
    watch: Watch
    clock: Clock  # by which the load's events happen
    more_load: Callable[[int], Iterator[Sending]]  # from a seed, for whoever sends records of its own
    items: tuple[str, ...]  # ids of the catalogue


Kind = Callable[[Deployment, Random], None]


def roll(deployment: Deployment, names: Sequence[str]) -> None:
    """SIGTERM and a new start for one after the other."""
    for name in names:
        deployment.fleet.terminate(name)
        deployment.fleet.want(name)
        await_ready(deployment.fleet)


def await_ready(fleet: Fleet, seconds: float = READY_SECONDS) -> bool:
    """Waits until all that is wanted is ready; False where that takes too long."""
    end = time.monotonic() + seconds
    while fleet.not_ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True


def limit_files(pid: int, size: int) -> None:
    """The largest file that the process may write, until it is told otherwise: what is beyond fails, as on a full disk.

    A process that has ended meanwhile is none of its business.
    """
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
