"""The contracts in ``topics/`` against the code: every topic has a file, and every file is meant."""

import json
import re
from pathlib import Path

import pytest

from streamrec.admin.contracts import TopicContract, find_topics_dir, load_contracts
from streamrec.core.deadletters import PREFIX, REPLAYED
from streamrec.core.errors import REASONS, UserError
from streamrec.core.intake import ERASED
from streamrec.core.session import Position, SessionRules
from streamrec.core.types import Event, Explanation, Item, Recommendation, Session
from streamrec.core.wire import CONTENT_TYPES, EVENT_TYPES, MAX_RECORD_BYTES
from streamrec.worker.output import MISROUTED

TOPICS = Path(__file__).parents[2] / "topics"
CONTRACTS = load_contracts(TOPICS)
KEYED_BY_USER = [contract for contract in CONTRACTS.values() if contract.key == "user_id"]
DAY_MS = 86_400_000
AUDIT_MS = 7 * DAY_MS
OUTSIDE = {"application", "catalogue", "subscribers", "operators"}  # who is no role of the worker

# The message on each topic; a topic that is missing here has no code, a topic that is missing in topics/ no contract.
MESSAGES = {
    "clicks": Event,
    "listens": Event,
    "items": Item,
    "sessions": Session,
    "recommendations": Recommendation,
    "explanations": Explanation,
    "dead-letters": None,
}

each_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)


def test_every_topic_has_a_contract_and_every_contract_a_topic():
    assert CONTRACTS.keys() == MESSAGES.keys()


def test_the_folder_holds_contracts_and_their_schemas_and_nothing_else():
    used = {TOPICS / name for contract in CONTRACTS.values() for name in (contract.schema, contract.headers_schema) if name}
    others = ("event", "erasure", "erased-header")  # clicks and listens refer to the first two; the last one is a header's
    used |= {TOPICS / "schemas" / f"{name}.v1.schema.json" for name in others}
    assert set((TOPICS / "schemas").iterdir()) == used
    assert {path.stem for path in TOPICS.glob("*.yaml")} == CONTRACTS.keys() | {"asyncapi"}
    assert {path.name for path in (TOPICS / "examples").iterdir()} == CONTRACTS.keys()


def test_producers_and_consumers_are_roles_of_the_worker_or_people_outside():
    from streamrec.cli.stream import Role

    roles = {role.value for role in Role} - {"all"}
    named = {who for contract in CONTRACTS.values() for who in (*contract.producers, *contract.consumers)}
    assert named == roles | OUTSIDE
    assert all(contract.producers and contract.consumers for contract in CONTRACTS.values())


def test_topics_that_hold_a_users_records_have_the_same_number_of_partitions():
    assert len({contract.partitions for contract in KEYED_BY_USER}) == 1
    assert CONTRACTS["dead-letters"].partitions == KEYED_BY_USER[0].partitions, "a dead letter keeps its partition number"
    assert CONTRACTS["items"].partitions == 1, "an offset of items is the catalogue's version"


@each_contract
def test_the_key_is_a_field_of_the_message(contract: TopicContract):
    message = MESSAGES[contract.name]
    assert (contract.key == "original") == (message is None)
    if message is not None:
        assert contract.key in message.__struct_fields__
        assert contract.partitioner == "murmur2"


@each_contract
def test_nothing_is_removed_within_the_audit_window(contract: TopicContract):
    config = contract.config
    policies = set(str(config["cleanup.policy"]).split(","))
    if "compact" in policies:
        assert config["min.compaction.lag.ms"] == AUDIT_MS
        assert config.get("max.compaction.lag.ms", AUDIT_MS + 1) > AUDIT_MS
        assert contract.tombstone, "say what a null value means"
        assert config["delete.retention.ms"] >= AUDIT_MS
    if "delete" in policies:
        assert AUDIT_MS < config["retention.ms"] <= 30 * DAY_MS


def test_cleanup_is_as_the_design_says():
    assert {name: contract.config["cleanup.policy"] for name, contract in CONTRACTS.items()} == {
        "clicks": "delete",
        "listens": "delete",
        "items": "compact",
        "sessions": "compact",
        "recommendations": "compact,delete",
        "explanations": "compact,delete",
        "dead-letters": "delete",
    }


def test_whatever_stands_on_an_input_topic_fits_into_dead_letters_with_its_headers():
    room = CONTRACTS["dead-letters"].config["max.message.bytes"]
    for name in ("clicks", "listens", "items"):
        assert 2 * CONTRACTS[name].config["max.message.bytes"] <= room
        assert CONTRACTS[name].max_value_bytes == MAX_RECORD_BYTES < CONTRACTS[name].config["max.message.bytes"]


def test_events_are_stamped_by_the_broker_because_the_skew_rule_trusts_that_clock():
    assert SessionRules().skew_ms > 0
    assert {CONTRACTS[name].config.get("message.timestamp.type") for name in EVENT_TYPES} == {"LogAppendTime"}


def test_the_header_of_a_tombstone_is_the_workers():
    topics = ("sessions", "recommendations", "explanations")
    assert {name for name, contract in CONTRACTS.items() if ERASED in contract.headers} == set(topics)
    assert all("erased-header.v1.schema.json" in CONTRACTS[name].headers[ERASED] for name in topics)


def test_the_headers_of_one_that_was_sent_back_are_said():
    assert {name for name, contract in CONTRACTS.items() if REPLAYED in contract.headers} == {"clicks", "listens", "items"}


def test_the_header_of_a_misrouted_event_is_the_workers():
    assert {MISROUTED in CONTRACTS[name].headers for name in EVENT_TYPES} == {True}


@each_contract
def test_content_types_are_those_that_the_wire_knows(contract: TopicContract):
    if contract.schema is not None:
        named = set(re.findall(r"application/[a-z]+", contract.headers["content-type"]))
        assert CONTENT_TYPES["msgpack"].decode() in named <= {each.decode() for each in CONTENT_TYPES.values()}


def test_dead_letter_headers_are_those_that_the_code_adds():
    from streamrec.core.deadletters import MOST_BYTES, dead_letter
    from streamrec.core.errors import InvalidRecord

    schema = json.loads((TOPICS / CONTRACTS["dead-letters"].headers_schema).read_text())
    at, fault = Position("clicks", 1, 2, 3), InvalidRecord("invalid", "no key")
    huge = b"x" * (MOST_BYTES + 1)
    always = dead_letter(at, fault, "sessions", b"", b"", ()).headers
    added = {*dead_letter(at, fault, "sessions", huge, huge, (("x", huge),)).headers}
    added |= {*dead_letter(at, fault, "sessions", None, None, ()).headers}
    assert sorted(name for name, _ in always) == sorted(schema["required"])
    assert sorted(name for name, _ in added) == sorted(schema["properties"])
    assert all(name.startswith(PREFIX) for name, _ in added)


def test_dead_letter_reasons_are_those_that_the_code_gives():
    schema = json.loads((TOPICS / CONTRACTS["dead-letters"].headers_schema).read_text())
    raised = re.compile(r'InvalidRecord\(\s*"(\w+)"')
    given = {reason for path in (TOPICS.parent / "streamrec").rglob("*.py") for reason in raised.findall(path.read_text())}
    assert given == set(schema["properties"]["streamrec.dlq.reason"]["enum"]) == set(REASONS)


CONTRACT = """
name: clicks
purpose: p
key: user_id
partitioner: murmur2
partitions: 3
config: {cleanup.policy: delete}
producers: [application]
consumers: [sessions]
schema: schemas/click.v1.schema.json
personal_data: none
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "click.v1.schema.json").write_text("{}")
    (tmp_path / "clicks.yaml").write_text(CONTRACT)
    return tmp_path


def test_a_contract_in_a_chosen_folder_is_read(folder: Path):
    assert load_contracts(folder)["clicks"].partitions == 3


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (("partitions: 3", "partitions: 0"), r"clicks.yaml: .*>= 1.*partitions"),
        (("key: user_id", "key: user"), r"clicks.yaml: .*user.*key"),
        (("purpose: p", "purposes: p"), r"clicks.yaml: .*purposes"),
        (("name: clicks", "name: click"), r"clicks.yaml: name is 'click'.*must be.*'clicks'"),
        (("click.v1", "klick.v1"), r"clicks.yaml: no file 'schemas/klick.v1.schema.json'"),
        (("config: {", "config: ["), r"clicks.yaml: "),
    ],
)
def test_a_broken_contract_is_refused_by_file_and_field(folder: Path, planted: tuple[str, str], says: str):
    (folder / "clicks.yaml").write_text(CONTRACT.replace(*planted))
    with pytest.raises(UserError, match=says) as refused:
        load_contracts(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_without_contracts_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(UserError, match="set STREAMREC_TOPICS_DIR"):
        find_topics_dir(tmp_path)
