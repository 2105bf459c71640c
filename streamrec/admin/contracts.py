"""The topics' contracts: the YAML files in ``topics/`` as frozen values. It knows no broker."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from streamrec.core.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "topics", _PACKAGE.parent / "topics")  # in a wheel; in a checkout

TopicName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*$", max_length=100)]

# Topics whose number of partitions cannot change: users live in those of `sessions`, versions are offsets of `items`.
FIXED_PARTITIONS = ("sessions", "items")


class TopicContract(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What everybody can count on about one topic. ``name`` is without the deployment's prefix."""

    name: TopicName
    purpose: str
    key: Literal["user_id", "item_id", "original"]
    partitioner: Literal["murmur2", "as-it-came"]
    partitions: Annotated[int, Meta(ge=1)]
    config: dict[str, str | int]  # as Kafka names it; replicas and min.insync.replicas are the deployment's
    producers: tuple[str, ...]  # roles of the worker, or people outside
    consumers: tuple[str, ...]
    schema: str | None  # JSON Schema of the value, beside the contract; None: any bytes
    headers_schema: str | None = None
    max_value_bytes: int | None = None
    tombstone: str | None = None  # what a null value says; None: it is not allowed
    headers: dict[str, str] = {}
    personal_data: str


def find_topics_dir(chosen: Path | None = None) -> Path:
    """The folder of the contracts: the one chosen, else the one shipped with streamrec.

    Raises:
        UserError: there is none.
    """
    places = (chosen,) if chosen else _PLACES
    for place in places:
        if any(place.glob("*.yaml")):
            return place
    raise UserError(f"no topic contracts (*.yaml) in {places[0]}; set STREAMREC_TOPICS_DIR to a folder that has them")


def load_contracts(folder: Path | None = None) -> dict[str, TopicContract]:
    """Every contract in the folder, by topic.

    Raises:
        UserError: a file cannot be read or is no contract; the file and the field are named.
    """
    folder = find_topics_dir(folder)
    files = sorted(path for path in folder.glob("*.yaml") if path.stem != "asyncapi")
    return {contract.name: contract for contract in map(_load, files)}


def _load(path: Path) -> TopicContract:
    try:
        contract = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), TopicContract)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UserError(f"topic contract {path}: {' '.join(str(error).split())}") from None
    if contract.name != path.stem:
        raise UserError(f"topic contract {path}: name is {contract.name!r}; it must be the file's, {path.stem!r}")
    for schema in filter(None, (contract.schema, contract.headers_schema)):
        if not (path.parent / schema).is_file():
            raise UserError(f"topic contract {path}: no file {schema!r} beside it")
    return contract
