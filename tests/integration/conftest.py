"""One real Kafka for the whole run; a test keeps to topics under its own prefix."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.localkafka import LocalKafka
from tests.integration.stand import Stand, open_stand


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """One node."""
    with LocalKafka() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka3() -> Iterator[LocalKafka]:
    """Three nodes, started when the first test asks for them. A test may hurt them: they are whole again for the next."""
    with LocalKafka(3) as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    """What the names of this test's topics, groups and apps start with."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture
def stand(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Stand]:
    """Two partitions each of ``in``, ``out`` and a compacted ``table``; files that need another have their own."""
    with open_stand(kafka, topic_prefix, tmp_path) as stand:
        stand.make("in", "out")
        stand.make("table", cleanup_policy="compact")
        yield stand


@pytest.fixture(autouse=True)
def _whole_again(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "kafka3" not in request.fixturenames:
        return
    cluster: LocalKafka = request.getfixturevalue("kafka3")
    hurt = {1, 2, 3} - cluster.serving
    for node in hurt:
        if node in cluster.pids:
            cluster.resume(node)
        else:
            cluster.start(node)
    if hurt:
        cluster.wait_ready()
