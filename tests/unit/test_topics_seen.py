"""`topics apply` asks a broker that knows a new topic, but not its configuration yet: no right is missing, it has to wait."""

from typing import Any

import pytest
from kafka import errors as kafka_errors

from streamrec.admin import topics
from streamrec.admin.contracts import load_contracts
from streamrec.settings import Settings

EVERYTHING = ["DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]


class Broker:
    """An admin client of a cluster whose brokers learn of configurations only after some requests."""

    def __init__(self, ignorant: int, rights: list[str] = EVERYTHING) -> None:
        self.ignorant = ignorant
        self.rights = rights
        self.made: dict[str, dict[str, Any]] = {}
        self.altered: dict[str, dict[str, str]] = {}

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        def described(name: str) -> dict[str, Any]:
            partitions = [{"replica_nodes": [1, 2, 3]}] * self.made[name]["num_partitions"]
            return {"name": name, "error_code": 0, "partitions": partitions, "authorized_operations": self.rights}

        return [described(name) if name in self.made else {"name": name, "error_code": 3} for name in names]

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"broker_id": 1}]}

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        if resources[0].name == "1":
            return {"broker": {"1": {"default.replication.factor": {"value": "3"}}}}
        self.ignorant -= 1
        if self.ignorant >= 0:
            return {"topic": {each.name: {} for each in resources}}
        known = {each.name: {"min.insync.replicas": "1"} | self.made[each.name]["configs"] for each in resources}
        return {"topic": {name: {key: {"value": value} for key, value in config.items()} for name, config in known.items()}}

    def create_topics(self, wanted: dict[str, Any], raise_errors: bool) -> dict[str, Any]:
        self.made |= wanted
        return {"topics": [{"name": name, "error_code": 0} for name in wanted]}

    def wait_for_topics(self, names: list[str]) -> None:
        pass

    def alter_configs(self, resources: list[Any], raise_on_unknown: bool) -> dict[str, Any]:
        for each in resources:
            self.altered[each.name] = dict(each.configs)
            self.made[each.name]["configs"] |= each.configs
        return {"topic": {each.name: "OK" for each in resources}}


def applied(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(topics, "connect", lambda settings: broker)
    topics.apply(Settings())
    return broker


def test_what_a_new_topic_needs_is_set_when_the_broker_that_is_asked_learns_of_it_late(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = applied(Broker(ignorant=3), monkeypatch)
    assert broker.altered == {name: {"min.insync.replicas": "2"} for name in load_contracts()}


def test_a_right_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(ignorant=10**9, rights=["DESCRIBE"])
    broker.made = {"clicks": {"num_partitions": 12, "configs": {}}}
    with pytest.raises(kafka_errors.TopicAuthorizationFailedError, match="DescribeConfigs on clicks"):
        topics._look(broker, ["clicks"])  # type: ignore[arg-type]
