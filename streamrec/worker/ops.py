"""Serves /livez, /readyz and /metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Reasons = Callable[[], Awaitable[list[str]]]  # why not; empty where all is well


@asynccontextmanager
async def ops_server(host: str, port: int, *, ready: Reasons, live: Reasons, registry: CollectorRegistry) -> AsyncIterator[int]:
    """The server, up as long as the context; gives the port, which the system chooses where 0 was asked for."""

    def answer(name: str, reasons: Reasons) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            why_not = await reasons()
            return web.json_response({name: not why_not, "reasons": why_not}, status=503 if why_not else 200)

        return handle

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application()
    served.add_routes(
        [web.get("/livez", answer("live", live)), web.get("/readyz", answer("ready", ready)), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
