"""What is made once on a machine so that nodes start fast afterwards: archives of classes, and a formatted folder's checkpoint."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from streamrec.core.errors import UserError
from streamrec.localkafka import sealed
from streamrec.localkafka.config import CHECKPOINT, Node, new_id, server_properties
from streamrec.localkafka.guarded import Guarded
from streamrec.localkafka.java import Java
from streamrec.localkafka.jvm import Jvm, dump_base
from streamrec.localkafka.lastwords import last_words
from streamrec.localkafka.security import Security

CHECKPOINT_FILE, BASE, CLASSES = "checkpoint", "java", "classes"


@dataclass(frozen=True)
class Prepared:
    """A Java that starts as fast as it can for now, and the first checkpoint of every data folder."""

    jvm: Jvm
    checkpoint: bytes
    classes_key: str

    def keep(self, recorded: Path, cache: Path) -> None:
        """Use this archive of Kafka's classes from the next start on."""
        sealed.seal(recorded, cache, CLASSES, self.classes_key)


def prepare(java: Java, jars: tuple[Path, ...], cache: Path, guarded: Guarded, security: Security | None = None) -> Prepared:
    """Find in the cache what is there, and make the rest, but for Kafka's classes: these a node has to record.

    Raises:
        UserError: Java could not do it, with its last words.
    """
    folder = guarded.scratch / "prepare"
    folder.mkdir()
    key = _key(java, jars)
    base = sealed.find(cache, BASE, key)
    # With users in it a checkpoint is made each time: passwords do not belong in a cache.
    checkpoint = None if security else sealed.find(cache, CHECKPOINT_FILE, "plain")
    wants_base = base is None and not java.shares_classes
    if wants_base:
        _run(guarded, dump_base(java, folder / "base"), folder, "dump")
    if checkpoint is None:
        node = Node(1, folder, 9092, 9093)  # the ports are only written down; the checkpoint does not hold them
        (folder / "server.properties").write_text(server_properties(node, [node], 1), encoding="ascii")
        words = ["format", "-t", new_id(), "-c", "server.properties", *(security.format_words() if security else [])]
        _run(guarded, Jvm(java, jars).command("kafka.tools.StorageTool", *words), folder, "format")
    if wants_base:
        _wait(guarded, folder, "dump")
        base = sealed.seal(folder / "base", cache, BASE, key)
    if checkpoint is None:
        _wait(guarded, folder, "format")
        checkpoint = node.data / CHECKPOINT
        if not security:
            checkpoint = sealed.seal(checkpoint, cache, CHECKPOINT_FILE, "plain")
    classes_key = f"{key}.{base.name[-8:]}" if base else key  # on another base Java would ignore them
    archive = sealed.find(cache, CLASSES, classes_key)
    return Prepared(Jvm(java, jars, base, archive), checkpoint.read_bytes(), classes_key)


def _run(guarded: Guarded, command: list[str], folder: Path, name: str) -> None:
    guarded.start(name, command, folder, folder / f"{name}.log")


def _wait(guarded: Guarded, folder: Path, name: str) -> None:
    while (code := guarded.code(name)) is None:
        time.sleep(0.02)
    if code:
        said = last_words((folder / f"{name}.log").read_text(errors="replace"))
        raise UserError(f"Java failed ({code}) when it was to {name} for the first local Kafka on this machine: {said}")


def _key(java: Java, jars: tuple[Path, ...]) -> str:
    """Changes with everything that makes Java ignore an archive."""
    parts = [str(java.path), java.version, *(f"{jar}:{jar.stat().st_mtime_ns}" for jar in jars)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
