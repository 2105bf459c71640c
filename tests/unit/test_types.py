"""The promises that all messages keep."""

import msgspec
import pytest

from streamrec.core import types
from streamrec.core.types import Event, Interaction, Item, Message

STRUCTS = [
    kind
    for kind in vars(types).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == types.__name__
]
TOP_LEVEL = [kind for kind in STRUCTS if "schema_version" in kind.__struct_fields__]


@pytest.mark.parametrize("kind", STRUCTS)
def test_messages_are_frozen(kind: type[msgspec.Struct]):
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize("kind", STRUCTS)
def test_a_newer_producers_fields_are_ignored_not_refused(kind: type[msgspec.Struct]):
    assert not kind.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("kind", [each for each in STRUCTS if each is not Interaction])
def test_fields_go_by_name_and_defaults_are_left_out(kind: type[msgspec.Struct]):
    assert not kind.__struct_config__.array_like
    assert kind.__struct_config__.omit_defaults


@pytest.mark.parametrize("kind", TOP_LEVEL)
def test_the_version_comes_first(kind: type[Message]):
    assert kind.__struct_fields__[0] == "schema_version"


def test_an_interaction_is_an_array_that_may_grow():
    assert Interaction.__struct_config__.array_like
    grown = msgspec.convert(["i1", "click", 5, "e1", True, "new"], Interaction)
    assert grown == Interaction("i1", "click", 5, "e1", True)
    assert msgspec.convert(["i1", "click", 5, "e1"], Interaction).skipped is False


@pytest.mark.parametrize("at", [0, 253_402_300_799_999])
def test_times_reach_from_1970_to_9999(at: int):
    assert msgspec.convert(["i1", "click", at, "e1"], Interaction).occurred_at == at
    for beyond in (-1, 253_402_300_800_000):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(["i1", "click", beyond, "e1"], Interaction)


def test_an_id_has_at_most_256_characters_whatever_they_are():
    assert Item(schema_version=1, item_id="x") == msgspec.convert({"schema_version": 1, "item_id": "x"}, Item)
    assert len(msgspec.convert({"schema_version": 1, "item_id": "🎵" * 256}, Item).item_id) == 256
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"schema_version": 1, "item_id": "x" * 257}, Item)


def test_properties_are_flat():
    fields = {"schema_version": 1, "event_id": "e", "event_type": "click", "user_id": "u", "item_id": "i", "occurred_at": 0}
    assert msgspec.convert(fields | {"properties": {"a": 1, "b": None}}, Event).properties == {"a": 1, "b": None}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields | {"properties": {"a": {"b": 1}}}, Event)
