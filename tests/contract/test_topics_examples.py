"""Schema and code accept the same values and refuse the same: the examples, whatever the code can write, and bent examples."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrec.core.deadletters import dead_letter
from streamrec.core.errors import InvalidRecord
from streamrec.core.pipeline import recommendation_id
from streamrec.core.session import Position
from streamrec.core.types import Trigger
from streamrec.core.wire import EVENT_TYPES, encode
from tests.contract.topic_schemas import CONTRACTS, MESSAGES, TOPICS, decodes, examples, read, validator

STEADY = settings(deadline=None, derandomize=True, database=None)  # the same examples each time


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
            return st.lists(values(info.item_type), min_size=info.min_length or 0, max_size=4).map(tuple)
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
    headers = dead_letter(at, InvalidRecord("invalid", detail), "sessions", None, None, ()).headers
    validator("dead-letters").validate({name: value.decode() for name, value in headers})
