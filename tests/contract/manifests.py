"""Reading what kubectl renders from k8s/: objects by kind, the settings that a pod gets, and what it may not do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streamrec.admin.contracts import TopicContract
from streamrec.settings import Settings
from tests.contract.deployment import ROOT, run_tool, settings_from

Object = dict[str, Any]
KEDA_SCHEMAS = Path(__file__).parent / "keda"
KEDA = {
    kind: json.loads((KEDA_SCHEMAS / f"{kind.lower()}.schema.json").read_text())
    for kind in ("ScaledObject", "TriggerAuthentication")
}
# What may stand in a pod of the Pod Security Standard `restricted`.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def readme_files() -> dict[str, str]:
    """The files that k8s/README.md shows, by the path that their first line gives them."""
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", (ROOT / "k8s/README.md").read_text(), re.DOTALL)
    assert blocks, "k8s/README.md shows no file"
    return dict(blocks)


def render(folder: Path) -> list[Object]:
    rendered = run_tool("kubectl", "kustomize", folder)
    assert rendered.returncode == 0, rendered.stderr
    return list(yaml.safe_load_all(rendered.stdout))


def named(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for each in objects:
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]


def check_schema(each: Object, version: str) -> None:
    """Raises for a key or value that the API would not take; a kind without a schema is a fault too."""
    if each["kind"] in KEDA:
        jsonschema.validate(each, KEDA[each["kind"]])
    else:
        kubernetes_validate.validate(each, version, strict=True)


def restricted_faults(spec: Object) -> list[str]:
    """What the Pod Security Standard `restricted` forbids in a pod, and what we ask beyond it."""
    pod, faults = spec.get("securityContext", {}), []
    faults += [f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    faults += [
        f"volume {volume['name']} of a kind that is not allowed" for volume in spec.get("volumes", []) if not VOLUMES & set(volume)
    ]
    for container in [*spec["containers"], *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]:
        own = container.get("securityContext", {})
        both = {**pod, **own}
        checks = {
            "runs as root": both.get("runAsNonRoot") is not True or both.get("runAsUser") in (None, 0),
            "no seccomp profile": both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "privilege escalation": own.get("allowPrivilegeEscalation") is not False,
            "capabilities": own.get("capabilities") != {"drop": ["ALL"]},
            "privileged": bool(own.get("privileged")),
            "writable root file system": own.get("readOnlyRootFilesystem") is not True,
            "port on the host": any("hostPort" in port for port in container.get("ports", [])),
        }
        faults += [f"{container['name']}: {fault}" for fault, found in checks.items() if found]
    faults += ["a token of the API is mounted"] if spec.get("automountServiceAccountToken") is not False else []
    faults += ["service links would be taken for settings"] if spec.get("enableServiceLinks") is not False else []
    return faults


def most_pods(objects: list[Object], role: str) -> int:
    """How many pods of a role there can be at one time, a rolling update included."""
    deployment = named(objects, "Deployment")[f"streamrec-{role}"]["spec"]
    asked = [deployment["replicas"]] if "replicas" in deployment else []
    for scaled in named(objects, "ScaledObject").values():
        if scaled["spec"]["scaleTargetRef"]["name"] == f"streamrec-{role}":
            asked += [scaled["spec"]["maxReplicaCount"], scaled["spec"]["fallback"]["replicas"]]
    return max(asked) + deployment["strategy"]["rollingUpdate"]["maxSurge"]


def fewest_partitions(role: str, contracts: dict[str, TopicContract]) -> int:
    """Of the topics whose users the role's pods share out. `items` has one partition and follows its own rules."""
    return min(each.partitions for each in contracts.values() if role in each.consumers and each.key == "user_id")


def environment(objects: list[Object], container: Object) -> dict[str, str]:
    """The container's variables; one that comes from a Secret has that key's name as its value."""
    maps, merged = named(objects, "ConfigMap"), {}
    for source in container.get("envFrom", []):
        merged |= maps[source["configMapRef"]["name"]]["data"]
    return merged | {
        each["name"]: each.get("value") or each["valueFrom"]["secretKeyRef"]["key"] for each in container.get("env", [])
    }


def settings_of(objects: list[Object], template: Object, files: Path, patch: pytest.MonkeyPatch) -> Settings:
    """The settings that streamrec would make in this pod, with what it mounts under `files`."""
    [container] = template["spec"]["containers"]
    given = environment(objects, container)
    for mount in container["volumeMounts"]:
        [volume] = [volume for volume in template["spec"]["volumes"] if volume["name"] == mount["name"]]
        for item in volume.get("secret", {}).get("items", []):
            (files / item["path"]).write_text("secret")
            given = {
                name: value.replace(f"{mount['mountPath']}/{item['path']}", str(files / item["path"]))
                for name, value in given.items()
            }
    return settings_from(given, patch)


def chosen(selector: Object, pods: dict[str, dict[str, str]]) -> list[str]:
    assert set(selector) <= {"matchLabels"}
    return [name for name, labels in pods.items() if selector.get("matchLabels", {}).items() <= labels.items()]


def secret_references(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, list):
        for each in part:
            yield from secret_references(each)
    elif isinstance(part, dict):
        if "secretKeyRef" in part:
            yield part["secretKeyRef"]["name"], part["secretKeyRef"]["key"]
        if "secretName" in part:
            yield from ((part["secretName"], item["key"]) for item in part["items"])
        for reference in part.get("secretTargetRef", []):
            yield reference["name"], reference["key"]
        for each in part.values():
            yield from secret_references(each)
