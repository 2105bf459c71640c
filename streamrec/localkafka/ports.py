"""Picks ports for the nodes, away from where they would be lost again."""

import random
import socket
from collections.abc import Iterable

# Below what Linux and macOS give to outgoing connections. In that range a port is easily taken while its node is down,
# even by a client that tries to reconnect to it: it then connects to itself, and the node cannot come back.
FIRST, LAST = 15000, 32000


def is_free(port: int) -> bool:
    """Whether nobody listens at this port of the loopback address now."""
    with socket.socket() as probe:
        # As Java does: a port that is only waiting for old connections to end counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """Ports that are free now; another process may be quicker, so be ready to pick again."""
    taken = set(avoid)
    picked: list[int] = []
    while len(picked) < count:
        port = random.randrange(FIRST, LAST)
        if port not in taken and is_free(port):
            taken.add(port)
            picked.append(port)
    return picked
