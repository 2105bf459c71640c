"""A process that is to end does end, whatever does not let go of it."""

import subprocess
import sys
import time

STUBBORN = """
import asyncio
from streamrec.worker.run import run_apps

async def holds_on():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def fails():
    asyncio.ensure_future(holds_on())
    await asyncio.sleep(0.1)
    raise ConnectionError("planted")

run_apps([], beside=[fails()], grace=1.0)
"""


def test_a_task_that_swallows_its_cancellation_holds_up_nothing() -> None:
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", STUBBORN], timeout=30, capture_output=True).returncode == 1
    assert time.monotonic() - began < 30
