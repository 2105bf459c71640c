"""The broker's topics against their contracts: what differs, and making it so. Nothing here deletes or moves a record."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from streamrec.admin.client import broker_errors, connect
from streamrec.admin.contracts import FIXED_PARTITIONS, TopicContract, load_contracts
from streamrec.core.errors import UserError
from streamrec.settings import Settings

SAFE_REPLICAS = 3  # from here on two of them must have a write before it counts
SEEN_SECONDS = 5.0
LEFT = {  # what is not changed, and why
    "replicas": "with {0.found} replicas instead of {0.wanted}: reassign its partitions",
    "partitions": "with {0.found} partitions instead of {0.wanted}: users keep the first {0.wanted}, records elsewhere are sent on",
}


class Difference(NamedTuple):
    """One thing that is not as the contract says. ``topic`` is as on the broker, with the prefix."""

    topic: str
    what: str  # `topic`, `partitions`, `replicas` or the name of a configuration
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, wanted is {self.wanted}"


class Action(NamedTuple):
    """One thing that `apply` did, or had to leave."""

    topic: str
    verb: Literal["created", "set", "left"]
    detail: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.verb} {self.detail}"


class _Found(NamedTuple):
    partitions: int
    replicas: int
    config: dict[str, str | None]


def check(settings: Settings, replicas: int | None = None) -> list[Difference]:
    """How the broker differs from the contracts; empty where it does not.

    Args:
        replicas: how many each partition should have at least; the broker's default where None.
    """
    contracts = load_contracts(settings.topics_dir)
    with broker_errors(settings, "checking topics"), connect(settings) as admin:
        return list(_differences(admin, contracts, settings.topic_prefix, replicas))


def apply(settings: Settings, replicas: int | None = None) -> list[Action]:
    """Creates the topics that are missing and sets configuration that differs. Doing it again does nothing.

    Raises:
        UserError: a topic has fewer partitions than its contract says, or `sessions` or `items` has more; nothing is changed then.
    """
    contracts = load_contracts(settings.topics_dir)
    prefix = settings.topic_prefix
    with broker_errors(settings, "applying topics"), connect(settings) as admin:

        def look() -> Iterator[Difference]:
            return _differences(admin, contracts, prefix, replicas)

        differences = list(look())
        _refuse_other_partitions(differences, contracts, prefix)
        by_name = {prefix + name: contract for name, contract in contracts.items()}
        missing = {each.topic: by_name[each.topic] for each in differences if each.what == "topic"}
        actions = _create(admin, missing, replicas)
        if missing:  # what a new topic needs besides its contract depends on its replicas
            differences = _until_seen(look, lambda each: each.what == "topic")
        actions += _alter(admin, differences)
        _until_seen(look, lambda each: each.what not in LEFT)
        return actions


def _differences(
    admin: KafkaAdminClient, contracts: dict[str, TopicContract], prefix: str, replicas: int | None
) -> Iterator[Difference]:
    found = _look(admin, [prefix + name for name in contracts])
    replicas = replicas or _default_replicas(admin)
    for contract in contracts.values():
        topic = prefix + contract.name
        if topic not in found:
            yield Difference(topic, "topic", f"{contract.partitions} partitions", "missing")
            continue
        partitions, has, config = found[topic]
        if partitions != contract.partitions:
            yield Difference(topic, "partitions", str(contract.partitions), str(partitions))
        if has < replicas:
            yield Difference(topic, "replicas", str(replicas), str(has))
        for name, value in contract.config.items():
            if _canonical(name, config.get(name)) != _canonical(name, value):
                yield Difference(topic, name, str(value), str(config.get(name, "unknown to this broker")))
        if has >= SAFE_REPLICAS and int(config["min.insync.replicas"] or 1) < 2:
            yield Difference(topic, "min.insync.replicas", "2", str(config["min.insync.replicas"]))


def describe(admin: KafkaAdminClient, topics: list[str]) -> dict[str, dict[str, Any]]:
    """What the broker says of each of these topics that exists; one that may not be seen is an error, not a missing one."""
    found = {}
    for each in admin.describe_topics(topics):
        error = kafka_errors.for_code(each["error_code"])
        if error is kafka_errors.NoError:
            found[each["name"]] = each
        elif error is not kafka_errors.UnknownTopicOrPartitionError:
            raise error(each["name"])
    return found


def _look(admin: KafkaAdminClient, topics: list[str]) -> dict[str, _Found]:
    described = describe(admin, topics)
    if not described:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in described]
    found = {}
    for topic, config in admin.describe_configs(resources, config_filter="all")["topic"].items():
        if (
            not config
        ):  # kafka-python drops the error: there is no right, or the broker that was asked does not know a new topic yet
            if "DESCRIBE_CONFIGS" not in described[topic]["authorized_operations"]:
                raise kafka_errors.TopicAuthorizationFailedError(f"DescribeConfigs on {topic}")
            continue
        partitions = described[topic]["partitions"]
        found[topic] = _Found(
            partitions=len(partitions),
            replicas=min(len(partition["replica_nodes"]) for partition in partitions),
            config={name: entry["value"] for name, entry in config.items()},
        )
    return found


def _default_replicas(admin: KafkaAdminClient) -> int:
    """What the cluster gives where nobody says; 1, which every topic has, where it does not tell us."""
    broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
    configs = admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, broker)], config_filter="all")
    told = configs["broker"][broker].get("default.replication.factor")
    return int(told["value"]) if told else 1


def _refuse_other_partitions(differences: list[Difference], contracts: dict[str, TopicContract], prefix: str) -> None:
    fixed = {prefix + name for name in FIXED_PARTITIONS}
    wrong = [
        each for each in differences if each.what == "partitions" and (each.topic in fixed or int(each.found) < int(each.wanted))
    ]
    if not wrong:
        return
    counts = ", ".join(f"{each.topic} has {each.found} partitions and should have {each.wanted}" for each in wrong)
    together = sum(contract.key != "item_id" for contract in contracts.values())
    raise UserError(
        f"{counts}. Other partitions would move users away from their sessions, so nothing was changed: delete the topic if its "
        f"records may go, use another STREAMREC_TOPIC_PREFIX, or write `partitions: {wrong[0].found}` into the contracts of all "
        f"{together} topics that hold users and name their folder in STREAMREC_TOPICS_DIR"
    )


def _create(admin: KafkaAdminClient, missing: dict[str, TopicContract], replicas: int | None) -> list[Action]:
    if not missing:
        return []
    topics: dict[str, dict[str, Any]] = {
        topic: {
            "num_partitions": contract.partitions,
            "replication_factor": replicas or -1,
            "configs": {name: str(value) for name, value in contract.config.items()},
        }
        for topic, contract in missing.items()
    }
    answer = admin.create_topics(topics, raise_errors=False)
    for each in answer["topics"]:
        if each["error_code"] not in (0, 36):  # 36: another `apply` was faster
            raise UserError(f"topic {each['name']}: the broker refuses to create it: {each['error_message']}")
    admin.wait_for_topics(list(topics))
    return [Action(topic, "created", f"with {contract.partitions} partitions") for topic, contract in missing.items()]


def _alter(admin: KafkaAdminClient, differences: list[Difference]) -> list[Action]:
    actions = [Action(each.topic, "left", LEFT[each.what].format(each)) for each in differences if each.what in LEFT]
    changes: dict[str, dict[str, str]] = {}
    for each in differences:
        if each.what != "topic" and each.what not in LEFT:  # a topic just made may not be known to the broker that was asked
            changes.setdefault(each.topic, {})[each.what] = each.wanted
            actions.append(Action(each.topic, "set", f"{each.what} to {each.wanted}, it was {each.found}"))
    if not changes:
        return actions
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, configs) for topic, configs in changes.items()]
    answer = admin.alter_configs(resources, raise_on_unknown=False)["topic"]
    for topic, result in answer.items():
        if result != "OK":
            raise UserError(f"topic {topic}: the broker refuses its configuration: {result}; mend the contract")
    return actions


def _until_seen(look: Callable[[], Iterator[Difference]], waits_for: Callable[[Difference], bool]) -> list[Difference]:
    """What differs once nothing that is waited for does, or it took too long: the controller has it, other brokers not yet."""
    deadline = time.monotonic() + SEEN_SECONDS
    while any(map(waits_for, found := list(look()))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _canonical(name: str, value: str | int | None) -> str | None:
    if name == "cleanup.policy" and value is not None:
        return ",".join(sorted(str(value).replace(" ", "").split(",")))
    return None if value is None else str(value)
