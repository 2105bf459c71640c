"""What the demo counts. It knows no Kafka: it is told what was sent and what came back, and when."""

from typing import Any

import numpy as np


class Tally:
    """Counts records, and the time from a producer's send to the subscriber's receipt (the first one of each trigger)."""

    def __init__(self) -> None:
        self.events_in = 0
        self.recommendations_out = 0
        self.explanations_out = 0
        self.dead_letters = 0
        self.empty = 0
        self._sent_at: dict[str, float] = {}
        self._latencies: list[float] = []

    def sent(self, event_id: str, at: float) -> None:
        """An event went out; ``at`` in seconds of any steady clock."""
        self.events_in += 1
        self._sent_at[event_id] = at

    def recommended(self, event_id: str, items: int, at: float) -> float | None:
        """A recommendation came for this event; returns its latency in ms, or None where one had come before."""
        self.recommendations_out += 1
        self.empty += not items
        sent_at = self._sent_at.pop(event_id, None)
        if sent_at is None:
            return None
        self._latencies.append((at - sent_at) * 1000)
        return self._latencies[-1]

    @property
    def waiting(self) -> int:
        """Events that no recommendation has come for yet."""
        return len(self._sent_at)

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
            "empty_recommendations": self.empty,
            "events_without_recommendation": self.waiting,
        }
