"""What a node is told: its server.properties, and the two files that make a data folder Kafka's.

It knows no process. Paths are relative to the node's folder, so no path can break a properties file.
"""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamrec.localkafka.security import Security

CHECKPOINT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
"""What ``format`` writes for every node alike: which features the cluster starts with. No name or id is in it."""


@dataclass(frozen=True)
class Node:
    """A broker and controller in one process. Its folder holds server.properties, kafka.log and data/."""

    id: int
    folder: Path
    broker_port: int
    controller_port: int

    @property
    def name(self) -> str:
        return f"node-{self.id}"

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"


def server_properties(node: Node, nodes: Sequence[Node], partitions: int, security: Security | None = None) -> str:
    """The node's settings: everything replicated to up to three nodes, and an acknowledged write survives the loss of one."""
    listener = "SASL_SSL" if security else "PLAINTEXT"
    replicas = min(3, len(nodes))
    in_sync = 2 if replicas == 3 else 1
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in nodes),
        "listeners": f"{listener}://127.0.0.1:{node.broker_port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"{listener}://127.0.0.1:{node.broker_port}",
        "listener.security.protocol.map": f"{listener}:{listener},CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": listener,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
        "num.partitions": partitions,
        "auto.create.topics.enable": "false",  # a mistyped topic is an error, as it should be in production
        "unclean.leader.election.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 4,  # Kafka makes 50 before the first group can join
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,  # lets a test see a dead member soon
        "log.segment.bytes": 64 << 20,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "num.recovery.threads.per.data.dir": 1,
        **(security.server_settings() if security else {}),
    }
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    """For the right side of a line of a properties file, which is read as Latin-1 with escapes."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 and code != 92 else f"\\u{code:04x}" for code in codes)


def new_id() -> str:
    """A random id as Kafka writes it: 22 characters, none of which a command line takes for an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")


def format_data(node: Node, cluster_id: str, checkpoint: bytes) -> None:
    """Make the node's data folder one of Kafka's, as ``StorageTool format`` does, without the second that it takes."""
    path = node.data / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(checkpoint)
    identity = {"version": 1, "cluster.id": cluster_id, "node.id": node.id, "directory.id": new_id()}
    (node.data / "meta.properties").write_text("".join(f"{k}={v}\n" for k, v in identity.items()), encoding="ascii")


def cluster_id_of(node: Node) -> str:
    """The id that the node's data folder was formatted with."""
    lines = (node.data / "meta.properties").read_text(encoding="ascii").splitlines()
    return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))
