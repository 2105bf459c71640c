"""One real Kafka for the whole run; a test keeps to topics under its own prefix."""

import uuid
from collections.abc import Iterator

import pytest

from streamrec.localkafka import LocalKafka


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
