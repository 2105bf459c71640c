"""Data sets in the formats that are read, for tests: one fine row, but for what a test changes in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset, read_dataset

HEADER = "user_id,item_id,timestamp,event_type"
ITEMS = "item_id,title,creator,tags,text\na,A,,,\nb,B,,,\n"
AT = 1_700_000_000
COLUMNS: dict[str, Any] = {"user_id": ["u"], "item_id": ["a"], "timestamp": [AT], "event_type": ["click"]}


def write(folder: Path, events: str | bytes, items: str | bytes = ITEMS, suffix: str = ".csv") -> Path:
    for name, content in ((f"events{suffix}", events), ("items.csv", items)):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read_csv(folder: Path, *lines: str, header: str = HEADER, items: str = ITEMS) -> Dataset:
    return read_dataset(write(folder, "\n".join([header, *lines]) + "\n", items))


def read_jsonl(folder: Path, *rows: dict[str, Any]) -> Dataset:
    lines = [json.dumps({name: cell[0] for name, cell in COLUMNS.items()} | row) for row in rows]
    return read_dataset(write(folder, "\n".join(lines), suffix=".jsonl"))


def read_parquet(folder: Path, items: str = ITEMS, **columns: Any) -> Dataset:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(COLUMNS | columns), sink)
    return read_dataset(write(folder, sink.getvalue().to_pybytes(), items, suffix=".parquet"))


def refusal(read: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def note(dataset: Dataset, about: str) -> str:
    matches = [text for text in dataset.notes if about in text]
    assert len(matches) == 1, dataset.notes
    assert "\n" not in matches[0]
    return matches[0]


def catalogue(*ids: str) -> str:
    return "item_id,title\n" + "".join(f"{name},T {name}\n" for name in ids)
