"""Finds out why a broker cannot be used, before anything starts: Faust and aiokafka only say "Unable to bootstrap"."""

import asyncio
import socket
import ssl
from collections.abc import Collection, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.metadata import MetadataRequest

from streamrec.core.errors import UserError
from streamrec.worker.reader import Connection, servers

SECONDS = 5.0


async def check(
    connection: Connection, topics: Mapping[str, int | None] | None = None, may_have_more: Collection[str] = ()
) -> None:
    """Connects, and looks for the topics with their partition counts (None: any).

    Args:
        may_have_more: topics of which more partitions do no harm.

    Raises:
        UserError: within some 5 seconds, with the cause.
    """
    found = await _partition_counts(connection)
    for topic, wanted in (topics or {}).items():
        if topic not in found:
            raise UserError(f"topic {topic!r} does not exist, or {_user(connection)} may not see it; run `streamrec topics apply`")
        if wanted is not None and found[topic] != wanted and not (found[topic] > wanted and topic in may_have_more):
            raise UserError(
                f"topic {topic!r} has {found[topic]} partitions and needs {wanted}: users would not find their "
                f"sessions; write `partitions: {found[topic]}` into the contracts of all topics that hold users "
                f"(STREAMREC_TOPICS_DIR), or use another STREAMREC_TOPIC_PREFIX"
            )


async def _partition_counts(connection: Connection) -> dict[str, int]:
    attempts = [asyncio.ensure_future(_ask(connection, server)) for server in servers(connection)]
    failures = []
    try:
        for attempt in asyncio.as_completed(attempts):
            try:
                return await attempt
            except UserError as failure:
                failures.append(failure)
    finally:
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise failures[0]


async def _ask(connection: Connection, server: str) -> dict[str, int]:
    options = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    if options.get("security_protocol", "PLAINTEXT").endswith("SSL"):
        options.setdefault("ssl_context", create_ssl_context())
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(SECONDS):
            conn = await create_conn(host.strip("[]"), int(port), request_timeout_ms=int(SECONDS * 1000), **options)
            try:
                answer = await conn.send(MetadataRequest(None))  # all: to ask for one that is missing could create it
            finally:
                conn.close()
    except (OSError, KafkaError, TimeoutError) as error:
        raise UserError(f"broker {server}: {_cause(error, connection)}") from error
    cluster = ClusterMetadata()
    cluster.update_metadata(answer)
    return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}


def _cause(error: BaseException, connection: Connection) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host; check the setting broker"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); check the setting ssl_cafile"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason}); check the settings broker and security_protocol"
    if isinstance(error, SaslAuthenticationFailed):
        return f"{_user(connection)} was refused; check the settings sasl_username and sasl_password_file"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not know {connection.get('sasl_mechanism')}; check the setting sasl_mechanism"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; start the broker or check the setting broker"
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} s; check the settings broker and security_protocol"
    if isinstance(error, KafkaConnectionError):
        return "it closed the connection; check the settings broker and security_protocol"
    return f"{error}; check the settings broker and security_protocol"


def _user(connection: Connection) -> str:
    user = connection.get("sasl_plain_username")
    return f"user {user!r}" if user else "this client"
