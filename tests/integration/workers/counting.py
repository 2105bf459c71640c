"""A worker for the tests: per event one table write and one output that says where the event stood.

    python counting.py '{"app_id": …, "broker": …, "source": [...], "outputs": …, "table": …}'

Faults are asked for in the same object; see DEFAULTS.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from itertools import count as count_from
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.produce import ProduceRequest

from streamrec.worker.acks import Delivery
from streamrec.worker.app import make_app, send
from streamrec.worker.intake import Intake
from streamrec.worker.run import run_apps
from streamrec.worker.table import ByteTable

DEFAULTS = {
    "mended": True,  # False: Faust as released
    "slow_seek": 0,  # seconds that the seek at the end of a rebalance waits before it begins, and before it returns
    "slow_drain": 0,  # seconds that a worker says "Draining" before it gives its partitions away
    "work_seconds": 0,  # what an event takes
    "sighted": True,  # False: the sentinel sees nothing
    "in_order": True,  # False: acknowledged when their outputs are confirmed, whatever is before them
    "awaited": ["output", "table"],  # deliveries that an event waits for
    "hold": None,  # this id is never done
    "freeze_at": None,  # the process stops itself (SIGSTOP) when this many produce requests are about to be written
    "deaf_at": None,  # from this many produce requests on the group's coordinator never answers
    "loading": 0,  # so many seconds the coordinator says that it still loads the group, when it is asked for committed offsets
    "raise_at": None,  # at this id the agent raises
    "credulous": False,  # True: whatever the changelog holds is taken for newer
    "drain_timeout": 5.0,
    "linger_ms": 1,
}
options: dict[str, Any] = DEFAULTS | json.loads(sys.argv[1])
connection = {"bootstrap_servers": options["broker"]}


def is_ahead(held: bytes, read: bytes) -> bool:
    return bool(options["credulous"] or json.loads(read)["count"] > json.loads(held)["count"])


app = make_app(
    options["app_id"], connection, mended=options["mended"], drain_timeout=options["drain_timeout"], linger_ms=options["linger_ms"]
)
table = ByteTable(app, changelog=options["table"], is_ahead=is_ahead, connection=connection)


async def count(deliveries: AsyncIterator[Delivery]) -> None:
    async for delivery in deliveries:
        record = delivery.record
        event = json.loads(record.value or b"")
        if event["id"] == options["raise_at"]:
            raise ValueError(f"no idea what to do with {event['id']}")
        key = record.key or b""
        held = table.read(record.partition, key)
        session = json.loads(held) if held else {"count": 0, "applied": {}}
        if record.offset > session["applied"].get(record.topic, -1):
            session["count"] += 1
            session["applied"][record.topic] = record.offset
        padded = json.dumps(session | {"padding": event.get("padding", "")}).encode()
        output = event | {"partition": record.partition, "offset": record.offset, "count": session["count"], "pid": os.getpid()}
        sent = {
            "table": await table.write(record.partition, key, padded),
            "output": await send(app, options["outputs"], key, json.dumps(output).encode(), partition=record.partition),
        }
        if event["id"] != options["hold"]:
            delivery.done(*(sent[name] for name in options["awaited"]))
        if options["work_seconds"]:
            await asyncio.sleep(options["work_seconds"])


intake = Intake(app, options["source"], connection, count)

if not options["sighted"]:

    async def sees_nothing(*_: Any) -> bool:
        return False

    intake.sentinel._holds_records = sees_nothing  # type: ignore[method-assign]

if not options["in_order"]:

    def acknowledge_alone(delivery: Delivery) -> None:
        if delivery.settled:
            intake.acks._acknowledge(delivery.record.message)

    intake.acks._settle = acknowledge_alone  # type: ignore[method-assign]

if options["freeze_at"]:

    def send_frozen(connection: Any, request: Any, **more: Any) -> Any:
        if isinstance(request, ProduceRequest) and next(produced) == options["freeze_at"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        return send_request(connection, request, **more)

    produced = count_from(1)
    send_request = AIOKafkaConnection.send
    AIOKafkaConnection.send = send_frozen

if options["deaf_at"]:

    def send_and_count(connection: Any, request: Any, **more: Any) -> Any:
        if isinstance(request, ProduceRequest) and next(produced) == options["deaf_at"]:
            deaf.set()
        return send_request(connection, request, **more)

    async def ask_in_vain(coordinator: Any, request: Any) -> Any:
        if deaf.is_set():
            await asyncio.sleep(3600)
        return await ask(coordinator, request)

    produced, deaf = count_from(1), Event()
    send_request, AIOKafkaConnection.send = AIOKafkaConnection.send, send_and_count
    ask, GroupCoordinator._send_req = GroupCoordinator._send_req, ask_in_vain

if options["loading"]:

    async def ask_while_it_loads(coordinator: Any, request: Any) -> Any:
        asked_at = monotonic()
        if isinstance(request, OffsetFetchRequest) and asked_at < first_asked.setdefault("at", asked_at) + options["loading"]:
            return SimpleNamespace(topics=[], error_code=GroupLoadInProgressError.errno)
        return await ask_loaded(coordinator, request)

    first_asked: dict[str, float] = {}
    ask_loaded, GroupCoordinator._send_req = GroupCoordinator._send_req, ask_while_it_loads

if options["slow_drain"]:

    async def drain_late(consumer: Any) -> None:
        logging.info("Draining")
        await asyncio.sleep(options["slow_drain"])
        await drain(consumer)

    drain, app.transport.Consumer.wait_empty = app.transport.Consumer.wait_empty, drain_late

if options["slow_seek"]:

    async def slow_seek(seek_to_committed: Any, consumer: Any) -> Any:
        await asyncio.sleep(options["slow_seek"])
        committed = await seek_to_committed(consumer)
        await asyncio.sleep(options["slow_seek"])
        return committed

    cls: Any = app.transport.Consumer
    seek = partial(slow_seek, cls.seek_to_committed)
    cls.seek_to_committed = lambda consumer: seek(consumer)

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    run_apps([app])
