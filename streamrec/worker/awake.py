"""A worker that was frozen for so long that its group may have given its partitions away ends before it sends anything more.

A stopped process, a paused virtual machine or a thrashing host: when it goes on, its producer sends what was batched before, and
its agents what they had in hand. Meanwhile others have applied the same events, perhaps in another order of clicks and listens, so
two records would bear one id and different bytes. A commit of such a worker is refused by its generation; a record is not.

What this does not see is a worker that runs but is cut off from its coordinator alone.
"""

import os
import threading
import time

import structlog

log = structlog.get_logger(__name__)


class Awake:
    """Looks at the clock, in its own thread and before each write of the producer: whoever comes first after a sleep sees it.

    Args:
        limit: seconds; less than the session timeout by a heartbeat's interval, for so long ago may the last one have been.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seen = time.monotonic()

    def start(self) -> None:
        self._seen = time.monotonic()
        threading.Thread(target=self._watch, name="awake", daemon=True).start()

    def check(self) -> None:
        """Ends the process, with code 1, if it has slept for longer than the limit."""
        now = time.monotonic()
        slept = now - self._seen
        if slept <= self._limit:
            self._seen = now
            return
        try:  # _seen stays: whoever else looks while this is being written must not pass
            log.critical("frozen for too long: others may have the partitions, ending at once", seconds=round(slept, 1))
        finally:
            os._exit(1)

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / 20)
            self.check()
