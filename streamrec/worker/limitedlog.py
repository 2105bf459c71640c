"""Log lines that a flood of one kind of record may cause, at a limited rate: the first at once, then a count with an example."""

from time import monotonic
from typing import Any

SECONDS = 60.0


class LimitedLog:
    """At most one line a minute of each kind; ``count`` says how many there were since the last one.

    Args:
        log: a structlog logger.
    """

    def __init__(self, log: Any, seconds: float = SECONDS) -> None:
        self._log = log
        self._seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}  # when the next line may come, and how many since the last

    def warning(self, kind: str, event: str, **fields: Any) -> None:
        """Logs ``event`` with its fields, or counts it."""
        due, count = self._kinds.get(kind, (0.0, 0))
        now = monotonic()
        if now < due:
            self._kinds[kind] = due, count + 1
            return
        self._kinds[kind] = now + self._seconds, 0
        self._log.warning(event, count=count + 1, **fields)
