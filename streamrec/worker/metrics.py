"""The metrics of one process, as prometheus_client counts them."""

from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streamrec.core import metrics
from streamrec.core.metrics import Metric

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """All of `streamrec.core.metrics`, registered. ``metrics[EVENTS].labels(topic=…, outcome=…).inc()``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._by_name = {metric.name: _register(metric, registry) for metric in metrics.ALL}
        for metric in metrics.ALL:
            if metric.known:
                for values in product(*metric.known):
                    self[metric].labels(*values)

    def __getitem__(self, metric: Metric) -> Any:
        return self._by_name[metric.name]


def _register(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    buckets = _SECONDS if metric.name.endswith("_seconds") else _BATCHES
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=buckets)
