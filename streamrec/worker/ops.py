"""Serves /livez, /readyz and /metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Reasons = Callable[[], Awaitable[list[str]]]  # why not; empty where all is well


@asynccontextmanager
async def ops_server(
    host: str, port: int, *, ready: Reasons, live: Reasons, registry: CollectorRegistry, notes: Reasons | None = None
) -> AsyncIterator[int]:
    """The server, up as long as the context; gives the port, which the system chooses where 0 was asked for.

    Args:
        notes: what /readyz says besides, whether ready or not.
    """

    def answer(name: str, reasons: Reasons, notes: Reasons | None = None) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            why_not = await reasons()
            said: dict[str, object] = {name: not why_not, "reasons": why_not}
            if notes is not None:
                said["notes"] = await notes()
            return web.json_response(said, status=503 if why_not else 200)

        return handle

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application()
    served.add_routes(
        [web.get("/livez", answer("live", live)), web.get("/readyz", answer("ready", ready, notes)), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
