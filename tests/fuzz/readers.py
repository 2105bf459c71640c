"""Everything in streamrec that reads bytes from outside, each as a function of bytes, with seeds to start from.

A reader may raise InvalidRecord or UserError and nothing else: whatever else comes out would stop a worker, or be a traceback
where an operator should find one line. The fuzzer and the test suite use the same ones.
"""

import gzip
import hashlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from safetensors import numpy as safetensors

from streamrec.admin.contracts import load_contracts
from streamrec.admin.deadletters import Letter, described, hexdump, readable
from streamrec.build import DEMO_BUNDLE
from streamrec.core.deadletters import origin_of
from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.intake import read_event, read_item
from streamrec.core.session import Position, SessionRules, update
from streamrec.core.types import Event, Explanation, Item, Recommendation, Session
from streamrec.core.wire import CONTENT_TYPES, MAX_RECORD_BYTES, decode, encode
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import LogRecord, as_json, read_log
from streamrec.serving.bundle import FILES, MANIFEST, content_version, load_bundle, pack_items, read_manifest
from streamrec.settings import PREFIX, load_settings

TYPED = (InvalidRecord, UserError)
TOPICS = Path(__file__).parents[2] / "topics"
KINDS = (Event, Item, Session, Recommendation, Explanation)
JSON = (("content-type", CONTENT_TYPES["json"]),)


class Reader(NamedTuple):
    """What reads. ``read`` is called with any bytes; a typed error is an answer as good as any."""

    read: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def attempt(reader: Reader, data: bytes) -> None:
    """Has it read; whatever is no typed error goes through."""
    said = ""
    try:
        reader.read(data)
    except TYPED as fault:
        said = str(fault)
    assert "\n" not in said, f"not one line: {said!r}"


# --- records ---


def _wire(data: bytes) -> None:
    """The first byte chooses the message and its format. What is read must come back the same."""
    choice, value = data[:1] or b"\0", data[1:]
    kind, written_as = KINDS[choice[0] % len(KINDS)], ("msgpack", "json")[choice[0] // len(KINDS) % 2]
    message = decode(kind, value, written_as)
    again = encode(message)
    assert len(again) > MAX_RECORD_BYTES or decode(kind, again) == message or "nan" in repr(message)


def _event(data: bytes) -> None:
    topic, headers = ("clicks", "listens")[data[:1] == b"\1"], JSON if data[:1] >= b"\2" else ()
    read_event(topic, data[1:], headers)


def _item(data: bytes) -> None:
    key, _, value = data.partition(b"\0")
    read_item(key, value, JSON if value[:1] == b"{" else ())


def _session(data: bytes) -> None:
    """A stored session, and an event that comes to it; the first two bytes say where one ends and the other begins."""
    size = int.from_bytes(data[:2])
    stored, came = data[2 : 2 + size], data[2 + size :]
    session = decode(Session, stored)
    event = read_event("listens", came, ())
    after, _ = update(session, event, Position("listens", 0, 1 << 40, event.occurred_at), 0, SessionRules())
    if isinstance(after, Session):
        assert len(after.history) <= max(len(session.history), SessionRules().max_history)


def _dead_letter(data: bytes) -> None:
    """A dead letter as an operator is shown it. Its headers stand in lines, ``name:value``; after a blank line comes its value."""
    lines, _, value = data.partition(b"\n\n")
    pairs = [line.partition(b":")[::2] for line in lines.split(b"\n")]
    headers = tuple((name.decode(errors="replace"), content or None) for name, content in pairs)
    record = LogRecord("dead-letters", 0, 0, 0, value[:9], value, headers)
    letter = Letter(record, origin_of(headers))
    json.dumps([described(letter), readable(letter), *hexdump(value)])


def _dead_letter_seeds() -> list[bytes]:
    examples = ["\n".join(f"{name}:{value}" for name, value in each.items()).encode() for each in _examples("dead-letters")]
    return [each + b"\n\n" + value for each in examples for value in (b"", b"\xc1", b'{"a":[1,null]}', b"\x81\xa1a\x01")]


def _examples(*topics: str, verdict: str = "*") -> list[Any]:
    paths = [path for topic in topics for path in sorted((TOPICS / "examples" / topic).glob(f"{verdict}/*.json"))]
    return [json.loads(path.read_text()) for path in paths]


def _wire_seeds() -> list[bytes]:
    topics = (("clicks", "listens"), ("items",), ("sessions",), ("recommendations",), ("explanations",))
    seeds = []
    for number, names in enumerate(topics):
        for value in _examples(*names):
            seeds += [bytes([number]) + msgspec.msgpack.encode(value), bytes([number + len(KINDS)]) + msgspec.json.encode(value)]
    return seeds


def _event_seeds() -> list[bytes]:
    values = _examples("clicks", "listens")
    return [bytes([n % 2]) + msgspec.msgpack.encode(value) for n, value in enumerate(values)] + [
        b"\2" + msgspec.json.encode(value) for value in values
    ]


def _item_seeds() -> list[bytes]:
    found = []
    for value in _examples("items"):
        key = str(value.get("item_id", "")).encode() + b"\0"
        found += [key + msgspec.msgpack.encode(value), key + msgspec.json.encode(value)]
    return found


def _session_seeds() -> list[bytes]:
    events = [msgspec.msgpack.encode(value) for value in _examples("listens", verdict="valid")]
    stored = [msgspec.msgpack.encode(value) for value in _examples("sessions", verdict="valid")]
    return [len(session).to_bytes(2) + session + event for session in stored for event in events]


# --- files ---


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")  # a disk would be the bottleneck
    return Path(tempfile.mkdtemp(prefix="streamrec-fuzz-", dir=memory if memory.is_dir() else None))


def _at(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data)
    return path


def _contract(data: bytes) -> None:
    _at("contracts/schemas/click.v1.schema.json", b"{}") if not (_folder() / "contracts").exists() else None
    load_contracts(_at("contracts/clicks.yaml", data).parent)


def _contract_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(TOPICS.glob("*.yaml"))]


def _dataset(folder: str, events: tuple[str, bytes], items: tuple[str, bytes]) -> None:
    _at(f"{folder}/events{events[0]}", events[1])
    read_dataset(_at(f"{folder}/items{items[0]}", items[1]).parent)


EVENTS_CSV = b"user_id,item_id,timestamp,event_type,ms_played\nu,a,1.5,click,\nu,b,2,listen,30000\n"
ITEMS_CSV = b'item_id,title,creator,tags,text\na,A,x,rock|pop,"t, ""u"""\nb,B,y,,\n'
EVENTS_CSV_ODD = b'user_id, item_id, timestamp, event_type, ms_played\n7.0, "a", 2023-11-14, click, 5.0\n'
ITEMS_CSV_ODD = b'\xef\xbb\xbfitem_id,title,tags\n a , A,"x, y"\n ,left out,\n'
EVENTS_JSONL_ODD = b'\xef\xbb\xbf{" user_id":7.0,"item_id":"1.0","timestamp":"2023-11-14","event_type":"click"}'
EVENTS_JSONL = b'{"user_id":"u","item_id":1,"timestamp":1.5,"event_type":"click"}\n' * 2
ITEMS_JSONL = b'{"item_id":1,"title":"A","tags":["x"]}\n{"item_id":"b"}\n'


def _csv(data: bytes) -> None:
    events, _, items = data.partition(b"\0\0")
    _dataset("csv", (".csv", events), (".csv", items or ITEMS_CSV))


def _csv_seeds() -> list[bytes]:
    return [EVENTS_CSV, EVENTS_CSV + b"\0\0" + ITEMS_CSV, EVENTS_CSV_ODD + b"\0\0" + ITEMS_CSV_ODD]


def _jsonl(data: bytes) -> None:
    events, _, items = data.partition(b"\0\0")
    _dataset("jsonl", (".jsonl", events), (".jsonl", items or ITEMS_JSONL))


def _jsonl_seeds() -> list[bytes]:
    return [EVENTS_JSONL, EVENTS_JSONL + b"\0\0" + ITEMS_JSONL, EVENTS_JSONL_ODD]


def _parquet(data: bytes) -> None:
    _dataset("parquet", (".parquet", data), (".csv", ITEMS_CSV))


def _parquet_seeds() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    rows = {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [1.5, 2.0], "event_type": ["click", "listen"]}
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(rows), sink)
    times = pyarrow.array([1_700_000_000_000_000_000, 1], pyarrow.timestamp("ns", "UTC"))
    zoned = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(rows | {"timestamp": times, "user_id": [7.0, 8.0]}), zoned)
    return [sink.getvalue().to_pybytes(), zoned.getvalue().to_pybytes()]


def _csv_gz(data: bytes) -> None:
    _dataset("csvgz", (".csv.gz", data), (".csv", ITEMS_CSV))


def _log(data: bytes) -> None:
    for record in read_log(_at("log.jsonl", data)):
        as_json(record)


def _log_gz(data: bytes) -> None:
    for record in read_log(_at("log.jsonl.gz", data)):
        as_json(record)


LOG = (
    b'{"topic":"listens","partition":3,"offset":17,"timestamp":1402878494000,"key":"WXGL","value":{"a":1}}\n'
    b'{"topic":"clicks","partition":0,"offset":1,"timestamp":1,"key":{"$base64":"/w=="},"value":{"$base64":"/w=="},'
    b'"headers":[["content-type","application/json"],["x",null]]}\n'
    b'{"topic":"items","partition":0,"offset":0,"timestamp":1,"key":"k","value":null,"headers":{"x":"y"}}\n'
)


def _settings(data: bytes) -> None:
    before = os.environ.get(PREFIX + "SETTINGS")
    os.environ[PREFIX + "SETTINGS"] = str(_at("settings.toml", data))
    try:
        load_settings()
    finally:
        if before is None:
            del os.environ[PREFIX + "SETTINGS"]
        else:
            os.environ[PREFIX + "SETTINGS"] = before


SETTINGS = [
    b'broker = "a:1,b:2"\ntopic_prefix = "x-"\nslate_size = 5\nlog_level = "debug"\n',
    b'security_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password = "p"\nsasl_mechanism = "PLAIN"\nssl_cafile = "/ca"\n',
    b'sasl_password_file = "/nowhere"\nops_port = 0\nsession_gap_seconds = 1e3\nrepeats = "never"\nbundle = "b"\n',
]


# --- bundles ---


@cache
def _bundle() -> Path:
    """A bundle of two items, as small as one can be."""
    items = {name: Item(schema_version=1, item_id=name) for name in ("a", "b")}
    counts = {
        "starts": np.array([0, 1, 2]),
        "followers": np.array([1, 0], np.uint16),
        "times": np.array([1, 2], np.uint16),
        "direct": np.array([1, 1], np.uint16),
        "shares": np.array([1, 1], np.float32),
        "popularity": np.array([0.5, 0.5]),
        "interactions": np.array([1, 2]),
    }
    content = {
        "weights.safetensors": b"",
        "model.onnx": b"",
        "vocabulary.json": b'["a","b"]',
        "items.jsonl.gz": pack_items(items),
        "counts.safetensors": safetensors.save(counts),
        "scorer.json": (DEMO_BUNDLE / "scorer.json").read_bytes(),
    }
    for name, data in content.items():
        _at(f"bundle/{name}", data)
    folder = _folder() / "bundle"
    _agree(folder)
    return folder


def _agree(folder: Path) -> None:
    """The manifest made to fit the files: what no checksum finds."""
    manifest = json.loads((DEMO_BUNDLE / MANIFEST).read_bytes())
    for name in FILES:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    entry = type(read_manifest(DEMO_BUNDLE).files["scorer.json"])
    manifest["version"] = content_version({name: entry(**each) for name, each in manifest["files"].items()})
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _in_bundle(name: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        folder = _bundle()
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        try:
            if name != MANIFEST:
                _agree(folder)
            bundle = load_bundle(folder)
            history = list(bundle.vocabulary.item_ids[:3])
            bundle.transitions.propose([history, []], 10)
            bundle.scorer().judge(history, bundle.transitions.propose([history], 10)[0].candidates)
        finally:
            (folder / name).write_bytes(before)

    return read


def _bundle_seeds(name: str) -> Callable[[], list[bytes]]:
    return lambda: [(_bundle() / name).read_bytes()] + ([(DEMO_BUNDLE / name).read_bytes()] if name.endswith("json") else [])


# --- the ops server ---


@cache
def _ops_port() -> int:
    """The ops server in a thread; its port."""
    import asyncio

    from prometheus_client import CollectorRegistry

    from streamrec.worker.ops import ops_server

    found: list[int] = []
    up = threading.Event()

    async def well() -> list[str]:
        return []

    async def serve() -> None:
        async with ops_server("127.0.0.1", 0, ready=well, live=well, registry=CollectorRegistry()) as port:
            found.append(port)
            up.set()
            await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    assert up.wait(10)
    return found[0]


def _http(data: bytes) -> None:
    """Sends the bytes; whatever comes back is HTTP, is no fault of the server's own, and tells nothing of its inside."""
    with socket.create_connection(("127.0.0.1", _ops_port()), timeout=5) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while part := client.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            return
    assert not answer or answer.startswith(b"HTTP/1."), answer[:80]
    assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), answer[:80]
    assert b"Traceback" not in answer


HTTP = [
    b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"POST /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /table/%2e%2e HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
    b"GET ws://x/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nExpect: 100-continue\r\n\r\n",
]


READERS: dict[str, Reader] = {
    "wire": Reader(_wire, _wire_seeds),
    "event": Reader(_event, _event_seeds),
    "item": Reader(_item, _item_seeds),
    "session": Reader(_session, _session_seeds),
    "dead-letter": Reader(_dead_letter, _dead_letter_seeds),
    "topic-contract": Reader(_contract, _contract_seeds),
    "dataset-csv": Reader(_csv, _csv_seeds),
    "dataset-csv-gz": Reader(_csv_gz, lambda: [gzip.compress(EVENTS_CSV, mtime=0)]),
    "dataset-jsonl": Reader(_jsonl, _jsonl_seeds),
    "dataset-parquet": Reader(_parquet, _parquet_seeds),
    "log-file": Reader(_log, lambda: [LOG]),
    "log-file-gz": Reader(_log_gz, lambda: [gzip.compress(LOG, mtime=0)]),
    "settings": Reader(_settings, lambda: SETTINGS),
    "bundle-manifest": Reader(_in_bundle(MANIFEST), _bundle_seeds(MANIFEST)),
    "bundle-vocabulary": Reader(_in_bundle("vocabulary.json"), _bundle_seeds("vocabulary.json")),
    "bundle-items": Reader(_in_bundle("items.jsonl.gz"), _bundle_seeds("items.jsonl.gz")),
    "bundle-counts": Reader(_in_bundle("counts.safetensors"), _bundle_seeds("counts.safetensors")),
    "bundle-scorer": Reader(_in_bundle("scorer.json"), _bundle_seeds("scorer.json")),
    "ops-server": Reader(_http, lambda: HTTP),
}
