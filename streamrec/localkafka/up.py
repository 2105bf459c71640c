"""A local Kafka for people: it runs in the foreground until Ctrl-C."""

import time
from collections.abc import Callable
from pathlib import Path

from streamrec.localkafka.cluster import LocalKafka
from streamrec.localkafka.jars import Progress


def up(
    nodes: int = 1,
    port: int | None = None,
    data_dir: Path | None = None,
    *,
    say: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> None:
    """Start a cluster, say where it is, and end it at Ctrl-C.

    Args:
        port: of the first broker; by default free ones are picked.
        data_dir: keeps the data for the next time; by default they go with the cluster.

    Raises:
        UserError: it did not start, or a node ended by itself.
    """
    try:
        with LocalKafka(nodes, port=port, data_dir=data_dir, progress=progress) as kafka:
            say(kafka.bootstrap_servers)
            while True:
                kafka.check()
                time.sleep(1)
    except KeyboardInterrupt:
        pass
