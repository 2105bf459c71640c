"""The examples of k8s/README.md, rendered as they are and as an operator would change them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamrec.worker.main import ROLES, SOURCES
from tests.contract.deployment import ROOT
from tests.contract.manifests import Object, chosen, named, readme_files, render, settings_of

FOLDER = "k8s/my-cluster"
BROKER = "my-kafka-bootstrap.kafka.svc:9093"
COMPONENTS = ["../components/topic-prefix", "../components/tls-sasl"]
SWAPPED, PLAIN = COMPONENTS[::-1], COMPONENTS[:1]
OWN = "own-namespace"


def write_folder(root: Path, name: str, **changes: Any) -> Path:
    """A folder beside copies of base and components, with the README's files in it and these changes."""
    if not (root / "k8s").exists():
        shutil.copytree(ROOT / "k8s", root / "k8s")
    folder = root / "k8s" / name
    folder.mkdir()
    for path, text in readme_files().items():
        (folder / Path(path).name).write_text(text)
    kustomization = yaml.safe_load(readme_files()[f"{FOLDER}/kustomization.yaml"])
    kustomization["configMapGenerator"][0]["literals"] += changes.pop("literals", [])
    (folder / "kustomization.yaml").write_text(yaml.dump(kustomization | changes, sort_keys=False))
    return folder


def config(objects: list[Object]) -> dict[str, str]:
    [found] = named(objects, "ConfigMap").values()
    data: dict[str, str] = found["data"]
    return data


def watched(objects: list[Object]) -> tuple[str, str]:
    """The topic and the group whose lag KEDA reads."""
    [scaled] = named(objects, "ScaledObject").values()
    [trigger] = scaled["spec"]["triggers"]
    return trigger["metadata"]["topic"], trigger["metadata"]["consumerGroup"]


def test_the_example_shows_both_components_and_an_address() -> None:
    shown = yaml.safe_load(readme_files()[f"{FOLDER}/kustomization.yaml"])
    assert shown["components"] == COMPONENTS
    assert shown["configMapGenerator"][0]["literals"] == [f"STREAMREC_BROKER={BROKER}"]


@pytest.mark.parametrize("components", [COMPONENTS, SWAPPED, PLAIN], ids=["both", "swapped", "plain"])
@pytest.mark.parametrize("namespace", ["streamrec", OWN])
@pytest.mark.parametrize("prefix", ["", "prod.", "team-a_", "streamrec-test.", "sessions-"])
def test_address_and_prefix_reach_workers_and_keda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, components: list[str], namespace: str, prefix: str
) -> None:
    literals = [f"STREAMREC_TOPIC_PREFIX={prefix}"] if prefix else []
    own = {"namespace": OWN} if namespace == OWN else {}
    objects = render(write_folder(tmp_path, "my-cluster", components=components, literals=literals, **own))
    assert config(objects)["STREAMREC_BROKER"] == BROKER
    deployments = named(objects, "Deployment")
    for role in ROLES:
        template = deployments[f"streamrec-{role}"]["spec"]["template"]
        settings = settings_of(objects, template, tmp_path, monkeypatch)
        assert (settings.broker, settings.topic_prefix) == (BROKER, prefix)
        assert settings.security_protocol == ("SASL_SSL" if len(components) == 2 else "PLAINTEXT")
    assert watched(objects) == (f"{prefix}{SOURCES['recommend'][0]}", f"{prefix}streamrec-recommend")
    assert {each["metadata"].get("namespace", namespace) for each in objects} == {namespace}
    assert list(named(objects, "Namespace")) == [namespace]


SETTINGS = ["STREAMREC_SASL_MECHANISM=SCRAM-SHA-256", "STREAMREC_LOG_LEVEL=debug", "STREAMREC_MAX_BATCH=8"]


@pytest.mark.parametrize("components", [COMPONENTS, SWAPPED], ids=["both", "swapped"])
def test_a_component_undoes_no_setting_of_the_operator(tmp_path: Path, components: list[str]) -> None:
    objects = render(write_folder(tmp_path, "my-cluster", components=components, literals=SETTINGS))
    assert dict(each.split("=") for each in SETTINGS).items() <= config(objects).items()


def test_two_deployments_stand_side_by_side(tmp_path: Path) -> None:
    for name in ("blue", "green"):
        write_folder(tmp_path, name, namespace=name, literals=[f"STREAMREC_TOPIC_PREFIX={name}."])
    both = tmp_path / "k8s/both"
    both.mkdir()
    (both / "kustomization.yaml").write_text("resources: [../blue, ../green]\n")
    objects = render(both)
    for name in ("blue", "green"):
        own = [each for each in objects if each["metadata"].get("namespace") == name]
        assert watched(own) == (f"{name}.sessions", f"{name}.streamrec-recommend")
        assert config(own)["STREAMREC_TOPIC_PREFIX"] == f"{name}."


def may_enter(objects: list[Object], labels: dict[str, str], namespace: str, port: int) -> bool:
    """Whether the policies let a pod of a namespace reach a port of a pod with these labels."""
    policies = [policy["spec"] for policy in named(objects, "NetworkPolicy").values()]
    policies = [policy for policy in policies if "Ingress" in policy["policyTypes"]]
    policies = [policy for policy in policies if chosen(policy["podSelector"], {"pod": labels})]
    source = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    target = {"protocol": "TCP", "port": port}
    rules = [rule for policy in policies for rule in policy.get("ingress", [])]
    return not policies or any(source in rule["from"] and target in rule["ports"] for rule in rules)


@pytest.mark.parametrize("components", [COMPONENTS, PLAIN], ids=["tls", "plain"])
def test_prometheus_may_scrape_and_nobody_else_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, components: list[str]
) -> None:
    objects = render(write_folder(tmp_path, "my-cluster", components=components))
    for deployment in named(objects, "Deployment").values():
        template = deployment["spec"]["template"]
        port = settings_of(objects, template, tmp_path, monkeypatch).ops_port
        labels = template["metadata"]["labels"]
        assert may_enter(objects, labels, "monitoring", port)
        assert not may_enter(objects, labels, "default", port)
        assert not may_enter(objects, labels, "streamrec", port)
        assert not may_enter(objects, labels, "monitoring", port + 1)
