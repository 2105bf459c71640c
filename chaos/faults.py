"""The kinds of faults: each does something bad to a deployment, mends what nobody else would, and returns.

What follows (starting workers again, recovering) is the deployment's own business, and is what is measured. Adding a kind is adding
a function to KINDS.
"""

import resource
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from kafka import KafkaAdminClient, TopicPartition

from chaos.fleet import Fleet
from chaos.load import Load
from streamrec.core.errors import UserError
from streamrec.localkafka import LocalKafka
from streamrec.settings import Settings

READY_SECONDS = 90.0
BROKERS_DOWN_SECONDS = 30.0
FENCED_SECONDS = 12.0  # after so long without a heartbeat a broker is out of every set of in-sync replicas (Kafka's 9 s, and a bit)


class Deployment(NamedTuple):
    """What can be hurt."""

    kafka: LocalKafka
    nodes: tuple[int, ...]
    settings: Settings
    fleet: Fleet
    load: Load
    bundles: dict[str, Path]  # "first" (the one to begin with), "second" and "failing"


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
    deployment.fleet.terminate(random.choice(deployment.fleet.wanted))


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
    fleet.leave(*others)
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
        fleet.leave(name)
        fleet.terminate(name)
    if f"{role}-1" not in fleet.baseline:
        fleet.want(*others)
        await_ready(fleet)
        fleet.leave(f"{role}-1")
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
    names = [name for name in deployment.fleet.of_role("recommend") if deployment.fleet.pid(name)]
    end = time.monotonic() + random.uniform(10, 20)
    while time.monotonic() < end:
        deployment.fleet.pause(*names)
        time.sleep(0.45)
        deployment.fleet.resume(*names)
        time.sleep(0.05)


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
        _limit_files(pid, 1)
    time.sleep(random.uniform(5, 12))
    for pid in pids:
        _limit_files(pid, resource.RLIM_INFINITY)


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


def broker_kill(deployment: Deployment, random: Random) -> None:
    """SIGKILL to a broker; started again some seconds later."""
    node = random.choice(deployment.nodes)
    deployment.kafka.kill(node)
    time.sleep(random.uniform(0, 15))
    deployment.kafka.start(node)


def broker_restart(deployment: Deployment, random: Random) -> None:
    """SIGTERM to a broker, which hands its partitions over."""
    node = random.choice(deployment.nodes)
    deployment.kafka.terminate(node)
    deployment.kafka.start(node)


def broker_paused(deployment: Deployment, random: Random) -> None:
    """SIGSTOP to a broker: connected and silent."""
    node = random.choice(deployment.nodes)
    deployment.kafka.pause(node)
    time.sleep(random.uniform(5, 20))
    deployment.kafka.resume(node)


def brokers_down(deployment: Deployment, random: Random) -> None:
    """All brokers killed at once, back after 30 s."""
    for node in deployment.nodes:
        deployment.kafka.kill(node)
    time.sleep(BROKERS_DOWN_SECONDS)
    for node in deployment.nodes:
        deployment.kafka.start(node)


def cluster_restart(deployment: Deployment, random: Random) -> None:
    """Every broker restarted in order, one after the other."""
    for node in random.sample(deployment.nodes, len(deployment.nodes)):
        deployment.kafka.terminate(node)
        deployment.kafka.start(node)
        deployment.kafka.wait_ready()


def broker_disk_full(deployment: Deployment, random: Random) -> None:
    """A broker can write no more (a file-size limit of one byte), gives up, and comes back with room."""
    node = random.choice(deployment.nodes)
    _limit_files(deployment.kafka.pids[node], 1)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            deployment.kafka.check()
        except UserError:
            break
        time.sleep(0.2)
    deployment.kafka.kill(node)
    deployment.kafka.start(node)


def broker_disk_lost(deployment: Deployment, random: Random) -> None:
    """A broker dies and comes back with an empty disk; the quorum's own log, kept on another, stays."""
    node = random.choice(deployment.nodes)
    deployment.kafka.kill(node)
    time.sleep(FENCED_SECONDS)
    for path in (deployment.kafka.log(node).parent / "data").iterdir():
        if path.is_dir() and not path.name.startswith("__cluster_metadata"):
            shutil.rmtree(path)
        elif path.name.endswith("checkpoint"):
            path.unlink()
    deployment.kafka.start(node)


def leaders_moved(deployment: Deployment, random: Random) -> None:
    """Every partition gets another preferred leader, and is handed to it; offsets and groups, too."""
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka.bootstrap_servers, request_timeout_ms=15_000)
    try:
        for _ in range(2):
            replicas = {
                TopicPartition(topic["name"], each["partition_index"]): list(each["replica_nodes"])
                for topic in admin.describe_topics()
                for each in topic["partitions"]
            }
            admin.alter_partition_reassignments({at: [*nodes[1:], nodes[0]] for at, nodes in replicas.items()})
            admin.elect_leaders(0, raise_errors=False)
            time.sleep(random.uniform(1, 4))
    finally:
        admin.close()


def broker_and_worker(deployment: Deployment, random: Random) -> None:
    """A broker is killed while a worker joins."""
    fleet = deployment.fleet
    fleet.kill(random.choice(fleet.wanted))
    time.sleep(random.uniform(0, 5))
    node = random.choice(deployment.nodes)
    deployment.kafka.kill(node)
    time.sleep(random.uniform(3, 12))
    deployment.kafka.start(node)


Kind = Callable[[Deployment, Random], None]
KINDS: dict[str, Kind] = {
    function.__name__.replace("_", "-"): function
    for function in (
        kill_worker,
        kill_worker_for_long,
        terminate_worker,
        kill_while_joining,
        kill_all_workers,
        rolling_restart,
        rescale,
        zombie,
        slow_model,
        bundle_swap,
        failing_model,
        worker_disk_full,
        worker_disk_lost,
        flood,
        broker_kill,
        broker_restart,
        broker_paused,
        brokers_down,
        cluster_restart,
        broker_disk_full,
        broker_disk_lost,
        leaders_moved,
        broker_and_worker,
    )
}


def roll(deployment: Deployment, names: Sequence[str]) -> None:
    """SIGTERM and a new start for one after the other."""
    for name in names:
        deployment.fleet.leave(name)
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


def _use(deployment: Deployment, bundle: Path | None) -> None:
    fleet = deployment.fleet
    fleet.settings = fleet.settings.model_copy(update={"bundle": bundle})


def _limit_files(pid: int, size: int) -> None:
    """The largest file that the process may write, until it is told otherwise: what is beyond fails, as on a full disk."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
