"""The ops server says how the process is, on the loopback address unless told otherwise, and nothing of what it holds."""

import asyncio

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from streamrec.core.metrics import EVENTS
from streamrec.settings import Settings
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


@pytest.mark.parametrize("path", ELSEWHERE)
def test_there_is_nothing_else(path: str) -> None:
    status, said = ask(path)[0]
    assert status == 404
    assert "anna" not in said


def test_it_takes_nothing_in() -> None:
    assert [status for status, _ in ask("/livez", "/readyz", "/metrics", method="POST")] == [405] * 3
