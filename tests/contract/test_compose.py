"""docker-compose.yml as the real docker compose reads it, held against this project's topics, settings and command line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamrec import __version__
from tests.contract.deployment import ROOT, parse_command, run_tool, settings_from

Service = dict[str, Any]
FILE = ROOT / "docker-compose.yml"
OURS = ["topics-init", "worker", "demo-producer"]
# One KAFKA_ variable replaces all of the image's defaults, so each of these must be given.
WHOLE = [
    "KAFKA_NODE_ID",
    "KAFKA_PROCESS_ROLES",
    "KAFKA_CONTROLLER_QUORUM_VOTERS",
    "KAFKA_CONTROLLER_LISTENER_NAMES",
    "KAFKA_LISTENERS",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
    "KAFKA_INTER_BROKER_LISTENER_NAME",
    "KAFKA_LOG_DIRS",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE",
    "CLUSTER_ID",
]


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    shown = run_tool("docker-compose", "-f", FILE, "config", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)["services"]


def listeners(value: str) -> dict[str, tuple[str, str]]:
    """Name → host and port, of `NAME://host:port,…`."""
    return {name: (host, port) for name, host, port in re.findall(r"(\w+)://([^:,]*):(\d+)", value)}


def kafka_faults(environment: dict[str, str], name: str = "kafka") -> list[str]:
    """What would keep a broker of the image apache/kafka with this environment from starting, or from being reached."""
    if missing := [key for key in WHOLE if not environment.get(key)]:
        return [f"{key} is missing" for key in missing]
    bound, told = listeners(environment["KAFKA_LISTENERS"]), listeners(environment["KAFKA_ADVERTISED_LISTENERS"])
    mapped = {pair.split(":")[0] for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    controller, between = environment["KAFKA_CONTROLLER_LISTENER_NAMES"], environment["KAFKA_INTER_BROKER_LISTENER_NAME"]
    voter = f"{environment['KAFKA_NODE_ID']}@{name}:{bound.get(controller, ('', ''))[1]}"
    checks = {
        "every listener has its protocol": mapped == set(bound),
        "each but the controller's is advertised": set(told) == set(bound) - {controller},
        "what is advertised has a host and the port that is bound": all(
            host and port == bound.get(each, ("", ""))[1] for each, (host, port) in told.items()
        ),
        "brokers talk over an advertised listener": between in told,
        "the voter is this node": environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voter,
        "one node is broker and controller": set(environment["KAFKA_PROCESS_ROLES"].split(",")) == {"broker", "controller"},
        "the cluster id is 16 bytes": re.fullmatch(r"[\w-]{22}", environment["CLUSTER_ID"]) is not None,
        "the log is not in /tmp": not environment["KAFKA_LOG_DIRS"].startswith("/tmp"),
        "topics are made by their contracts only": environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false",
    }
    return [f"not so: {check}" for check, holds in checks.items() if not holds]


def published_beyond_loopback(service: Service) -> list[Service]:
    return [port for port in service.get("ports", []) if port.get("host_ip") != "127.0.0.1"]


def test_compose_accepts_the_file_without_a_word() -> None:
    accepted = run_tool("docker-compose", "-f", FILE, "config", "-q")
    assert (accepted.returncode, accepted.stdout + accepted.stderr) == (0, "")


def test_compose_would_refuse_a_misspelt_key(tmp_path: Path) -> None:
    planted = tmp_path / "docker-compose.yml"
    planted.write_text(FILE.read_text().replace("    healthcheck:", "    healthchek:", 1))
    refused = run_tool("docker-compose", "-f", planted, "config", "-q")
    assert refused.returncode != 0
    assert "healthchek" in refused.stderr


def test_it_is_the_broker_the_topics_the_worker_and_the_demo(services: dict[str, Service]) -> None:
    assert set(services) == {"kafka", *OURS}


def test_kafka_has_its_whole_configuration(services: dict[str, Service]) -> None:
    assert kafka_faults(services["kafka"]["environment"]) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, "") for key in WHOLE),
        ("KAFKA_LISTENERS", "CONTROLLER://:29093,INTERNAL://:19092"),
        ("KAFKA_ADVERTISED_LISTENERS", "INTERNAL://kafka:19092"),
        ("KAFKA_ADVERTISED_LISTENERS", "INTERNAL://kafka:19092,HOST://127.0.0.1:9093"),
        ("KAFKA_ADVERTISED_LISTENERS", "INTERNAL://kafka:19092,HOST://:9092"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "CONTROLLER"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@broker:29093"),
        ("KAFKA_PROCESS_ROLES", "broker"),
        ("CLUSTER_ID", "short"),
        ("KAFKA_LOG_DIRS", "/tmp/kafka"),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "true"),
    ],
)
def test_a_hole_in_kafkas_configuration_is_found(services: dict[str, Service], key: str, value: str) -> None:
    assert kafka_faults(services["kafka"]["environment"] | {key: value})


def test_the_log_of_kafka_outlives_its_container(services: dict[str, Service]) -> None:
    [volume] = services["kafka"]["volumes"]
    assert (volume["type"], volume["target"]) == ("volume", services["kafka"]["environment"]["KAFKA_LOG_DIRS"])


def test_kafka_is_the_one_that_the_tests_run_on(services: dict[str, Service]) -> None:
    [version] = re.findall(r" org\.apache\.kafka:kafka_2\.13:(\S+)", (ROOT / "streamrec/localkafka/jars.lock").read_text())
    assert services["kafka"]["image"] == f"apache/kafka:{version}"


def test_kafka_is_found_inside_and_from_the_host(services: dict[str, Service]) -> None:
    told = listeners(services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    assert told["HOST"] == ("127.0.0.1", services["kafka"]["ports"][0]["published"])
    assert {services[name]["environment"]["STREAMREC_BROKER"] for name in OURS} == {":".join(told["INTERNAL"])}
    assert ":".join(told["HOST"]) in services["kafka"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OURS)
def test_streamrec_accepts_the_environment_and_the_command(
    services: dict[str, Service], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse_command(services[name]["command"])
    assert settings_from(services[name]["environment"], monkeypatch).broker


def test_the_worker_answers_where_its_health_check_and_its_port_look(
    services: dict[str, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = services["worker"]
    settings = settings_from(worker["environment"], monkeypatch)
    assert (settings.ops_host, settings.ops_port) == ("0.0.0.0", worker["ports"][0]["target"])
    assert f"http://127.0.0.1:{settings.ops_port}/readyz" in worker["healthcheck"]["test"][-1]


def test_the_worker_has_a_minute_to_finish_what_it_took_in(services: dict[str, Service]) -> None:
    assert re.fullmatch(r"(1m0s|[1-9]\d*m\d+s)", services["worker"]["stop_grace_period"])


def test_each_service_waits_for_what_it_needs(services: dict[str, Service]) -> None:
    waits = {name: {on: how["condition"] for on, how in services[name]["depends_on"].items()} for name in OURS}
    assert waits["topics-init"] == {"kafka": "service_healthy"}
    assert waits["worker"] == {"topics-init": "service_completed_successfully"}
    assert waits["demo-producer"] == {"worker": "service_healthy"}
    assert all("healthcheck" in services[name] for name in ("kafka", "worker"))


def test_the_demo_plays_a_data_set_that_the_image_holds(services: dict[str, Service]) -> None:
    inside = services["demo-producer"]["command"][1]
    assert inside.startswith("/opt/streamrec/demo/")  # the Dockerfile links it to streamrec/demo
    assert (ROOT / "streamrec" / inside.removeprefix("/opt/streamrec/") / "events.csv.gz").is_file()


def test_ports_are_published_on_loopback_only(services: dict[str, Service]) -> None:
    assert [name for name, service in services.items() if published_beyond_loopback(service)] == []
    assert published_beyond_loopback({"ports": [{"target": 9092, "published": "9092"}]})


def test_images_are_pinned(services: dict[str, Service]) -> None:
    assert {services[name]["image"] for name in OURS} == {f"streamrec:{__version__}"}
    assert all(re.search(r":\d+\.\d+\.\d+$", service["image"]) for service in services.values())


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_no_more_than_they_need(services: dict[str, Service], name: str) -> None:
    service = services[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("volumes")
    assert not service.get("privileged")


def test_the_file_is_tidy_yaml() -> None:
    assert yaml.safe_load(FILE.read_text())["name"] == "streamrec"
    assert "version" not in yaml.safe_load(FILE.read_text()), "compose ignores it and warns"
