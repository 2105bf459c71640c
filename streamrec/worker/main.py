"""`streamrec worker`: the roles of one process, put together and run until it is told to stop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog
from prometheus_client import CollectorRegistry

from streamrec.admin.client import client_options
from streamrec.admin.contracts import TopicContract, load_contracts
from streamrec.admin.rights import check_rights
from streamrec.build import Recommender, build_recommender
from streamrec.core.deadletters import DeadLetterLimit
from streamrec.core.errors import UserError
from streamrec.core.intake import ERASED
from streamrec.core.metrics import CATALOGUE_VERSION, LOST_RECORDS, MODEL_INFO, READY
from streamrec.core.pipeline import DIGITS
from streamrec.core.wire import Format
from streamrec.settings import Settings
from streamrec.worker.app import make_app
from streamrec.worker.explain import ExplainRole
from streamrec.worker.follower import Follower
from streamrec.worker.health import Health
from streamrec.worker.intake import Intake
from streamrec.worker.metrics import Metrics
from streamrec.worker.ops import ops_server
from streamrec.worker.output import Output
from streamrec.worker.probe import check
from streamrec.worker.recommend import RateCap, RecommendRole
from streamrec.worker.run import run_apps
from streamrec.worker.sessions import SessionsRole, is_ahead
from streamrec.worker.table import ByteTable

log = structlog.get_logger(__name__)

SOURCES = {"sessions": ("clicks", "listens"), "recommend": ("sessions", "items"), "explain": ("recommendations",)}
ROLES = tuple(SOURCES)
TARGETS = {  # sessions: what stands in a wrong partition is sent on within its topic
    "sessions": ("sessions", "clicks", "listens", "dead-letters"),
    "recommend": ("recommendations", "dead-letters"),
    "explain": ("explanations", "dead-letters"),
}


class Parts(NamedTuple):
    """What the roles of one process share."""

    settings: Settings
    contracts: dict[str, TopicContract]
    connection: dict[str, Any]
    recommender: Recommender
    follower: Follower
    metrics: Metrics


def run_worker(settings: Settings, roles: Sequence[str]) -> None:
    """Runs the roles, each as a Faust app with a consumer group of its own; returns after SIGTERM or SIGINT.

    Raises:
        UserError: the broker, a topic or the bundle is not as it must be.
        WorkerFailed: a role failed; whoever started the process should start it again.
    """
    contracts = load_contracts(settings.topics_dir)
    connection = client_options(settings)
    reads = {"items", *(topic for role in roles for topic in SOURCES[role])}
    writes = {topic for role in roles for topic in TARGETS[role]}
    asyncio.run(check(connection, {settings.topic_prefix + name: contracts[name].partitions for name in sorted(reads | writes)}))
    if settings.security_protocol != "PLAINTEXT":
        reads |= writes & {"sessions"}  # its table is read back from there
        groups = [_group(role, settings) for role in roles]
        check_rights(settings, reads=sorted(reads), writes=sorted(writes), groups=groups)
    recommender = build_recommender(settings)
    follower = Follower(recommender.catalogue, settings.topic_prefix + "items", connection)
    parts = Parts(settings, contracts, connection, recommender, follower, Metrics(CollectorRegistry()))
    versions = recommender.versions
    parts.metrics[MODEL_INFO].labels(model=versions.model, runtime=versions.runtime).set(1)
    parts.metrics[CATALOGUE_VERSION].set_function(lambda: recommender.catalogue.version)
    intakes = [_intake(role, parts) for role in roles]
    health = Health(intakes)
    threshold = round(recommender.pipeline.threshold, DIGITS)
    log.info(
        "starting",
        roles=list(roles),
        broker=settings.broker,
        model=versions.model,
        relevance_threshold=threshold,
    )
    run_apps([intake.app for intake in intakes], beside=[follower.run(), health.watch(), _serve_ops(health, parts)])


def _group(role: str, settings: Settings) -> str:
    return f"{settings.topic_prefix}streamrec-{role}"


def _intake(role: str, parts: Parts) -> Intake:
    settings, prefix = parts.settings, parts.settings.topic_prefix
    app = make_app(
        _group(role, settings),
        parts.connection,
        session_timeout=settings.session_timeout_seconds,
        commit_interval=settings.commit_interval_seconds,
        linger_ms=settings.linger_ms,
    )
    body = _MAKE[role](app, parts).run
    topics = [prefix + topic for topic in SOURCES[role]]
    lost = parts.metrics[LOST_RECORDS]
    return Intake(
        app,
        topics,
        parts.connection,
        body,
        limit=settings.max_in_flight,
        on_loss=lambda topic, count: lost.labels(topic=topic.removeprefix(prefix)).inc(count),
    )


def _sessions(app: Any, parts: Parts) -> SessionsRole:
    changelog = parts.settings.topic_prefix + "sessions"
    partitions = parts.contracts["sessions"].partitions
    table = ByteTable(
        app, changelog=changelog, is_ahead=is_ahead, connection=parts.connection, note_header=ERASED, partitions=partitions
    )
    rules = parts.recommender.session_rules
    return SessionsRole(table, _output(app, "sessions", parts), parts.follower, rules, partitions, parts.metrics)


def _recommend(app: Any, parts: Parts) -> RecommendRole:
    output = _output(app, "recommend", parts, parts.settings.output_format)
    cap = RateCap(parts.settings.user_rate)
    return RecommendRole(parts.recommender.pipeline, output, parts.follower, parts.settings.max_batch, cap, parts.metrics)


def _explain(app: Any, parts: Parts) -> ExplainRole:
    output = _output(app, "explain", parts, parts.settings.output_format)
    return ExplainRole(parts.recommender.pipeline, output, parts.follower, parts.metrics)


def _output(app: Any, role: str, parts: Parts, written_as: Format = "msgpack") -> Output:
    limit = DeadLetterLimit(parts.settings.dead_letter_limit_percent)
    return Output(app, role, parts.settings.topic_prefix, written_as, parts.metrics, limit)


_MAKE: dict[str, Callable[[Any, Parts], SessionsRole | RecommendRole | ExplainRole]] = {
    "sessions": _sessions,
    "recommend": _recommend,
    "explain": _explain,
}


async def _serve_ops(health: Health, parts: Parts) -> None:
    async def not_ready() -> list[str]:
        reasons = await health.not_ready()
        if not parts.follower.caught_up.is_set():
            reasons.append("catalogue: not read to its end yet")
        parts.metrics[READY].set(not reasons)
        return reasons

    host, port = parts.settings.ops_host, parts.settings.ops_port
    try:
        async with ops_server(host, port, ready=not_ready, live=health.not_live, registry=parts.metrics.registry) as bound:
            log.info("ops server", host=host, port=bound)
            await asyncio.Event().wait()
    except OSError as error:
        raise UserError(f"setting ops_port: {host}:{port} cannot be served ({error.strerror}); 0 takes a free port") from None
