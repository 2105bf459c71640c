"""Runs several Faust apps in one process, until a signal or until one of them fails."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from streamrec.core.errors import UserError
from streamrec.worker.app import App

log = structlog.get_logger(__name__)


class WorkerFailed(Exception):
    """An app stopped by itself. The cause is in the log and in ``__cause__``."""


def run_apps(apps: Sequence[App], *, beside: Sequence[Awaitable[Any]] = (), grace: float = 30.0) -> None:
    """Runs the apps in one event loop; returns after SIGTERM or SIGINT, with everything confirmed committed.

    Args:
        apps: from `make_app`, with their agents; each is its own consumer group.
        beside: what else runs in the loop, such as the ops server; cancelled after the apps have stopped.
        grace: seconds that stopping may take, the end of the process included; after that it exits at once, with code 1.

    Raises:
        WorkerFailed: an app failed. Whoever starts the process should start it again.
    """
    # A daemon: it outlives the loop, whose end may wait for a task or a thread that does not end.
    last_resort = threading.Timer(grace + 1, _give_up, [grace])
    last_resort.daemon = True
    asyncio.run(serve(apps, beside=beside, grace=grace, on_stop=last_resort.start))


async def serve(
    apps: Sequence[App],
    *,
    beside: Sequence[Awaitable[Any]] = (),
    grace: float = 30.0,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """`run_apps` inside a running loop; ``on_stop`` is called when it begins to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    companions = [asyncio.ensure_future(companion) for companion in beside]
    starting = [asyncio.ensure_future(app.start()) for app in apps]
    try:
        await _first_end(stopped, apps, starting + companions)
    finally:
        on_stop()
        watchdog = loop.call_later(grace, _give_up, grace)
        stops = await asyncio.gather(*(app.stop() for app in apps), return_exceptions=True)
        for task in starting + companions:
            task.cancel()
        results = await asyncio.gather(*starting, *companions, return_exceptions=True)
        watchdog.cancel()
    failures = [failure for app in apps if (failure := app.failure or app.crash_reason)]
    failures += [result for result in [*results, *stops] if isinstance(result, Exception)]
    for failure in failures:
        if isinstance(failure, UserError):
            raise failure
    for failure in failures[1:]:
        log.error("failed, too", error=f"{type(failure).__name__}: {failure}")
    if failures:
        raise WorkerFailed(f"{type(failures[0]).__name__}: {failures[0]}") from failures[0]


async def _first_end(stopped: asyncio.Event, apps: Sequence[App], tasks: Sequence[asyncio.Future[Any]]) -> None:
    # _crashed: what Faust gives up by itself, such as a commit that fails for good
    events: list[Any] = [stopped, *(app.failed for app in apps), *(app._crashed for app in apps)]
    ends = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        pending: set[asyncio.Future[Any]] = {*ends, *tasks}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(task in ends or task.exception() for task in done):
                return
    finally:
        for end in ends:
            end.cancel()


def _give_up(grace: float) -> None:
    log.critical("could not stop in time; what was not confirmed comes again", grace=grace)
    os._exit(1)
