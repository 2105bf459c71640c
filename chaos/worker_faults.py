"""What happens to workers and to what they are given."""

import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event

from chaos.deployment import Deployment, Kind, await_ready, limit_files, roll
from chaos.fleet import Fleet


def kill_worker(deployment: Deployment, random: Random) -> None:
    """SIGKILL; started again at once."""
    deployment.fleet.kill(random.choice(deployment.fleet.wanted))


def kill_worker_for_long(deployment: Deployment, random: Random) -> None:
    """SIGKILL; started again after the others have taken over."""
    name = random.choice(deployment.fleet.wanted)
    deployment.fleet.leave(name)
    deployment.fleet.kill(name)
    time.sleep(random.uniform(8, 16))
    deployment.fleet.want(name)


def terminate_worker(deployment: Deployment, random: Random) -> None:
    """SIGTERM; started again when it has stopped in order."""
    name = random.choice(deployment.fleet.wanted)
    deployment.fleet.terminate(name)
    deployment.fleet.want(name)


def kill_while_joining(deployment: Deployment, random: Random) -> None:
    """SIGKILL at any moment of the start, two or three times."""
    name = random.choice(deployment.fleet.wanted)
    for _ in range(random.randint(2, 3)):
        deployment.fleet.leave(name)
        deployment.fleet.kill(name)
        deployment.fleet.want(name)
        time.sleep(random.uniform(0, 6))
    deployment.fleet.kill(name)


def kill_all_workers(deployment: Deployment, random: Random) -> None:
    """SIGKILL to every worker at the same moment."""
    deployment.fleet.kill(*deployment.fleet.wanted)


def rolling_restart(deployment: Deployment, random: Random) -> None:
    """SIGTERM one after the other, the next when the one before is ready."""
    roll(deployment, deployment.fleet.wanted)


def rescale(deployment: Deployment, random: Random) -> None:
    """A role from one process to three and back, under a backlog."""
    fleet = deployment.fleet
    role = random.choice(("sessions", "recommend", "explain"))
    others = [name for name in fleet.of_role(role) if name != f"{role}-1"]
    fleet.want(f"{role}-1")
    fleet.terminate(*others)
    deployment.load.burst(random.randint(300, 900))
    time.sleep(random.uniform(0, 3))
    added = [f"{role}-{number}" for number in (2, 3)]
    fleet.want(*added)
    await_ready(fleet)
    deployment.load.burst(random.randint(100, 300))
    time.sleep(random.uniform(0, 3))
    for name in added:
        fleet.terminate(name)
    if f"{role}-1" not in fleet.baseline:
        fleet.want(*others)
        await_ready(fleet)
        fleet.terminate(f"{role}-1")
    fleet.want(*fleet.baseline)


def zombie(deployment: Deployment, random: Random) -> None:
    """A worker with much in hand is frozen (SIGSTOP) for longer than its session timeout, and goes on as if nothing had been."""
    name = random.choice(deployment.fleet.wanted)
    deployment.load.burst(random.randint(200, 600))
    time.sleep(random.uniform(0.5, 2.5))
    deployment.fleet.pause(name)
    time.sleep(deployment.settings.session_timeout_seconds * random.uniform(1.3, 2.2))
    deployment.fleet.resume(name)


def slow_model(deployment: Deployment, random: Random) -> None:
    """The processes that run the model get a tenth of a processor: stopped nine tenths of the time."""
    with _slowed(deployment.fleet):
        time.sleep(random.uniform(10, 20))


def rescale_while_slow(deployment: Deployment, random: Random) -> None:
    """With a slow model and a backlog another process joins and leaves: partitions move from workers with much in hand."""
    fleet = deployment.fleet
    added = "recommend-9"
    with _slowed(fleet):
        deployment.load.burst(random.randint(300, 900))
        time.sleep(random.uniform(0, 3))
        fleet.want(added)
        time.sleep(random.uniform(8, 16))
        fleet.terminate(added)
        time.sleep(random.uniform(2, 6))


@contextmanager
def _slowed(fleet: Fleet) -> Iterator[None]:
    names = [name for name in fleet.of_role("recommend") if fleet.pid(name)]
    over = Event()

    def stop_and_go() -> None:
        while not over.is_set():
            try:
                fleet.pause(*names)
                over.wait(0.45)
            finally:  # whatever happens here, nobody stays stopped
                fleet.resume(*names)
            over.wait(0.05)

    with ThreadPoolExecutor(1, thread_name_prefix="slowing") as threads:
        slowing = threads.submit(stop_and_go)
        try:
            yield
        finally:
            over.set()
        slowing.result()  # raises what went wrong


def bundle_swap(deployment: Deployment, random: Random) -> None:
    """A rolling restart of what runs the model, with another bundle."""
    first, second = deployment.bundles["first"], deployment.bundles["second"]
    _use(deployment, first if deployment.fleet.settings.bundle == second else second)
    roll(deployment, deployment.fleet.of_role("recommend"))


def failing_model(deployment: Deployment, random: Random) -> None:
    """A bundle whose model fails for every session of some length is rolled out, and rolled back."""
    good = deployment.fleet.settings.bundle
    for bundle in (deployment.bundles["failing"], good):
        _use(deployment, bundle)
        roll(deployment, deployment.fleet.of_role("recommend"))


def worker_disk_full(deployment: Deployment, random: Random) -> None:
    """No worker can write to its disk (a file-size limit of one byte), not even its log."""
    pids = [pid for name in deployment.fleet.wanted if (pid := deployment.fleet.pid(name))]
    for pid in pids:
        limit_files(pid, 1)
    time.sleep(random.uniform(5, 12))
    for pid in pids:
        limit_files(pid, resource.RLIM_INFINITY)


def worker_disk_lost(deployment: Deployment, random: Random) -> None:
    """Whatever the workers have on disk is deleted, and they are killed."""
    fleet = deployment.fleet
    names = fleet.wanted
    fleet.leave(*names)
    fleet.kill(*names)
    fleet.forget(*names)
    fleet.want(*names)


def flood(deployment: Deployment, random: Random) -> None:
    """A thousand events at once, and more."""
    deployment.load.burst(random.randint(1000, 2000))
    time.sleep(2)


def _use(deployment: Deployment, bundle: Path | None) -> None:
    fleet = deployment.fleet
    fleet.settings = fleet.settings.model_copy(update={"bundle": bundle})


KINDS: tuple[Kind, ...] = (
    kill_worker,
    kill_worker_for_long,
    terminate_worker,
    kill_while_joining,
    kill_all_workers,
    rolling_restart,
    rescale,
    zombie,
    slow_model,
    rescale_while_slow,
    bundle_swap,
    failing_model,
    worker_disk_full,
    worker_disk_lost,
    flood,
)
