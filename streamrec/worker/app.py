"""Makes a Faust app that can be trusted with events: raw bytes, at least once, nothing declared, nothing written to disk."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import faust
import structlog
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.helpers import create_ssl_context
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.auth import SASLCredentials, SSLCredentials

import streamrec.worker.lenient  # noqa: F401  (mends aiokafka where it is imported)
from streamrec.core.errors import UserError
from streamrec.worker.assignor import PartitionAssignor
from streamrec.worker.consumer import Transport
from streamrec.worker.lease import Lease
from streamrec.worker.mend import TableManager
from streamrec.worker.reader import Connection, servers
from streamrec.worker.record import Headers

log = structlog.get_logger(__name__)

# Of a partition at a time; a larger record still comes. What is fetched of one partition is worked off before the next: with
# Faust's 1 MB, a backlog's other partitions would wait for minutes.
FETCH_BYTES = 65_536
REQUEST_BYTES = 100_000_000  # a broker's own bound, so that a topic's max.message.bytes alone limits a record
BATCH_BYTES = 16_384  # aiokafka's default; small records of one partition are sent together
LOOK = 0.1  # seconds between two looks at a lease
METADATA_MS = 10_000  # partitions that are added to a topic are seen within this time


class App(faust.App):
    """Faust's app, which can be told to stop for good, and makes no folder for tables that are kept in memory."""

    drain_timeout = 5.0
    failure: BaseException | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failed = asyncio.Event()
        self.connection: Connection = {}
        self.topic_ids: dict[str, str] = {}  # by topic, to tell one made anew; empty: not looked at
        self.before_drain: Callable[[], None] = lambda: None  # called before what is in hand is waited for
        self.after_drain: Callable[[], None] = lambda: None  # called when no more is waited for before partitions go
        self.on_void_commit: Callable[[str], None] = lambda topic: None

    async def on_first_start(self) -> None:
        await super().on_first_start()
        refuse_pickle(self)

    def fail(self, failure: BaseException) -> None:
        """Has `run_apps` stop the process, in order. `crash` would tear down what still has to commit."""
        self.failure = self.failure or failure
        self.failed.set()

    def empty_tables(self) -> set[int]:
        """The partitions of which the tables' changelog has never held anything."""
        return {partition for table in self.tables.values() for partition in getattr(table, "empty", ())}

    def _create_directories(self) -> None:
        pass


def refuse_pickle(app: faust.App) -> None:
    """Faust can be told by a name to unpickle keys and values, and a pickle from a topic runs what it likes.

    Raises:
        UserError: the app, a topic or a table is told so.
    """
    told: list[tuple[str, Any]] = [("the app", (app.conf.key_serializer, app.conf.value_serializer))]
    told += [(f"table {name}", (table.key_serializer, table.value_serializer)) for name, table in app.tables.items()]
    for topic in (*app.topics, *(table.changelog_topic for table in app.tables.values())):
        schema = topic.schema
        told.append((f"topic {topic.get_topic_name()}", (schema and schema.key_serializer, schema and schema.value_serializer)))
    for where, serializers in told:
        if "pickle" in repr(serializers).lower():
            raise UserError(f"{where} is told to unpickle what it reads ({serializers}); set its serializers to raw")


class MendedApp(App):
    """The app with our consumer and our recovery. Only what `Acks` confirms is committed: a plain agent commits nothing."""

    async def on_first_start(self) -> None:
        await super().on_first_start()
        self.lease = Lease(min(self.conf.broker_session_timeout, self.conf.broker_rebalance_timeout))

    async def in_time(self, doing: Awaitable[None]) -> None:
        """What must be done before the partitions go. Where it waits for a lease it waits for ever, for nothing renews that in a
        rebalance: then the process ends, so that what the producer holds goes out no more.
        """
        task = asyncio.ensure_future(doing)
        while not (await asyncio.wait({task}, timeout=LOOK))[0]:
            if self.lease.missed:
                try:
                    log.critical("ending at once", why="Kafka does not take what was sent, and the partitions go to others")
                finally:
                    os._exit(1)
        task.result()

    async def _producer_flush(self, logger: Any) -> None:
        await self.in_time(super()._producer_flush(logger))

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)


def make_app(
    app_id: str,
    connection: Connection,
    *,
    session_timeout: float = 10.0,
    commit_interval: float = 0.5,
    linger_ms: int = 1,
    drain_timeout: float = 5.0,
    delivery_timeout: float = 60.0,
    mended: bool = True,
) -> App:
    """An app that reads and writes bytes.

    Args:
        app_id: also the name of the consumer group.
        connection: bootstrap servers and security, as aiokafka's clients take them.
        session_timeout: after so many seconds of silence the group takes a worker for dead (Faust's 60 s is long to wait).
        commit_interval: seconds between commits; what a killed worker had done since comes again.
        linger_ms: how long a record waits for others to be sent with it.
        drain_timeout: seconds that a stop or a rebalance waits for events in hand; must be well under the session timeout.
        delivery_timeout: seconds after which a record that Kafka does not take is refused (Faust waits 20 minutes).
        mended: False gives Faust as released, to see what the mends are for.
    """
    options: dict[str, Any] = {}
    if mended:
        options = {
            "TableManager": TableManager,
            "PartitionAssignor": PartitionAssignor,
            "consumer_max_fetch_size": FETCH_BYTES,
            "consumer_metadata_max_age_ms": METADATA_MS,
        }
    app = (MendedApp if mended else App)(
        app_id,
        broker=[f"kafka://{quote(server, safe=':[]')}" for server in servers(connection)],
        broker_credentials=_credentials(connection),
        broker_commit_interval=commit_interval,
        broker_session_timeout=session_timeout,
        broker_heartbeat_interval=session_timeout / 3,
        # a rebalance waits so long for members that do not come back; Faust's 60 s would hold up everybody after a crash
        broker_rebalance_timeout=session_timeout,
        broker_request_timeout=max(30.0, session_timeout),
        consumer_auto_offset_reset="earliest",
        processing_guarantee="at_least_once",
        producer_acks=-1,
        producer_linger=linger_ms / 1000,
        producer_max_batch_size=BATCH_BYTES,
        producer_max_request_size=REQUEST_BYTES,
        producer_request_timeout=delivery_timeout,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=True,
        web_enabled=False,
        web_tables_enabled=False,
        web_router_enabled=False,
        worker_redirect_stdouts=False,
        autodiscover=False,
        # Faust lets the environment win over what is written here: a stray DEBUG or NODE_HOSTNAME would. So it gets none.
        env={"": ""},
        **options,
    )
    app.drain_timeout = drain_timeout
    app.connection = connection
    return app


async def send(
    app: Any,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    *,
    partition: int | None = None,
    headers: Headers = (),
) -> asyncio.Future[Any]:
    """Sends a record. The future is done when Kafka has it, and failed when it has not: hand it to `Delivery.done`.

    Straight through the app's producer: `topic.send` costs three times as much and its future is not the delivery.
    """
    delivery: asyncio.Future[Any] = await app.producer.send(topic, key, value, partition, None, list(headers))
    delivery.add_done_callback(partial(_note_if_too_large, topic, key, value, headers))
    return delivery


def _note_if_too_large(topic: str, key: bytes | None, value: bytes | None, headers: Headers, delivery: asyncio.Future[Any]) -> None:
    """Adds to a refusal for size what to do: each new start would meet it again."""
    error = None if delivery.cancelled() else delivery.exception()
    if isinstance(error, MessageSizeTooLargeError):
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
        error.add_note(
            f"topic {topic} refuses a record of {size:,} bytes as too large: its max.message.bytes must be at "
            f"least {max(size, BATCH_BYTES)} (small records go in batches of {BATCH_BYTES:,}); set it in the "
            f"topic's contract and run `streamrec topics apply`"
        )


def _credentials(connection: Connection) -> Any:
    protocol = connection.get("security_protocol", "PLAINTEXT")
    context = connection.get("ssl_context") or (create_ssl_context() if protocol.endswith("SSL") else None)
    if protocol == "SSL":
        return SSLCredentials(context=context)
    if protocol == "PLAINTEXT":
        return None
    return SASLCredentials(
        username=connection["sasl_plain_username"],
        password=connection["sasl_plain_password"],
        mechanism=connection.get("sasl_mechanism", "PLAIN"),
        ssl_context=context,
    )
