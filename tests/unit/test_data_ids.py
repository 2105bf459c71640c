"""Ids as other tools write them: changed in type, with blanks, or of two files that do not meet."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from streamrec.eventlog.dataset import read_dataset
from tests.datafiles import (
    AT,
    COLUMNS,
    HEADER,
    catalogue,
    note,
    read_csv,
    read_jsonl,
    read_parquet,
    refusal,
    write,
)

# --- ids that changed their type in one file ---


@pytest.mark.parametrize(
    ("in_events", "in_items", "expected"),
    [
        (["42.0", "7.0"], ["42", "7"], {"42", "7"}),
        (["0.0", "42.0"], ["0", "42"], {"0", "42"}),
        (["42"], ["42.0", "7.0"], {"42", "7"}),
        (["42.0"], ["42.0", "7.0"], {"42", "7"}),
        (["1.0"], ["1", "1.0"], {"1", "1.0"}),  # the catalogue has both
        (["1.0", "1"], ["1.0", "2.0"], {"1", "1.0", "2.0"}),  # some ids are meant as they are written
        (["1.0", "x"], ["1.0", "x"], {"1.0", "x"}),
        (["1.10", "2.0"], ["1.10", "2.0"], {"1.10", "2.0"}),
        (["00.0", "2.0"], ["2.0", "x"], {"00.0", "2.0", "x"}),
    ],
)
def test_a_column_of_floats_is_whole_numbers(
    tmp_path: Path,
    in_events: list[str],
    in_items: list[str],
    expected: set[str],
) -> None:
    """A text id loses its ``.0`` if its column is all floats, and the other file does not mean it."""
    read = read_csv(tmp_path, *[f"u,{name},{AT},click" for name in in_events], items=catalogue(*in_items))
    assert set(read.item_ids) == expected
    changed = any(name not in expected for name in (*in_events, *in_items))
    assert any("written as a float" in text for text in read.notes) == changed


def test_a_float_is_the_same_id_in_every_format(tmp_path: Path) -> None:
    kinds: list[tuple[Any, ...]] = [(7, 42), (7.0, 42.0), ("7.0", "42.0"), ("7", 42.0)]
    for number, (user, item) in enumerate(kinds):
        folders = [tmp_path / f"{number}{kind}" for kind in ("csv", "jsonl", "parquet")]
        for folder in folders:
            folder.mkdir()
        (folders[1] / "items.csv").write_text(catalogue("42"))
        line = json.dumps({"user_id": user, "item_id": item, "timestamp": AT, "event_type": "click"})
        (folders[1] / "events.jsonl").write_text(line)
        read = [
            read_csv(folders[0], f"{user},{item},{AT},click", items=catalogue("42")),
            read_dataset(folders[1]),
            read_parquet(folders[2], catalogue("42"), user_id=[user], item_id=[item]),
        ]
        assert [(dataset.user_ids, dataset.item_ids) for dataset in read] == [(("7",), ("42",))] * 3
        assert len({dataset.sha256 for dataset in read}) == 1


def test_numbers_in_json_are_equal_as_numbers(tmp_path: Path) -> None:
    read = read_jsonl(tmp_path, {"user_id": 7.0}, {"user_id": 7}, {"user_id": "7"})
    assert read.user_ids == ("7",)


@pytest.mark.parametrize("value", [7.5, True, 1e300, 1.5e17, [1], None])
def test_a_number_that_is_no_id(tmp_path: Path, value: Any) -> None:
    assert "line 2, column user_id: " in refusal(read_jsonl, tmp_path, {}, {"user_id": value})


def test_floats_with_lost_digits_in_parquet(tmp_path: Path) -> None:
    assert "has lost digits" in refusal(read_parquet, tmp_path, user_id=[1.5e17])
    assert "line 1, column user_id: is missing" in refusal(read_parquet, tmp_path, user_id=[float("nan")])


@pytest.mark.parametrize(
    ("in_events", "in_items", "cause"),
    [
        ("0042", "42", "leading zeros"),
        ("42", "0042", "leading zeros"),
        ("AB", "ab", "upper and lower case"),
        ("Bjo\u0308rk", "Bj\u00f6rk", "encode the same letters"),
        ("spotify:track:x", "x", "a prefix"),
        ("'x'", "x", "quotes"),
        ("a  b", "a b", "blanks inside"),
        ("42.00", "42", "written as floats"),
        ("1.23457E+17", "123456789012345678", "shortened long numbers"),
        ("x", "y", "of one data set?"),
    ],
)
def test_files_that_do_not_meet_are_refused(
    tmp_path: Path,
    in_events: str,
    in_items: str,
    cause: str,
) -> None:
    said = refusal(read_csv, tmp_path, f"u,{in_events},{AT},click", items=catalogue(in_items))
    assert f"events.csv: none of its items is in items.csv: {in_events!r} against {in_items!r}; " in said
    assert cause in said


def test_how_many_items_meet_is_noted(tmp_path: Path) -> None:
    lines = [f"u,{name},{AT},click" for name in ("1", "2", "x", "x")]
    said = note(read_csv(tmp_path, *lines, items=catalogue("1", "2", "3", "4", "5")), "without an event")
    assert "items of events.csv that are not in items.csv: 1 of 3 (such as 'x'); " in said
    assert "items of items.csv without an event: 3 of 5" in said


def test_a_warning_if_most_items_do_not_meet(tmp_path: Path) -> None:
    lines = [f"u,{name},{AT},click" for name in ("0042", "0043", "7")]
    said = note(read_csv(tmp_path, *lines, items=catalogue("42", "43", "7")), "without an event")
    assert said.startswith("warning: items of events.csv that are not in items.csv: 2 of 3 ('0042' is '42'")


def test_a_catalogue_with_a_header_only(tmp_path: Path) -> None:
    read = read_csv(tmp_path, f"u,x,{AT},click", items="item_id,title\n")
    assert read.item_ids == ("x",)
    assert "items.csv has no items" in note(read, "no title")


def test_ids_that_differ_only_as_numbers_are_noted(tmp_path: Path) -> None:
    read = read_csv(tmp_path, f"7,a,{AT},click", f"7.0,a,{AT},click", f"007,a,{AT},click")
    assert read.user_ids == ("007", "7", "7.0")
    assert note(read, "user_id").startswith("warning: events.csv, user_id: 2 ids equal to another as a num")
    shortened = read_csv(tmp_path, f"1.23457E+17,a,{AT},click")
    assert "different ids may have become equal" in note(shortened, "1 id such as '1.23457E+17'")


# --- blanks ---


def test_blanks_around_values_are_ignored_and_counted(tmp_path: Path) -> None:
    lines = (f"u,a,{AT},click,", f"u ,a\u00a0,{AT}, click,", f" u,\u200ba, {AT} ,click , ")
    read = read_csv(tmp_path, *lines, header=HEADER + ",ms_played ")
    assert (read.user_ids, read.item_ids, read.event_type.tolist()) == (("u",), ("a", "b"), [0, 0, 0])
    assert note(read, "user_id").endswith("ignored in 2 rows, such as 'u '")
    assert note(read, "item_id").endswith("ignored in 2 rows, such as 'a\\xa0'")


def test_blanks_after_commas_may_precede_quotes(tmp_path: Path) -> None:
    header = '"user_id", "item_id", "timestamp", "event_type"'
    items = 'item_id, title\n" a", "x, y"\n'
    read = read_csv(tmp_path, f'"u", "a", "{AT}", "click"', header=header, items=items)
    assert (read.user_ids, read.items["a"].title) == (("u",), "x, y")
    assert "blanks after commas ignored" in note(read, "events.csv: blanks")
    assert "1 row, such as ' a'" in note(read, "items.csv, item_id")


def test_blanks_around_names_in_every_format(tmp_path: Path) -> None:
    assert len(read_csv(tmp_path, f"u,a,{AT},click", header=" user_id ,item_id\t,timestamp ,event_type")) == 1
    (tmp_path / "events.csv").unlink()
    blank = {" user_id": "u", "item_id ": "a", "timestamp": AT, "event_type": "click", " ms_played": 5}
    assert read_dataset(write(tmp_path, json.dumps(blank), suffix=".jsonl")).extras == {"ms_played": [5]}
    (tmp_path / "events.jsonl").unlink()
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    table = pyarrow.table({f" {name}": cells for name, cells in COLUMNS.items()})
    parquet.write_table(table, tmp_path / "events.parquet")
    assert read_dataset(tmp_path).user_ids == ("u",)


def test_a_byte_order_mark_in_jsonl(tmp_path: Path) -> None:
    line = json.dumps({name: cell[0] for name, cell in COLUMNS.items()}).encode()
    marked = b"\xef\xbb\xbf" + line + b"\n"
    (tmp_path / "gz").mkdir()
    assert len(read_dataset(write(tmp_path, marked * 2, suffix=".jsonl"))) == 2
    assert len(read_dataset(write(tmp_path / "gz", gzip.compress(marked), suffix=".jsonl.gz"))) == 1
    only_mark = write(tmp_path, b"\xef\xbb\xbf\n\n", suffix=".jsonl")
    assert "no events" in refusal(read_dataset, only_mark)
