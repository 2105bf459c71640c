"""A worker for the tests: three apps in one process, each sends what the one before it sent; with its ops server.

The last topic, ``out``, has what came through all three. Sources: ``in``, ``middle1``, ``middle2``, under ``prefix``.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CollectorRegistry

from streamrec.worker.acks import Delivery
from streamrec.worker.app import make_app, send
from streamrec.worker.health import Health
from streamrec.worker.intake import Intake
from streamrec.worker.ops import ops_server
from streamrec.worker.run import run_apps

DEFAULTS = {
    "raise_at": None,  # at this id the last app raises
    "hold": None,  # this id is never done by the first app
    "patience": 60.0,
}
options: dict[str, Any] = DEFAULTS | json.loads(sys.argv[1])
connection = {"bootstrap_servers": options["broker"]}
TOPICS = [options["prefix"] + name for name in ("in", "middle1", "middle2", "out")]


def link(number: int) -> Intake:
    app = make_app(f"{options['prefix']}app{number}", connection, drain_timeout=1.0)

    async def forward(deliveries: AsyncIterator[Delivery]) -> None:
        async for delivery in deliveries:
            record = delivery.record
            id_ = json.loads(record.value or b"")["id"]
            if number == 2 and id_ == options["raise_at"]:
                raise ValueError("as asked")
            sent = await send(app, TOPICS[number + 1], record.key, record.value, partition=record.partition)
            if number > 0 or id_ != options["hold"]:
                delivery.done(sent)

    return Intake(app, [TOPICS[number]], connection, forward)


intakes = [link(number) for number in range(3)]
health = Health(intakes, options["patience"])


async def serve_ops() -> None:
    async with ops_server("127.0.0.1", 0, ready=health.not_ready, live=health.not_live, registry=CollectorRegistry()) as port:
        print(f"ops port {port};", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    run_apps([intake.app for intake in intakes], beside=[serve_ops(), health.watch()])
