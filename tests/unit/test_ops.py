"""The ops server says how the process is, on the loopback address unless told otherwise, and nothing of what it holds."""

import asyncio
from itertools import product

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from streamrec.core.generate import NOTHING
from streamrec.core.metrics import ALL, EVENTS, READ, ROLES, RUNGS, Metric
from streamrec.core.session import Outcome
from streamrec.core.wire import EVENT_TYPES
from streamrec.serving import gptrec, popularity, transitions
from streamrec.settings import Settings
from streamrec.worker.main import SOURCES
from streamrec.worker.metrics import Metrics
from streamrec.worker.ops import ops_server

ELSEWHERE = ["/", "/table", "/tables", "/table/sessions", "/table/sessions/anna", "/router", "/stats", "/graph", "/sessions/anna"]
ELSEWHERE += ["/metrics/../table", "/%2e%2e/etc/passwd", "/livez/anna", "/debug/pprof"]


async def well() -> list[str]:
    return []


async def unwell() -> list[str]:
    return ["catalogue: not read to its end yet"]


def ask(*paths: str, method: str = "GET") -> list[tuple[int, str]]:
    async def all_of_them() -> list[tuple[int, str]]:
        metrics = Metrics(CollectorRegistry())
        metrics[EVENTS].labels(topic="clicks", outcome="applied").inc()
        async with (
            ops_server("127.0.0.1", 0, ready=unwell, live=well, registry=metrics.registry) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        ):
            found = []
            for path in paths:
                async with client.request(method, path) as answer:
                    found.append((answer.status, await answer.text()))
            return found

    return asyncio.run(all_of_them())


def test_it_is_on_the_loopback_address_by_default() -> None:
    assert Settings().ops_host == "127.0.0.1"


def test_it_tells_of_life_readiness_and_metrics() -> None:
    live, ready, metrics = ask("/livez", "/readyz", "/metrics")
    assert live == (200, '{"live": true, "reasons": []}')
    assert ready[0] == 503
    assert "catalogue" in ready[1]
    assert 'streamrec_events_total{outcome="applied",topic="clicks"} 1.0' in metrics[1]


COUNTERS = [metric for metric in ALL if metric.kind == "counter"]


@pytest.mark.parametrize("metric", COUNTERS, ids=lambda metric: metric.name)
def test_every_counter_exists_before_its_first_event(metric: Metric) -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    assert len(metric.known) == len(metric.labels), "say which values the labels can have"
    for values in product(*metric.known):
        assert registry.get_sample_value(metric.name, dict(zip(metric.labels, values, strict=True))) == 0


def test_the_labels_are_those_that_the_worker_counts_with() -> None:
    assert set(ROLES) == set(SOURCES)
    assert set(READ) == {topic for topics in SOURCES.values() for topic in topics}
    assert set(RUNGS) == {gptrec.SOURCE, transitions.SOURCE, popularity.SOURCE, NOTHING.source}
    assert EVENTS.known == (EVENT_TYPES, tuple(Outcome))


@pytest.mark.parametrize("path", ELSEWHERE)
def test_there_is_nothing_else(path: str) -> None:
    status, said = ask(path)[0]
    assert status == 404
    assert "anna" not in said


def test_it_takes_nothing_in() -> None:
    assert [status for status, _ in ask("/livez", "/readyz", "/metrics", method="POST")] == [405] * 3
