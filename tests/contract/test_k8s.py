"""k8s/ as kubectl renders it, held against the schemas of Kubernetes and KEDA, and against this project's topics and settings."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streamrec import __version__
from streamrec.admin.contracts import load_contracts
from streamrec.worker.main import ROLES, SOURCES
from tests.contract.deployment import ROOT, parse_command, run_tool
from tests.contract.manifests import (
    Object,
    check_schema,
    chosen,
    environment,
    fewest_partitions,
    most_pods,
    named,
    readme_files,
    render,
    restricted_faults,
    secret_references,
    settings_of,
    templates,
)

WITH_TLS = "resources: [../base]\ncomponents: [../components/tls-sasl]\n"
TIDY = "{extends: default, rules: {line-length: {max: 132}, document-start: disable, comments: {min-spaces-from-content: 1}}}"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of k8s/ with one more folder in it, as the README tells an operator to make."""
    k8s = tmp_path_factory.mktemp("operator") / "k8s"
    shutil.copytree(ROOT / "k8s", k8s)
    (k8s / "with-tls").mkdir()
    (k8s / "with-tls/kustomization.yaml").write_text(WITH_TLS)
    for path, text in readme_files().items():
        (k8s.parent / path).parent.mkdir(exist_ok=True)
        (k8s.parent / path).write_text(text)
    return k8s


@pytest.fixture(scope="module")
def renderings(own_folder: Path) -> dict[str, list[Object]]:
    return {"base": render(ROOT / "k8s/base"), "tls": render(own_folder / "with-tls"), "readme": render(own_folder / "my-cluster")}


@pytest.fixture(params=["base", "tls", "readme"])
def objects(request: pytest.FixtureRequest, renderings: dict[str, list[Object]]) -> list[Object]:
    return copy.deepcopy(renderings[request.param])


@pytest.fixture
def base(renderings: dict[str, list[Object]]) -> list[Object]:
    return copy.deepcopy(renderings["base"])


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_every_object_is_one_that_its_api_takes(objects: list[Object], version: str) -> None:
    for each in objects:
        check_schema(each, version)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda it: it["spec"].update(replica=2)),
        ("Deployment", lambda it: it["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].update(failureTreshold=3)),
        ("Job", lambda it: it["spec"].update(backoffLimit="ten")),
        ("PodDisruptionBudget", lambda it: it["spec"].update(maxUnavailible=1)),
        ("NetworkPolicy", lambda it: it["spec"].update(podSelektor={})),
        ("ScaledObject", lambda it: it["spec"].update(maxReplicasCount=12)),
        ("ScaledObject", lambda it: it["spec"]["triggers"][0]["metadata"].update(lagTreshold="5")),
        ("ScaledObject", lambda it: it["spec"]["triggers"][0]["metadata"].update(lagThreshold=1000)),
        ("TriggerAuthentication", lambda it: it["spec"]["secretTargetRef"][0].update(parameter="user")),
        ("TriggerAuthentication", lambda it: it["spec"].update(secretTargetReference=[])),
        ("ConfigMap", lambda it: it.update(kind="KafkaTopic", apiVersion="kafka.strimzi.io/v1")),
    ],
)
def test_a_misspelt_key_or_an_unknown_kind_is_refused(
    renderings: dict[str, list[Object]], kind: str, spoil: Callable[[Object], None]
) -> None:
    spoilt = copy.deepcopy(next(each for each in renderings["tls"] if each["kind"] == kind))
    spoil(spoilt)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
        check_schema(spoilt, "1.37")


def test_there_is_a_deployment_for_each_role_of_one_image(objects: list[Object]) -> None:
    deployments = named(objects, "Deployment")
    assert set(deployments) == {f"streamrec-{role}" for role in ROLES}
    for role in ROLES:
        [container] = deployments[f"streamrec-{role}"]["spec"]["template"]["spec"]["containers"]
        assert parse_command(container["args"])["role"].value == role
    [job] = named(objects, "Job").values()
    assert parse_command(job["spec"]["template"]["spec"]["containers"][0]["args"]) is not None
    assert len({container["image"] for _, each in templates(objects) for container in each["spec"]["containers"]}) == 1


def test_the_image_is_this_version(base: list[Object]) -> None:
    assert {container["image"] for _, each in templates(base) for container in each["spec"]["containers"]} == {
        f"streamrec:{__version__}"
    }


@pytest.mark.parametrize("role", ROLES)
def test_there_are_never_more_pods_than_partitions(objects: list[Object], role: str) -> None:
    assert 1 <= most_pods(objects, role) <= fewest_partitions(role, load_contracts(ROOT / "topics"))


def test_a_pod_too_many_is_found(base: list[Object]) -> None:
    partitions = fewest_partitions("recommend", load_contracts(ROOT / "topics"))
    named(base, "Deployment")["streamrec-recommend"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 1
    assert most_pods(base, "recommend") > partitions


def test_keda_scales_the_recommender_on_its_own_groups_lag(
    objects: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [scaled] = named(objects, "ScaledObject").values()
    target = named(objects, "Deployment")[scaled["spec"]["scaleTargetRef"]["name"]]
    settings = settings_of(objects, target["spec"]["template"], tmp_path, monkeypatch)
    [trigger] = scaled["spec"]["triggers"]
    assert target["metadata"]["name"] == "streamrec-recommend"
    assert "replicas" not in target["spec"], "each apply would undo what KEDA did"
    assert trigger["metadata"]["consumerGroup"] == f"{settings.topic_prefix}streamrec-recommend"
    topic = trigger["metadata"]["topic"].removeprefix(settings.topic_prefix)
    assert topic in SOURCES["recommend"]
    assert "recommend" in load_contracts(ROOT / "topics")[topic].consumers
    assert 1 <= scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]
    assert environment(objects, target["spec"]["template"]["spec"]["containers"][0])[trigger["metadata"]["bootstrapServersFromEnv"]]


def test_keda_and_the_workers_reach_kafka_the_same_way(
    objects: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [scaled] = named(objects, "ScaledObject").values()
    [trigger] = scaled["spec"]["triggers"]
    for _, template in templates(objects):
        settings = settings_of(objects, template, tmp_path, monkeypatch)
        tls, sasl = settings.security_protocol.endswith("SSL"), settings.security_protocol.startswith("SASL")
        assert trigger["metadata"].get("tls", "disable") == ("enable" if tls else "disable")
        assert trigger["metadata"].get("sasl", "none") == (
            settings.sasl_mechanism.lower().replace("scram-sha-", "scram_sha") if sasl else "none"
        )
        assert (trigger.get("authenticationRef", {}).get("name") in named(objects, "TriggerAuthentication")) == sasl


def test_streamrec_accepts_every_pods_settings_and_answers_where_its_probes_look(
    objects: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, template in templates(objects):
        settings = settings_of(objects, template, tmp_path, monkeypatch)
        [container] = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        probes = {
            kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe") if kind in container
        }
        assert [ports[probe["port"]] for probe in probes.values()] == [settings.ops_port] * len(probes)
        assert settings.ops_host == "0.0.0.0"
        if name != "streamrec-topics":
            assert [probe["path"] for probe in probes.values()] == ["/livez", "/livez", "/readyz"]


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    assert {name: faults for name, each in templates(objects) if (faults := restricted_faults(each["spec"]))} == {}
    [namespace] = named(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec.pop("enableServiceLinks"),
        lambda spec: spec.pop("automountServiceAccountToken"),
        lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        lambda spec: spec["securityContext"].update(runAsUser=0),
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda spec: spec["containers"][0].pop("securityContext"),
        lambda spec: spec["containers"][0]["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        lambda spec: spec["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
        lambda spec: spec["containers"][0]["securityContext"].update(privileged=True),
        lambda spec: spec["containers"][0]["ports"][0].update(hostPort=6066),
        lambda spec: spec.update(initContainers=[{"name": "helper", "image": "helper:1.0.0"}]),
    ],
)
def test_a_pod_that_may_do_more_is_found(base: list[Object], spoil: Callable[[Object], None]) -> None:
    spec = named(base, "Deployment")["streamrec-sessions"]["spec"]["template"]["spec"]
    spoil(spec)
    assert restricted_faults(spec)


def test_selectors_match_what_they_are_for(objects: list[Object]) -> None:
    pods = {name: template["metadata"]["labels"] for name, template in templates(objects)}
    for name, deployment in named(objects, "Deployment").items():
        assert chosen(deployment["spec"]["selector"], pods) == [name]
        for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert name in chosen(spread["labelSelector"], pods)
            assert set(spread["matchLabelKeys"]) <= {*pods[name], "pod-template-hash"}
        assert [chosen(budget["spec"]["selector"], pods) for budget in named(objects, "PodDisruptionBudget").values()].count(
            [name]
        ) == 1
    assert chosen(named(objects, "NetworkPolicy")["deny-all"]["spec"]["podSelector"], pods) == list(pods)
    assert chosen(named(objects, "NetworkPolicy")["streamrec-to-kafka"]["spec"]["podSelector"], pods) == list(pods)


def test_the_network_policy_lets_kafka_and_names_through(objects: list[Object]) -> None:
    deny, allow = (named(objects, "NetworkPolicy")[name]["spec"] for name in ("deny-all", "streamrec-to-kafka"))
    assert sorted(deny["policyTypes"]) == ["Egress", "Ingress"]
    assert not {"ingress", "egress"} & set(deny)
    assert "ingress" not in allow
    kafka, names = allow["egress"]
    [settings] = named(objects, "ConfigMap").values()
    host, port = settings["data"]["STREAMREC_BROKER"].split(":")
    assert kafka["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": host.split(".")[1]}
    assert int(port) in [each["port"] for each in kafka["ports"]]
    assert {(each["protocol"], each["port"]) for each in names["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_everything_that_is_named_is_there(objects: list[Object]) -> None:
    spaces = {each["metadata"].get("namespace", "none") for each in objects if each["kind"] != "Namespace"}
    assert spaces == set(named(objects, "Namespace"))
    for _, template in templates(objects):
        assert template["spec"]["serviceAccountName"] in named(objects, "ServiceAccount")
        [container] = template["spec"]["containers"]
        assert {source["configMapRef"]["name"] for source in container["envFrom"]} <= set(named(objects, "ConfigMap"))
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in template["spec"]["volumes"]}


def test_secrets_come_by_reference_only_and_the_example_has_each_key(objects: list[Object]) -> None:
    example = yaml.safe_load((ROOT / "k8s/components/tls-sasl/secret.example.yaml").read_text())
    kubernetes_validate.validate(example, "1.37", strict=True)
    assert not named(objects, "Secret")
    references = list(secret_references(objects))
    assert {(name, key) for name, key in references} <= {(example["metadata"]["name"], key) for key in example["stringData"]}


def test_a_worker_has_time_to_finish_room_to_live_and_goes_one_at_a_time(objects: list[Object]) -> None:
    for deployment in named(objects, "Deployment").values():
        spec = deployment["spec"]["template"]["spec"]
        resources = spec["containers"][0]["resources"]
        assert spec["terminationGracePeriodSeconds"] >= 60
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" in resources["requests"]
        assert "cpu" not in resources["limits"], "a throttled worker looks like a dead one to its group"
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in named(objects, "PodDisruptionBudget").values())


def test_the_readme_shows_how_another_bundle_is_served(
    renderings: dict[str, list[Object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployments = named(renderings["readme"], "Deployment")
    bundles = {
        role: settings_of(renderings["readme"], deployments[f"streamrec-{role}"]["spec"]["template"], tmp_path, monkeypatch).bundle
        for role in ROLES
    }
    assert bundles == dict.fromkeys(ROLES, Path("/bundle"))


def test_the_yaml_is_tidy(tmp_path: Path) -> None:
    assert run_tool("yamllint", "-s", "-d", TIDY, ROOT / "k8s", ROOT / "docker-compose.yml").stdout == ""
    (tmp_path / "twice.yaml").write_text("replicas: 2\nreplicas: 3\n")
    assert "duplication of key" in run_tool("yamllint", "-s", "-d", TIDY, tmp_path).stdout
