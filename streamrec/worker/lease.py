"""A worker writes only while its group has surely not given its partitions away.

The group takes a member for dead whose heartbeats it has not had for a session's time, and goes on without one that is not back
within that time after a rebalance began. So what a member may count on ends so long after it *asked* for what was granted last: a
heartbeat (refused while a rebalance is under way), or its part of an assignment. That is its lease. Without one, what its producer
holds stays where it is: others may have applied the same events, perhaps in another order of clicks and listens, and answered a
newer session of the user. A commit of such a worker is refused by its generation; a record is not.

It does not matter why: a stopped process, a machine that sleeps, a worker too slow for a rebalance, or one that is cut off from its
coordinator alone. Where the brokers were away for a while, the next heartbeat renews the lease, and what was held goes out.

A lease says when a request may be written, not when the broker reads it. A broker that is frozen keeps what the old owner of a
partition wrote in time in its socket; when it goes on it reads that and what the new owner wrote in any order (4 times of 12 the
newer one first), and an older recommendation follows a newer one. So after each rebalance the first produce request to a broker
waits until the broker has answered another request, sent after the partitions had moved, and then about as long again:
by then it has read whatever was in its sockets before.

(Leases: Gray & Cheriton, SOSP 1989.)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

log = structlog.get_logger(__name__)

PRODUCE = b"\0\0"  # the API key of a produce request
PAUSE = 0.02  # seconds between two looks
API_KEY = slice(4, 6)  # where it stands, after the request's size
LEAST_SETTLING, MOST_SETTLING = 0.05, 2.0  # seconds after the answer; between them as long as the answer took


def now() -> float:
    """Seconds, of a clock that goes on while the machine sleeps where there is one (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """Renewed by the consumer's thread, looked at by the producer's loop.

    Args:
        seconds: for how long; the session timeout, and the group's rebalance timeout is no shorter.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = -float("inf")
        self._told = True
        self._waiting = 0
        self._rebalance = 0
        self._settled: dict[Any, int] = {}  # by broker, the rebalance after which it answered
        self._settling: dict[Any, asyncio.Lock] = {}

    def renew(self, asked_at: float) -> None:
        """Granted on a request that was sent at ``asked_at`` (`now`)."""
        self._until = max(self._until, asked_at + self._seconds)
        self._told = False

    @property
    def held(self) -> bool:
        return now() < self._until

    @property
    def missed(self) -> bool:
        """Whether something waits for it."""
        return self._waiting > 0 and not self.held

    def renewing(self, ask: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """A coordinator's way to send requests; what it grants renews the lease."""

        async def ask_and_renew(request: Any) -> Any:
            asked_at = now()
            if isinstance(request, (JoinGroupRequest, LeaveGroupRequest)):  # either gives the partitions away
                self._until = -float("inf")
                self._rebalance += 1
            response = await ask(request)
            if isinstance(request, (HeartbeatRequest, SyncGroupRequest)) and response.error_code == 0:
                self.renew(asked_at)
            return response

        return ask_and_renew

    def holding_back(self, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """A client's way to send requests; a produce request waits for the lease, and for the broker to have read older ones."""

        async def send_when_held(node: Any, request: Any, **options: Any) -> Any:
            if isinstance(request, ProduceRequest):
                self._waiting += 1
                try:
                    await self._wait()
                    while self._settled.get(node) != self._rebalance:
                        await self._settle(node, send)
                        await self._wait()
                finally:
                    self._waiting -= 1
            return await send(node, request, **options)

        return send_when_held

    async def _settle(self, node: Any, send: Callable[..., Awaitable[Any]]) -> None:
        """Returns when the broker has answered a request of this rebalance, and a moment later."""
        async with self._settling.setdefault(node, asyncio.Lock()):
            rebalance = self._rebalance
            if self._settled.get(node) == rebalance:
                return
            asked_at = now()
            await send(node, MetadataRequest([]))
            await asyncio.sleep(min(max(now() - asked_at, LEAST_SETTLING), MOST_SETTLING))
            self._settled[node] = rebalance

    def guarding(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """A connection's last step; without a lease it breaks the connection instead of writing a produce request.

        Looked at once more because a freeze between an earlier look and the write would let one more request out. The producer
        tries again.
        """

        def write_if_held(data: bytes) -> None:
            if data[API_KEY] == PRODUCE and not self.held:
                self._tell()
                raise ConnectionError("no lease")
            write(data)

        return write_if_held

    async def _wait(self) -> None:
        while not self.held:
            self._tell()
            await asyncio.sleep(PAUSE)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            log.warning("without a lease: others may have the partitions, sending nothing")
