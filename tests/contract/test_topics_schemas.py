"""The schemas and the messages say the same: what one accepts the other accepts, what one refuses the other refuses."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from streamrec.admin.contracts import load_contracts
from streamrec.core.deadletters import dead_letter_headers
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event, read_item
from streamrec.core.pipeline import recommendation_id
from streamrec.core.session import Position
from streamrec.core.types import Event, Explanation, Interaction, Item, Message, Recommendation, Session, Trigger
from streamrec.core.wire import CONTENT_TYPES, EVENT_TYPES, Format, decode, encode

TOPICS = Path(__file__).parents[2] / "topics"
CONTRACTS = load_contracts(TOPICS)
SCHEMAS = {path.name: json.loads(path.read_text()) for path in (TOPICS / "schemas").glob("*.json")}
REGISTRY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items())
MESSAGES: dict[str, type[Message]] = {
    "clicks": Event,
    "listens": Event,
    "items": Item,
    "sessions": Session,
    "recommendations": Recommendation,
    "explanations": Explanation,
}


@cache
def validator(topic: str) -> Draft202012Validator:
    contract = CONTRACTS[topic]
    name = Path(contract.schema or contract.headers_schema or "").name
    return Draft202012Validator({"$ref": name}, registry=REGISTRY)


def read(topic: str, value: bytes, written_as: Format) -> Message:
    """As the worker reads a record of this topic."""
    headers = [("content-type", CONTENT_TYPES[written_as])]
    if topic in EVENT_TYPES:
        return read_event(topic, value, headers)
    if topic == "items":
        key = msgspec.json.decode(value).get("item_id") if written_as == "json" else msgspec.msgpack.decode(value).get("item_id")
        item = read_item(key.encode() if isinstance(key, str) else b"?", value, headers)[1]
        assert item is not None
        return item
    return decode(MESSAGES[topic], value, written_as)


def decodes(topic: str, value: Any, written_as: Format = "json") -> bool:
    write = msgspec.json.encode if written_as == "json" else msgspec.msgpack.encode
    try:
        read(topic, write(value), written_as)
    except InvalidRecord:
        return False
    return True


def examples(verdict: str, topics: Any = tuple(MESSAGES)) -> list[Any]:
    paths = sorted(path for topic in topics for path in (TOPICS / "examples" / topic / verdict).glob("*.json"))
    return [pytest.param(path.parts[-3], json.loads(path.read_text()), id="/".join(path.parts[-3:])) for path in paths]


STEADY = settings(deadline=None, derandomize=True, database=None)  # the same examples each time


# --- the schema files themselves ---


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str):
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_check_of_schemas_refuses_what_is_none():
    with pytest.raises(Exception, match="nonsense"):
        Draft202012Validator.check_schema({"type": "nonsense"})


def parts_of(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its place."""
    if isinstance(schema, dict):
        if {"type", "const", "enum", "$ref", "allOf"} & schema.keys():
            yield path, schema
        for name, part in schema.items():
            if name not in ("enum", "default", "required"):
                yield from parts_of(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from parts_of(part, f"{path}/{number}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described_and_no_object_is_closed(name: str):
    for path, part in parts_of(SCHEMAS[name]):
        *_, holder, name_of_part = ("", *path.split("/"))
        if holder == "properties" and name_of_part != "additionalProperties":
            assert part.get("description") or "$ref" in part, f"{name}{path} has no description"
        if "properties" in part and part.get("type") == "object":
            assert part["additionalProperties"] is True, f"{name}{path}: readers ignore fields that they do not know"


@pytest.mark.parametrize("topic", MESSAGES)
def test_the_schema_names_exactly_the_fields_of_the_message(topic: str):
    schema = SCHEMAS["event.v1.schema.json" if topic in EVENT_TYPES else Path(CONTRACTS[topic].schema or "").name]
    fields = msgspec.structs.fields(MESSAGES[topic])
    assert list(schema["properties"]) == [field.name for field in fields]
    assert schema["required"] == [field.name for field in fields if field.required]
    defaults = {field.name: field.default for field in fields if not field.required and field.default is not None}
    said = {name: part["default"] for name, part in schema["properties"].items() if "default" in part}
    assert said == {name: list(default) if isinstance(default, tuple) else default for name, default in defaults.items()}


# --- the examples ---


@pytest.mark.parametrize(("topic", "value"), examples("valid"))
def test_a_valid_example_is_accepted_by_schema_and_code_and_comes_back_valid(topic: str, value: Any):
    validator(topic).validate(value)
    for written_as, write in (("json", msgspec.json.encode), ("msgpack", msgspec.msgpack.encode)):
        message = read(topic, write(value), written_as)
        for again in ("json", "msgpack"):
            back = encode(message, again)
            assert read(topic, back, again) == message
            validator(topic).validate(json.loads(back) if again == "json" else msgpack.unpackb(back))


@pytest.mark.parametrize(("topic", "value"), examples("invalid"))
def test_an_invalid_example_is_refused_by_schema_and_by_code(topic: str, value: Any):
    assert not validator(topic).is_valid(value)
    for written_as in ("json", "msgpack"):
        assert not decodes(topic, value, written_as)


@pytest.mark.parametrize(("topic", "headers"), examples("valid", ["dead-letters"]))
def test_valid_dead_letter_headers_are_accepted(topic: str, headers: dict[str, str]):
    validator(topic).validate(headers)


@pytest.mark.parametrize(("topic", "headers"), examples("invalid", ["dead-letters"]))
def test_invalid_dead_letter_headers_are_refused(topic: str, headers: dict[str, str]):
    assert not validator(topic).is_valid(headers)


@pytest.mark.parametrize("topic", CONTRACTS)
def test_every_topic_has_examples_that_must_pass_and_examples_that_must_not(topic: str):
    assert len(examples("valid", [topic])) >= 2
    assert len(examples("invalid", [topic])) >= 4


@pytest.mark.parametrize("topic", MESSAGES)
def test_every_topic_has_an_example_of_a_newer_producer_and_of_a_newer_version(topic: str):
    newer = json.loads((TOPICS / "examples" / topic / "valid" / "from-a-newer-producer.json").read_text())
    known = set(MESSAGES[topic].__struct_fields__)
    assert newer.keys() - known, "a field that this reader does not know"
    with pytest.raises(InvalidRecord, match="unknown_version"):
        read(topic, msgspec.json.encode({**newer, "schema_version": 2}), "json")


@pytest.mark.parametrize(("topic", "value"), examples("valid", ["recommendations"]))
def test_the_recommendation_id_of_an_example_is_derived_from_its_trigger(topic: str, value: Any):
    assert value["recommendation_id"] == recommendation_id(Trigger(**value["trigger"]))
    for item in value["items"]:
        assert item["score"] == pytest.approx(sum(item["parts"].values()))


# --- both directions, beyond the examples ---

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), FLOAT, TEXT)
NARROWER = {  # NaN is no number in JSON, and msgpack ends at 64 bits
    "properties": st.none() | st.dictionaries(TEXT, SCALAR, max_size=5),
    "parts": st.dictionaries(TEXT, FLOAT, max_size=5),
    "score": FLOAT,
}


@cache
def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Any message of this kind that the code's own types allow."""
    fields = {field.name: values(msgspec.inspect.type_info(field.type)) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields | {name: strategy for name, strategy in NARROWER.items() if name in fields})


def values(info: Any) -> st.SearchStrategy[Any]:
    match info:
        case msgspec.inspect.StrType():
            most = info.max_length or 12
            short = st.text(st.characters(exclude_categories=["Cs"]), min_size=info.min_length or 0, max_size=min(most, 12))
            return short | st.sampled_from(["x" * most, "🎵" * most]) if most <= 256 else short
        case msgspec.inspect.IntType():
            return st.integers(info.ge if info.ge is not None else -(2**63), info.le if info.le is not None else 2**63 - 1)
        case msgspec.inspect.FloatType():
            low, high = info.ge if info.ge is not None else info.gt, info.le
            return st.floats(low, high, allow_nan=False, allow_infinity=False, exclude_min=info.gt is not None)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType():
            return st.sampled_from(info.values)
        case msgspec.inspect.UnionType():
            return st.one_of(*map(values, info.types))
        case msgspec.inspect.VarTupleType():
            return st.lists(values(info.item_type), max_size=4).map(tuple)
        case msgspec.inspect.DictType():
            return st.dictionaries(values(info.key_type), values(info.value_type), max_size=4)
        case msgspec.inspect.StructType():
            return messages(info.cls)
        case msgspec.inspect.Metadata():
            return values(info.type)
    raise NotImplementedError(info)


@pytest.mark.parametrize("topic", MESSAGES)
@given(data=st.data())
@settings(STEADY, max_examples=60)
def test_whatever_the_code_can_write_the_schema_accepts_and_the_code_reads(topic: str, data: st.DataObject):
    message = data.draw(messages(MESSAGES[topic]))
    if topic in EVENT_TYPES:
        message = msgspec.structs.replace(message, event_type=EVENT_TYPES[topic])
    for written_as in ("json", "msgpack"):
        value = encode(message, written_as)
        validator(topic).validate(json.loads(value) if written_as == "json" else msgpack.unpackb(value, strict_map_key=True))
        assert read(topic, value, written_as) == message


WRONG = [
    *(None, True, 0, -1, 2, 1.5, 2**53, 2**53 + 1, "", "x", "listen", "x" * 257, "x" * 20_001),
    *([], ["x"], [1], {}, {"x": "y"}, {"x": {}}, {"kind": "popular"}),
]


@st.composite
def bent_examples(draw: st.DrawFn, topic: str) -> Any:
    """A valid example with one thing changed anywhere: removed, or replaced by something from elsewhere."""
    value = copy.deepcopy(draw(st.sampled_from([example.values[1] for example in examples("valid", [topic])])))
    place, key = draw(st.sampled_from(list(places(value))))
    if draw(st.booleans()):
        del place[key]
    else:
        place[key] = copy.deepcopy(draw(st.sampled_from(WRONG)))
    return value


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.parametrize("topic", MESSAGES)
@given(data=st.data())
@settings(STEADY, max_examples=200)
def test_schema_and_code_agree_on_every_bent_example(topic: str, data: st.DataObject):
    value = data.draw(bent_examples(topic))
    accepted = validator(topic).is_valid(value)
    assert decodes(topic, value, "json") == accepted
    assert decodes(topic, value, "msgpack") == accepted


@settings(STEADY)
@given(st.builds(Position, TEXT.filter(bool), *[st.integers(0, 2**63 - 1)] * 2, st.integers(-1, 2**63 - 1)), TEXT)
def test_the_headers_that_the_code_adds_keep_to_their_schema(at: Position, detail: str):
    headers = dead_letter_headers(at, InvalidRecord("invalid", detail), "sessions")
    validator("dead-letters").validate({name: value.decode() for name, value in headers})


def test_interactions_are_described_in_the_order_of_their_fields():
    described = SCHEMAS["session.v1.schema.json"]["$defs"]["interaction"]["prefixItems"]
    fields = msgspec.structs.fields(Interaction)
    assert [part["description"].split(",")[0].split(":")[0] for part in described] == [field.name for field in fields]
    assert SCHEMAS["session.v1.schema.json"]["$defs"]["interaction"]["minItems"] == sum(field.required for field in fields)
