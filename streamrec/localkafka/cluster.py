"""A real Apache Kafka on this machine: ``with LocalKafka() as kafka: kafka.bootstrap_servers``. No Docker, no installed Java.

What the nodes wrote goes with them, unless they are given a data folder. However this process ends, the nodes end too.
"""

import signal
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from streamrec.core.errors import UserError
from streamrec.localkafka import jars
from streamrec.localkafka.config import Node, cluster_id_of, format_data, new_id, server_properties
from streamrec.localkafka.guarded import Guarded
from streamrec.localkafka.java import find_java
from streamrec.localkafka.lastwords import last_words
from streamrec.localkafka.ports import free_ports, is_free
from streamrec.localkafka.prepare import prepare
from streamrec.localkafka.security import Security

ATTEMPTS = 5
PAUSE = 0.02
ENDED_IN_ORDER = (0, 128 + signal.SIGTERM)


class NodeEnded(UserError):
    """A node ended while it was waited for; the text says why."""


class LocalKafka:
    """One Kafka node or several, each a broker and controller in a process of its own.

    With three nodes everything has three replicas and two must have a write: one may die, and nothing acknowledged is lost.
    Safe to use from several threads; installs no signal handler.

    Args:
        nodes: how many; 1 and 3 are the useful numbers.
        data_dir: keeps the data here, for the next ``LocalKafka`` with this folder; by default they are temporary.
        partitions: of a topic that does not say how many.
        port: of the first broker, the next ones following; by default free ones are picked, and picked anew when lost.
        cache: where the jars lie, by default ``jars.default_cache()``.
        security: TLS, passwords and ACLs for the brokers; by default everybody on this machine may do everything.
        progress: told about each jar that had to be fetched.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        data_dir: Path | None = None,
        partitions: int = 4,
        port: int | None = None,
        cache: Path | None = None,
        security: Security | None = None,
        progress: jars.Progress | None = None,
    ) -> None:
        if nodes < 1:
            raise UserError(f"a local Kafka needs at least one node, not {nodes}")
        self._count = nodes
        self._data_dir = data_dir
        self._partitions = partitions
        self._port = port
        self._cache = (cache or jars.default_cache()).resolve()
        self._security = security
        self._progress = progress
        self._nodes: dict[int, Node] = {}
        self._pids: dict[int, int] = {}
        self._serving: set[int] = set()
        self._log_starts: dict[int, int] = {}
        self._record: Path | None = None
        self._guarded: Guarded | None = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """All brokers, as clients want them: ``127.0.0.1:p1,127.0.0.1:p2,…``."""
        return ",".join(f"127.0.0.1:{node.broker_port}" for node in self._nodes.values())

    @property
    def pids(self) -> dict[int, int]:
        """The process of each node that was started and not ended by ``kill`` or ``terminate``."""
        return dict(self._pids)

    @property
    def serving(self) -> frozenset[int]:
        """The nodes that were started, and neither ended nor paused by a call."""
        return frozenset(self._serving)

    def log(self, node: int) -> Path:
        """What the node says about itself."""
        return self._nodes[node].log

    def launch(self) -> None:
        """Start all nodes and return when they are usable; ``with`` does this.

        Raises:
            UserError: no Java, no network for the jars, a taken port, or a node that does not start (with its reason).
        """
        java, files = find_java(), jars.fetch(self._cache, self._progress)
        self._guarded = Guarded()
        try:
            self._prepared = prepare(java, files, self._cache, self._guarded, self._security)
            if self._prepared.jvm.archive is None:
                self._record = self._guarded.scratch / "classes"
            for attempt in range(ATTEMPTS):
                self._lay_out()
                try:
                    for node in self._nodes:
                        self.start(node)
                    return self.wait_ready()
                except NodeEnded as ended:
                    for node in self._nodes:
                        self.kill(node)
                    if attempt == ATTEMPTS - 1 or "Address already in use" not in str(ended):
                        raise
        except BaseException:
            self._guarded.close()
            raise

    def wait_ready(self, timeout: float = 90) -> None:
        """Return when every node that runs serves, a record went in and out, and all replicas there are in sync.

        Raises:
            UserError: not within ``timeout`` seconds, or a node has ended.
        """
        from streamrec.localkafka.probe import wait_usable  # 0.3 s of kafka-python, while the nodes start

        deadline = time.monotonic() + timeout

        def still_there() -> None:
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"the local Kafka was not ready within {timeout:.0f} s{self._where}")

        addresses = {i: f"127.0.0.1:{self._nodes[i].broker_port}" for i in sorted(self.serving)}
        client = self._security.client(self._security.superuser) if self._security else {}
        wait_usable(cluster_id_of(self._nodes[1]), addresses, still_there, client)

    def check(self) -> None:
        """Nothing, while the nodes that should run do.

        Raises:
            NodeEnded: one of them ended by itself; the text says why.
        """
        for i in self.serving:
            if (code := self._code(i)) is not None:
                output = self._nodes[i].log.read_bytes()[self._log_starts[i] :].decode(errors="replace")
                raise NodeEnded(f"Kafka's node {i} ended with {code}: {last_words(output)}{self._where}")

    def start(self, node: int) -> None:
        """Start a node that has ended, with the data that it had; ``wait_ready`` waits until it is back."""
        place = self._nodes[node]
        if node in self._pids and self._code(node) is None:
            raise UserError(f"Kafka's node {node} runs already")
        self._log_starts[node] = place.log.stat().st_size if place.log.exists() else 0
        # The folder is named so that one sees in `ps` whose node it is.
        options = ("-Xms128m", "-Xmx512m" if self._count == 1 else "-Xmx384m", f"-Dstreamrec.folder={place.folder}")
        record = self._record if node == 1 else None
        command = self._prepared.jvm.command("kafka.Kafka", "server.properties", options=options, record=record)
        self._pids[node] = self._guard.start(place.name, command, place.folder, place.log)
        self._serving.add(node)

    def kill(self, node: int) -> None:
        """End a node at once, as a crash would (SIGKILL)."""
        self._ask_to_end(node, signal.SIGKILL)
        self._wait_end(node, timeout=30)

    def terminate(self, node: int, timeout: float = 30) -> None:
        """End a node in order (SIGTERM): it hands its partitions over first. After ``timeout`` seconds it is killed."""
        self._ask_to_end(node, signal.SIGTERM)
        self._wait_end(node, timeout)

    def pause(self, node: int) -> None:
        """Stop a node where it is (SIGSTOP): connected but silent, as in a long garbage collection.

        After some 10 s the others take its partitions over. If it was the active controller, they can create topics only after
        30 s more, for which each waits for its last answer; so long ``wait_ready`` takes, too.
        """
        self._serving.discard(node)
        self._guard.send(self._nodes[node].name, signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on (SIGCONT)."""
        self._guard.send(self._nodes[node].name, signal.SIGCONT)
        self._serving.add(node)

    def stop(self) -> None:
        """End all nodes: in order if their data stay, at once if not. Twice is once."""
        if self._guarded is None:
            return
        try:
            with suppress(UserError):  # its guard has ended, or another thread was quicker
                if self._data_dir:
                    self._end_in_order()
                elif self._record and 1 in self._serving:
                    self.terminate(1)
        finally:
            self._guarded.close()

    @property
    def _guard(self) -> Guarded:
        if self._guarded is None:
            raise UserError("this local Kafka was not launched")
        return self._guarded

    @property
    def _where(self) -> str:
        return f"; its output is in {self._data_dir}/node-*/kafka.log" if self._data_dir else ""

    @property
    def _home(self) -> Path:
        return self._data_dir.resolve() if self._data_dir else self._guard.scratch

    def _code(self, node: int) -> int | None:
        return self._guard.code(self._nodes[node].name)

    def _ask_to_end(self, node: int, number: int) -> None:
        self._serving.discard(node)
        self._guard.send(self._nodes[node].name, number)
        self._guard.send(self._nodes[node].name, signal.SIGCONT)  # a paused one would not hear it

    def _wait_end(self, node: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while (code := self._code(node)) is None:
            if time.monotonic() > deadline:
                self._guard.send(self._nodes[node].name, signal.SIGKILL)
            time.sleep(PAUSE)
        self._pids.pop(node, None)
        if node == 1 and self._record and code in ENDED_IN_ORDER and self._record.exists():
            self._prepared.keep(self._record, self._cache)
            self._record = None

    def _end_in_order(self) -> None:
        running = list(self._pids)
        for node in running:
            self._ask_to_end(node, signal.SIGTERM)
        for node in running:
            self._wait_end(node, timeout=15)

    def _lay_out(self) -> None:
        """Choose ports and write each node's folder; data that are there stay."""
        ports = self._choose_ports()
        self._nodes = {
            i: Node(i, self._home / f"node-{i}", ports[i - 1], ports[self._count + i - 1]) for i in range(1, self._count + 1)
        }
        there = sorted(self._home.glob("node-*/data/meta.properties"))
        if there and len(there) != self._count:
            raise UserError(f"{self._home} holds the data of {len(there)} nodes, not {self._count}: take another folder")
        cluster_id = new_id()
        for node in self._nodes.values():
            node.folder.mkdir(parents=True, exist_ok=True)
            settings = node.folder / "server.properties"
            settings.touch(mode=0o600)  # with `security` a password is in it
            properties = server_properties(node, list(self._nodes.values()), self._partitions, self._security)
            settings.write_text(properties, encoding="ascii")
            if self._security:
                self._security.place(node.folder)
            if not there:
                format_data(node, cluster_id, self._prepared.checkpoint)

    def _choose_ports(self) -> list[int]:
        """The brokers' ports, then the controllers'."""
        if self._port is None:
            return free_ports(2 * self._count)
        fixed = list(range(self._port, self._port + self._count))
        for port in fixed:
            if not is_free(port):
                raise UserError(f"port {port} is taken: choose another one")
        return fixed + free_ports(self._count, avoid=fixed)
