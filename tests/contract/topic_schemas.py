"""What the tests of topics/ share: schemas, validators, examples, and reading a value as the worker does."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from streamrec.admin.contracts import load_contracts
from streamrec.core.errors import InvalidRecord
from streamrec.core.intake import read_event, read_item
from streamrec.core.types import Event, Explanation, Item, Message, Recommendation, Session
from streamrec.core.wire import CONTENT_TYPES, EVENT_TYPES, Format, decode

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
