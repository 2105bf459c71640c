"""Keeps the client libraries' log lines readable: while a broker is away they say the same hundreds of times a second."""

import logging
from time import monotonic

CLIENTS = ("aiokafka", "kafka", "faust", "mode", "asyncio")
SECONDS = 300.0


class FewRepeats(logging.Filter):
    """Lets a client library's line through once in ``seconds``; the next one says how many like it there were.

    Lines are alike if they come from the same logger at the same level and begin alike before values are put in.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}  # when the next may pass, and how many did not since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in CLIENTS or record.levelno >= logging.CRITICAL:
            return True
        key = record.name, record.levelno, str(record.msg)[:40]
        due, held_back = self._seen.get(key, (0.0, 0))
        if (now := monotonic()) < due:
            self._seen[key] = due, held_back + 1
            return False
        self._seen[key] = now + self._seconds, 0
        if held_back:
            record.msg, record.args = f"{record.getMessage()} (and {held_back} more like it)", ()
        return True
