"""Files as other tools write them: rows that are twice, other columns, other suffixes, odd items."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from streamrec.build import DEMO_BUNDLE
from streamrec.cli.verbs import app
from streamrec.core.types import Item
from streamrec.eventlog.dataset import read_dataset
from tests.datafiles import AT, HEADER, note, read_csv, refusal, write

# --- rows that are twice ---


def test_rows_that_are_twice_are_kept_and_noted(tmp_path: Path) -> None:
    header = HEADER + ",ms_played"
    others = [f"u,b,{AT},click,5", f"v,a,{AT},click,5"]
    lines = [f"u,a,{AT},click,5", f"u,a,{AT},click,6", f"u,a,{AT}.0,click,5.0", *others]
    read = read_csv(tmp_path, *lines, header=header)
    assert len(read) == 5
    said = f"rows equal to an earlier one in all columns: 1 of 5, such as user 'u', item 'a', {AT}; kept"
    assert note(read, "equal to") == f"events.csv: {said}"
    assert note(read_csv(tmp_path, *lines * 3, header=header), "equal to").startswith("warning: ")
    assert not any("equal to" in text for text in read_csv(tmp_path, *lines[:2], header=header).notes)


# --- columns and files ---


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("user;item", "no column 'user_id'; its columns seem to be separated by semicolons (user, item)"),
        (HEADER.replace(",", ";"), "separated by semicolons (user_id, item_id, timestamp, event_type)"),
        ('"user_id";"item_id"', "separated by semicolons (user_id, item_id)"),
        (HEADER.replace(",", "\t"), "separated by tabs (user_id, item_id, timestamp, event_type)"),
        (HEADER.replace(",", "|"), "separated by pipes (user_id, item_id, timestamp, event_type)"),
        ("userId,movieId,rating", "no column 'user_id'; the columns are userId, movieId, rating"),
        ('"uts","utc_time"', "the columns are uts, utc_time"),
        ('"user\nid",b', "the columns are user id, b"),
        (",".join(f"column{n}" for n in range(500)), "column3, column4"),
        (HEADER + ", item_id", "column 'item_id' stands twice"),
    ],
)
def test_an_error_names_the_columns_that_are_there(tmp_path: Path, header: str, said: str) -> None:
    message = refusal(read_csv, tmp_path, "x", header=header)
    assert f"{tmp_path / 'events.csv'}, line 1: " in message
    assert said in message
    assert len(message) < 600


def test_an_error_names_the_columns_of_other_formats(tmp_path: Path) -> None:
    listens = write(tmp_path, '{"listened_at": 1, "user_name": "me"}', suffix=".jsonl")
    assert "line 1: no 'user_id'; the names in it are listened_at, us" in refusal(read_dataset, listens)
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    (tmp_path / "events.jsonl").unlink()
    parquet.write_table(pyarrow.table({"user": ["u"], "item": ["a"]}), tmp_path / "events.parquet")
    assert "t: no column 'user_id'; the columns are user, item" in refusal(read_dataset, tmp_path)


@pytest.mark.parametrize("names", [["events.json"], ["EVENTS.CSV"], ["ratings.csv", "movies.csv"]])
def test_files_that_are_not_read_are_named(tmp_path: Path, names: list[str]) -> None:
    for name in ("items.csv", *names):
        (tmp_path / name).write_text("x")
    said = refusal(read_dataset, tmp_path)
    assert "no events file; the folder holds " in said
    assert all(name in said for name in names)
    assert "what is read is events.csv, events.csv.gz, events.jsonl, events.jsonl.gz, events.parquet" in said


def test_a_folder_of_files_is_no_file(tmp_path: Path) -> None:
    assert "the folder is empty" in refusal(read_dataset, tmp_path)
    (tmp_path / "items.parquet").mkdir()
    assert "the folder holds items.parquet/" in refusal(read_dataset, tmp_path)


# --- items ---


@pytest.mark.parametrize(
    ("tags", "warned"),
    [
        (["Rock, Pop, Jazz"], True),
        (["rock; pop", "x|y", "a;b"], True),
        (["['rock', 'pop']"], True),
        (["x|y", "a, b"], False),
        (["a, b|c", "d"], False),
        (["rock"], False),
    ],
)
def test_tags_with_another_separator_are_noted(tmp_path: Path, tags: list[str], warned: bool) -> None:
    items = "item_id,tags\n" + "".join(f'{"abc"[n]},"{text}"\n' for n, text in enumerate(tags))
    read = read_csv(tmp_path, f"u,a,{AT},click", items=items)
    assert read.items["a"].tags == tuple(tag.strip() for tag in tags[0].split("|"))
    assert any(text.startswith("warning: items.csv: tags with commas") for text in read.notes) == warned


def test_an_odd_item_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(f"{HEADER}\nu,a,{AT},click\n")
    long = {"title": "x" * 20_001, "creator": "ü" * 200_000, "tags": ["y" * 257, *["t"] * 70], "text": 5}
    rows = [
        {"item_id": "a", **long},
        {"item_id": "b", "title": 1984, "tags": [" t ", None, 7, ""]},
        {"item_id": " "},
        {"item_id": "z" * 257},
        {"item_id": None},
        {"item_id": "c", "title": " C ", "tags": "x | y"},
        {"item_id": "c", "title": "C", "tags": "x|y"},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    read = read_dataset(tmp_path)
    assert list(read.items) == ["a", "b", "c"]
    for item in read.items.values():  # each keeps the limits of the messages
        assert msgspec.convert(msgspec.to_builtins(item), Item) == item
    assert (len(read.items["a"].title), len(read.items["a"].tags), read.items["a"].text) == (20_000, 64, "5")
    assert (read.items["b"].title, read.items["b"].tags) == ("1984", ("t", "7"))
    assert read.items["c"].tags == ("x", "y")
    first = "the first: line 1: a title of 20,001 characters, 20,000 are kept"
    assert note(read, "over a limit") == f"items.jsonl: 4 values over a limit, cut; {first}"
    said = "warning: items.jsonl: 3 rows left out; the first: line 3: item_id is empty"
    assert note(read, "left out") == said
    assert "1 row equal to an earlier one" in note(read, "ignored")


def test_a_long_text_in_csv_is_cut(tmp_path: Path) -> None:
    items = f"item_id,text\na,{'x' * 300_000}\n"
    assert len(read_csv(tmp_path, f"u,a,{AT},click", items=items).items["a"].text) == 20_000


def test_items_without_any_usable_id_are_refused(tmp_path: Path) -> None:
    said = refusal(read_csv, tmp_path, f"u,a,{AT},click", items="item_id\n \n")
    assert "items.csv: no row has a usable id; the first: line 2: item_id is empty" in said


def test_items_that_only_blanks_tell_apart(tmp_path: Path) -> None:
    said = refusal(read_csv, tmp_path, f"u,a,{AT},click", items="item_id,title\na,x\na ,y\n")
    assert "items.csv, line 3, column item_id: 'a' stands twice, and differs" in said


# --- who says so ---


class Stop(Exception):
    """What stands for the work that follows the reading."""


@pytest.mark.parametrize(
    ("verb", "work"),
    [
        (("train", "{data}", "--out", "{data}/bundle"), "streamrec.training.train.train"),
        (("evaluate", str(DEMO_BUNDLE), "{data}"), "streamrec.evaluation.evaluate.evaluate"),
        (("replay", "{data}", "--out", "{data}/out.jsonl"), "streamrec.replay.run.dataset_records"),
        (("produce", "{data}"), "streamrec.admin.produce.produce"),
    ],
)
def test_each_verb_says_the_notes_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], work: str
) -> None:
    if verb[0] == "train":
        pytest.importorskip("torch", reason="the extra train is not installed")

    def stop(*arguments: Any, **named: Any) -> None:
        raise Stop

    monkeypatch.setattr(work, stop)
    items = f'item_id,tags\na,"[bold]{"x, " * 90}"\n'
    notes = read_csv(tmp_path, *[f"u,a,{AT},click"] * 2, items=items).notes
    assert len(notes) == 4
    done = CliRunner().invoke(app, [part.format(data=tmp_path) for part in verb])
    assert isinstance(done.exception, Stop)
    assert [line for line in done.stderr.splitlines() if line in notes] == list(notes)
    assert not done.stdout
