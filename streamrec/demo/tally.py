"""What the demo counts. It knows no Kafka: it is told what was sent and what came back, and when."""

from typing import Any

import numpy as np


class Tally:
    """Counts records, and the time from a producer's send to the subscriber's receipt (the first one of each event)."""

    def __init__(self) -> None:
        self.events_in = 0
        self.recommendations_out = 0
        self.explanations_out = 0
        self.dead_letters = 0
        self.superseded = 0
        self._empty = 0
        self._waiting: dict[str, dict[str, float]] = {}  # by user: when each event was sent, oldest first
        self._latencies: list[float] = []

    def sent(self, user_id: str, event_id: str, at: float) -> None:
        """An event went out; ``at`` in seconds of any steady clock."""
        self.events_in += 1
        self._waiting.setdefault(user_id, {})[event_id] = at

    def recommended(self, user_id: str, event_id: str, items: int, at: float) -> float | None:
        """A recommendation came for this event; returns its latency in ms, or None where one had come before.

        Older events of the user that still wait are superseded: under backlog only the newest is recommended for.
        """
        self.recommendations_out += 1
        self._empty += not items
        waiting = self._waiting.get(user_id, {})
        if event_id not in waiting:
            return None
        for older in list(waiting):
            sent_at = waiting.pop(older)
            if older == event_id:
                break
            self.superseded += 1
        self._latencies.append((at - sent_at) * 1000)
        return self._latencies[-1]

    @property
    def waiting(self) -> int:
        """Events that neither got a recommendation yet nor were superseded."""
        return sum(map(len, self._waiting.values()))

    def summary(self) -> dict[str, Any]:
        """The object of ``demo --json``; percentiles are null where nothing came."""
        points = np.percentile(self._latencies, [50, 95, 99]) if self._latencies else [None] * 3
        latency = {
            name: None if at is None else round(float(at), 1) for name, at in zip(("p50", "p95", "p99"), points, strict=True)
        }
        return {
            "events_in": self.events_in,
            "recommendations_out": self.recommendations_out,
            "explanations_out": self.explanations_out,
            "dead_letters": self.dead_letters,
            "event_to_recommendation_ms": latency,
            "superseded": self.superseded,
            "unanswered": self.waiting,
            "empty_recommendations": self._empty,
        }
