"""The offset that is due, asked for by the watchdog while the stream moves on: what was delivered meanwhile is no loss."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from streamrec.worker.sentinel import Sentinel

PLACE = TopicPartition("in", 0)


def test_an_answer_that_comes_late_does_not_set_back_what_is_due() -> None:
    async def run() -> tuple[int, tuple[int, int]]:
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def committed(*_: Any) -> int:
            asked.set()
            await may_answer.wait()
            return 100

        async def extents(partitions: Any) -> dict[TopicPartition, tuple[int, int]]:
            return dict.fromkeys(partitions, (0, 200))

        thread = SimpleNamespace(call_thread=committed, _ensure_consumer=lambda: SimpleNamespace(committed=None))
        signal = SimpleNamespace(connect=lambda *_, **__: None)
        app = SimpleNamespace(consumer_generation_id=1, consumer=SimpleNamespace(_thread=thread), on_before_shutdown=signal)
        sentinel = Sentinel(app, {})
        sentinel._reader = SimpleNamespace(extents=extents)  # type: ignore[assignment]
        watchdog = asyncio.create_task(sentinel.due(PLACE))
        await asked.wait()
        sentinel._due[PLACE] = (1, 103)  # the stream has delivered 100, 101 and 102
        may_answer.set()
        return await watchdog, sentinel._due[PLACE]

    assert asyncio.run(run()) == (103, (1, 103))
