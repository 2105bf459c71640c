"""Why a broker cannot be used, in one line, before anything starts."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamrec.core.errors import UserError
from streamrec.localkafka import LocalKafka
from streamrec.worker.probe import check
from tests.integration.stand import Stand, open_stand


def fault(bootstrap_servers: str, topics: dict[str, int | None] | None = None, **security: Any) -> str:
    with pytest.raises(UserError) as caught:
        asyncio.run(check({"bootstrap_servers": bootstrap_servers, **security}, topics))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def listening() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    with open_stand(kafka, topic_prefix, tmp_path, partitions=3) as stand:
        stand.make("in")
        yield stand


def test_a_broker_with_its_topics_passes(stand: Stand) -> None:
    servers = [stand.kafka.bootstrap_servers, "127.0.0.1:1"]
    asyncio.run(check({"bootstrap_servers": servers}, {stand.prefix + "in": 3}))
    asyncio.run(check({"bootstrap_servers": ",".join(servers)}, {stand.prefix + "in": None}))


def test_a_missing_topic_is_named_and_not_made(stand: Stand) -> None:
    for _ in range(2):
        said = fault(stand.kafka.bootstrap_servers, {stand.prefix + "missing": 3})
        assert said.startswith(f"topic '{stand.prefix}missing' does not exist")


def test_a_wrong_partition_count_is_named(stand: Stand) -> None:
    said = fault(stand.kafka.bootstrap_servers, {stand.prefix + "in": 4})
    assert said.startswith(f"topic '{stand.prefix}in' has 3 partitions and needs 4")


def test_a_closed_port_is_a_refusal() -> None:
    assert fault("127.0.0.1:1").startswith("broker 127.0.0.1:1: connection refused")


def test_an_unknown_host_is_named() -> None:
    assert fault("no-such-host.invalid:9092").startswith("broker no-such-host.invalid:9092: no such host")


def test_a_server_that_says_nothing_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamrec.worker.probe.SECONDS", 0.3)
    with listening() as server:
        assert fault(server).startswith(f"broker {server}: no answer")


def test_tls_to_a_broker_that_speaks_none_is_named(stand: Stand) -> None:
    context = ssl.create_default_context()
    said = fault(stand.kafka.bootstrap_servers, security_protocol="SSL", ssl_context=context)
    assert "check the settings broker and security_protocol" in said
