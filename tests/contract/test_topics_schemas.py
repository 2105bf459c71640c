"""The schema files say of every field exactly what the code's types say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from streamrec.core.intake import ERASURES
from streamrec.core.types import Erased, Erasure, Interaction, Message
from streamrec.core.wire import EVENT_TYPES
from tests.contract.topic_schemas import CONTRACTS, MESSAGES, SCHEMAS


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


def said_by_code(info: Any) -> dict[str, Any]:
    """The constraints of a type as a schema would say them."""
    match info:
        case msgspec.inspect.StrType():
            said = {"type": {"string"}, "minLength": info.min_length, "maxLength": info.max_length}
        case msgspec.inspect.IntType():
            said = {"type": {"integer"}, "minimum": info.ge, "maximum": info.le}
        case msgspec.inspect.FloatType():
            said = {"type": {"number"}, "minimum": info.ge, "exclusiveMinimum": info.gt, "maximum": info.le}
        case msgspec.inspect.BoolType():
            said = {"type": {"boolean"}}
        case msgspec.inspect.NoneType():
            said = {"type": {"null"}}
        case msgspec.inspect.LiteralType():
            said = {"enum": set(info.values)}
        case msgspec.inspect.UnionType():
            parts = [said_by_code(part) for part in info.types]
            types = set().union(*(part["type"] for part in parts))
            said = {name: value for part in parts for name, value in part.items()}
            said["type"] = types - {"integer"} if "number" in types else types
        case msgspec.inspect.VarTupleType():
            bounds = {"minItems": info.min_length, "maxItems": info.max_length}
            said = {"type": {"array"}, "items": said_by_code(info.item_type), **bounds}
        case msgspec.inspect.DictType():
            said = {"type": {"object"}, "additionalProperties": said_by_code(info.value_type), "maxProperties": info.max_length}
        case msgspec.inspect.StructType() if info.array_like:
            entries = [said_by_code(field.type) for field in info.fields]
            said = {"type": {"array"}, "prefixItems": entries, "minItems": sum(field.required for field in info.fields)}
        case msgspec.inspect.StructType():
            required = [field.name for field in info.fields if field.required]
            fields = {field.name: said_by_code(field.type) for field in info.fields}
            said = {"type": {"object"}, "required": required, "properties": fields, "additionalProperties": True}
        case msgspec.inspect.Metadata():
            return said_by_code(info.type)
        case _:
            raise NotImplementedError(info)
    return {name: value for name, value in said.items() if value is not None}


def said_by_schema(part: Any, whole: dict[str, Any]) -> Any:
    """The same of a schema: references followed, words left out."""
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return said_by_schema(whole["$defs"][part["$ref"].removeprefix("#/$defs/")], whole)
    said: dict[str, Any] = {}
    for name, value in part.items():
        if name in ("description", "title", "default", "$schema", "$defs"):
            continue
        if name == "type":
            said[name] = set(value) if isinstance(value, list) else {value}
        elif name in ("enum", "const"):
            said["enum"] = set(value) if name == "enum" else {value}
        elif name == "properties":
            said[name] = {field: said_by_schema(inner, whole) for field, inner in value.items()}
        elif name == "prefixItems":
            said[name] = [said_by_schema(inner, whole) for inner in value]
        else:
            said[name] = said_by_schema(value, whole)
    return said


@pytest.mark.parametrize("topic", MESSAGES)
def test_the_schema_says_of_every_field_exactly_what_the_message_says(topic: str):
    schema = SCHEMAS["event.v1.schema.json" if topic in EVENT_TYPES else Path(CONTRACTS[topic].schema or "").name]
    assert said_by_schema(schema, schema) == said_by_code(msgspec.inspect.type_info(MESSAGES[topic]))


@pytest.mark.parametrize("topic", EVENT_TYPES)
def test_the_schema_of_an_event_topic_adds_only_the_events_type(topic: str):
    schema = SCHEMAS[Path(CONTRACTS[topic].schema or "").name]
    if topic == ERASURES:
        assert schema["oneOf"] == [{"$ref": "#/$defs/click"}, {"$ref": "erasure.v1.schema.json"}]
        schema = schema["$defs"]["click"]
    assert schema["allOf"] == [{"$ref": "event.v1.schema.json"}]
    assert said_by_schema(schema, schema) | {"allOf": []} == {
        "allOf": [],
        "properties": {"event_type": {"enum": {EVENT_TYPES[topic]}}},
    }


@pytest.mark.parametrize(("name", "kind"), [("erasure.v1.schema.json", Erasure), ("erased-header.v1.schema.json", Erased)])
def test_the_schemas_of_an_erasure_say_what_the_code_says(name: str, kind: type[Message]):
    assert said_by_schema(SCHEMAS[name], SCHEMAS[name]) == said_by_code(msgspec.inspect.type_info(kind))
    assert list(SCHEMAS[name]["properties"]) == [field.name for field in msgspec.structs.fields(kind)]


def default_of(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


@pytest.mark.parametrize("topic", MESSAGES)
def test_fields_stand_in_the_order_in_which_they_are_written_and_defaults_are_said(topic: str):
    schema = SCHEMAS["event.v1.schema.json" if topic in EVENT_TYPES else Path(CONTRACTS[topic].schema or "").name]
    fields = msgspec.structs.fields(MESSAGES[topic])
    assert list(schema["properties"]) == [field.name for field in fields]
    defaults = {field.name: default_of(field) for field in fields if not field.required and field.default is not None}
    said = {name: part["default"] for name, part in schema["properties"].items() if "default" in part}
    assert said == {name: list(default) if isinstance(default, tuple) else default for name, default in defaults.items()}


def test_interactions_are_described_in_the_order_of_their_fields():
    described = SCHEMAS["session.v1.schema.json"]["$defs"]["interaction"]["prefixItems"]
    fields = msgspec.structs.fields(Interaction)
    assert [part["description"].split(",")[0].split(":")[0] for part in described] == [field.name for field in fields]
