"""What happens to brokers."""

import shutil
import time
from contextlib import suppress
from random import Random

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from chaos.deployment import Deployment, Kind, limit_files
from streamrec.core.errors import UserError

BROKERS_DOWN_SECONDS = 30.0
FENCED_SECONDS = 12.0  # after so long without a heartbeat a broker is out of every set of in-sync replicas (Kafka's 9 s, and a bit)


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
    limit_files(deployment.kafka.pids[node], 1)
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
            with suppress(KafkaError):  # no answer in time: then it is done later, or not
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


KINDS: tuple[Kind, ...] = (
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
