"""What ends a process: also what goes wrong while its apps stop."""

import asyncio
from typing import Any, cast

import pytest

from streamrec.worker.run import WorkerFailed, serve


class Stopping:
    """As much of an app as `serve` touches: it starts, is asked to stop at once, and cannot."""

    def __init__(self, trouble: Exception | None) -> None:
        self.failed, self._crashed = asyncio.Event(), asyncio.Event()
        self.failure = self.crash_reason = None
        self._trouble = trouble

    async def start(self) -> None:
        self.failed.set()

    async def stop(self) -> None:
        if self._trouble:
            raise self._trouble


async def run(*troubles: Exception | None) -> None:
    await serve(cast(Any, [Stopping(trouble) for trouble in troubles]))


def test_an_app_that_cannot_stop_is_a_failure_of_the_process() -> None:
    with pytest.raises(WorkerFailed, match="OSError: the last commit was refused"):
        asyncio.run(run(None, OSError("the last commit was refused")))


def test_apps_that_stop_are_none() -> None:
    asyncio.run(run(None, None))
