"""What happens to logs, offsets and time: outages of hours, topics made anew, transactions, slips of operators."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from random import Random

from kafka import KafkaAdminClient, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from chaos.deployment import Deployment, Kind
from chaos.ledger import Confirmed, Partition, Transaction, checksum
from streamrec.admin.client import connect, connect_producer
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.core.errors import UserError
from streamrec.core.types import Erasure
from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.worker.main import SOURCES

OUTAGE_SECONDS, OUTAGE_SPEED = 30.0, 360.0  # half a minute, in which three hours of events happen
DRAIN_SECONDS = 300.0
FAR = 1_000_000  # offsets beyond the end: so many that the load does not reach them
PATIENCE = 120.0


def outage_of_hours(deployment: Deployment, random: Random) -> None:
    """No worker takes in events for half a minute, in which the events of three hours come in."""
    with _stopped(deployment, "sessions"):
        deployment.clock.speed = OUTAGE_SPEED
        try:
            time.sleep(OUTAGE_SECONDS)
        finally:
            deployment.clock.speed = 1.0


def topic_made_anew(deployment: Deployment, random: Random) -> None:
    """Clicks or listens are deleted and made again, under running workers or stopped ones: offsets begin again."""
    topic = random.choice(sorted(EVENT_TYPES))
    with ExitStack() as meanwhile:
        meanwhile.enter_context(deployment.load.held(topic))
        if deployment.watch.wait_drained(DRAIN_SECONDS) is None:
            raise UserError(f"{topic} is not drained, so it cannot be made anew: {deployment.watch.lag()}")
        if random.random() < 0.5:
            meanwhile.enter_context(_stopped(deployment, "sessions"))
        ledger = deployment.ledger
        ledger.keep(read_topics(deployment.settings, [topic]), ends_of(deployment, [topic]))
        _make_anew(deployment, topic)
        time.sleep(random.uniform(6, 10))  # the load's producer learns how many partitions there are now


def transaction_aborted(deployment: Deployment, random: Random) -> None:
    """Events, an erasure and a withdrawal in transactions that are aborted, one of them left open; one is committed."""
    options = {"transactional_id": f"chaos-{random.getrandbits(32)}", "linger_ms": 5}
    with connect_producer(deployment.settings, **options) as producer:
        producer.init_transactions()
        for number, committed in enumerate((False, True, False)):
            left_open = number == 2
            _transact(deployment, random, producer, committed, random.uniform(5, 15) if left_open else 0)


def offset_set_by_operator(deployment: Deployment, random: Random) -> None:
    """A stopped role's committed offsets are set beyond the end, to 0, some hundred back, or deleted."""
    role = random.choice(sorted(SOURCES))
    with _stopped(deployment, role):
        _until_done(lambda: _set_offsets(deployment, random, role), "setting offsets")


def partitions_added(deployment: Deployment, random: Random) -> None:
    """Clicks get twice as many partitions, and producers use them within seconds; once they have, a burst comes."""
    partitions = deployment.ledger.partitions
    wanted = 2 * load_contracts(deployment.settings.topics_dir)["clicks"].partitions
    if partitions["clicks"] < wanted:
        topic = deployment.settings.topic_prefix + "clicks"
        with closing(connect(deployment.settings)) as admin:
            admin.create_partitions({topic: wanted}, raise_errors=False)
            _until_done(lambda: _has_partitions(admin, topic, wanted), f"adding partitions to {topic}")
        partitions["clicks"] = wanted
    deployment.load.burst(300)
    time.sleep(random.uniform(8, 15))


def ends_of(deployment: Deployment, topics: Sequence[str]) -> dict[Partition, int]:
    """The offset after everything that was written, committed or not, by partition."""
    prefix = deployment.settings.topic_prefix
    wanted = [TopicPartition(prefix + topic, number) for topic in topics for number in range(deployment.ledger.partitions[topic])]
    with closing(connect(deployment.settings)) as admin:
        found = admin.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST))
    return {(at.topic.removeprefix(prefix), at.partition): each.offset for at, each in found.items()}


@contextmanager
def _stopped(deployment: Deployment, role: str) -> Iterator[None]:
    """No worker of the role runs meanwhile."""
    fleet = deployment.fleet
    names = fleet.of_role(role)
    fleet.terminate(*names)
    try:
        yield
    finally:
        fleet.want(*names)


def _make_anew(deployment: Deployment, topic: str) -> None:
    contract = load_contracts(deployment.settings.topics_dir)[topic]
    name = deployment.settings.topic_prefix + topic
    config = {option: str(value) for option, value in contract.config.items()} | {"min.insync.replicas": "2"}
    with closing(connect(deployment.settings)) as admin:
        admin.delete_topics([name])
        _until_done(lambda: name not in admin.list_topics(), f"deleting {name}")
        deployment.ledger.begin(topic, contract.partitions)
        new = {name: {"num_partitions": contract.partitions, "replication_factor": 3, "configs": config}}

        def created() -> bool:
            with suppress(KafkaError):  # until the deletion has reached every broker
                admin.create_topics(new)
            return _has_partitions(admin, name, contract.partitions)

        _until_done(created, f"creating {name}")


def _has_partitions(admin: KafkaAdminClient, topic: str, count: int) -> bool:
    described = [each for each in admin.describe_topics([topic]) if not each["error_code"]]
    return bool(described) and len(described[0]["partitions"]) == count


def _transact(deployment: Deployment, random: Random, producer: KafkaProducer, committed: bool, open_seconds: float) -> None:
    """Sends records in a transaction and ends it; the aborted ones would erase a user and withdraw an item."""
    ledger, prefix = deployment.ledger, deployment.settings.topic_prefix
    load = (each for each in deployment.more_load(random.getrandbits(32)) if each.what == "event")
    records = [(each.topic, each.key, each.value) for each in islice(load, random.randint(20, 60))]
    if committed:
        ledger.valid.update(checksum(key, value) for _, key, value in records)
    else:
        user, now = random.choice(records)[1].decode(), deployment.clock.now
        erasure = Erasure(schema_version=1, event_id=f"aborted-{now}", event_type="erase", user_id=user, occurred_at=now)
        records += [("clicks", user.encode(), encode(erasure)), ("items", random.choice(deployment.items).encode(), None)]
    producer.begin_transaction()
    sent = [(producer.send(prefix + topic, key=key, value=value), topic, key, value) for topic, key, value in records]
    producer.flush()
    placed = []
    for future, topic, key, value in sent:
        at = future.get(timeout=PATIENCE)
        placed.append(Confirmed(ledger.place(topic, at.partition, at.offset), checksum(key, value)))
    time.sleep(open_seconds)
    if committed:
        producer.commit_transaction()
        ledger.confirmed += placed
    else:
        producer.abort_transaction()
    ledger.transactions.append(Transaction(tuple(placed), committed))


def _set_offsets(deployment: Deployment, random: Random, role: str) -> bool:
    settings, how = deployment.settings, random.choice(("beyond", "zero", "back", "deleted"))
    group, prefix = f"{settings.topic_prefix}streamrec-{role}", settings.topic_prefix
    ends = ends_of(deployment, SOURCES[role])
    chosen = [at for at in sorted(ends) if random.random() < 0.7]
    places = [TopicPartition(prefix + topic, number) for topic, number in chosen]
    offsets = {
        "beyond": [ends[at] + FAR for at in chosen],
        "zero": [0 for _ in chosen],
        "back": [max(0, ends[at] - random.randint(50, 500)) for at in chosen],
    }
    with closing(connect(settings)) as admin:
        if how == "deleted":
            answers = admin.delete_group_offsets(group, places)
        else:
            moved = {at: OffsetAndMetadata(to, "", -1) for at, to in zip(places, offsets[how], strict=True)}
            answers = admin.alter_group_offsets(group, moved)
    return not any(getattr(error, "errno", 0) for error in answers.values())


def _until_done(condition: Callable[[], bool], what: str) -> None:
    """Waits until it is true; what Kafka says meanwhile is no error: brokers may be electing somebody."""
    give_up_at = time.monotonic() + PATIENCE
    error: Exception | None = None
    while time.monotonic() < give_up_at:
        try:
            if condition():
                return
        except (KafkaError, UserError) as failed:
            error = failed
        time.sleep(0.3)
    raise UserError(f"{what}: not done within {PATIENCE:.0f} s ({error or 'the brokers do not show it'})")


KINDS: tuple[Kind, ...] = (outage_of_hours, topic_made_anew, transaction_aborted, offset_set_by_operator, partitions_added)
# while one of these goes on, and until all is done, offsets that are committed are not only the workers'
MOVES_OFFSETS = {each.__name__.replace("_", "-") for each in (topic_made_anew, offset_set_by_operator)}
