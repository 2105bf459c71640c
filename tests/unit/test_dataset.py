"""Data sets: what is read, in which order, and what is said of a broken line."""

import gzip
from pathlib import Path

import pytest

from streamrec.core.errors import UserError
from streamrec.core.types import Item
from streamrec.eventlog.dataset import Dataset, read_dataset

HEADER = "user_id,item_id,timestamp,event_type"
ITEMS = "item_id,title,creator,tags,text\na,Ähre,Åse,x|y,about a\n"
RADIO = Path(__file__).parents[3] / "shared" / "data" / "classic-rock-radio"


def write(folder: Path, *lines: str, header: str = HEADER, items: str = ITEMS) -> Path:
    (folder / "events.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "items.csv").write_text(items)
    return folder


def rows(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [
        (dataset.user_ids[user], dataset.item_ids[item], time)
        for user, item, time in zip(dataset.user_index, dataset.item_index, dataset.occurred_at.tolist(), strict=True)
    ]


def fault(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_rows_are_in_the_order_of_time_and_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    lines = [f"u,i{n:02},{5 if n % 2 else 7},click" for n in range(60)]
    read = rows(read_dataset(write(tmp_path, *lines, items="item_id\ni00\n")))
    early = [("u", f"i{n:02}", 5000) for n in range(60) if n % 2]
    late = [("u", f"i{n:02}", 7000) for n in range(60) if not n % 2]
    assert read == early + late


def test_fractions_of_a_second_become_exact_milliseconds(tmp_path: Path) -> None:
    read = read_dataset(write(tmp_path, "u,a,1396314141.719,click", "u,a,1396314141.7206,click", "u,a,0,click"))
    assert read.occurred_at.tolist() == [0, 1_396_314_141_719, 1_396_314_141_721]


def test_an_item_that_only_the_events_know_gets_a_blank_entry(tmp_path: Path) -> None:
    read = read_dataset(write(tmp_path, "u,b,1,click", "u,a,2,click"))
    assert read.items["b"] == Item(schema_version=1, item_id="b")
    assert read.items["a"] == Item(schema_version=1, item_id="a", title="Ähre", creator="Åse", tags=("x", "y"), text="about a")


def test_ids_may_be_any_text(tmp_path: Path) -> None:
    folder = write(tmp_path, '"坂本, ""龍一""\nx",💿,1,listen', "u,a,2,click")
    assert rows(read_dataset(folder))[0] == ('坂本, "龍一"\nx', "💿", 1000)


def test_a_row_becomes_the_same_event_whenever_it_is_read(tmp_path: Path) -> None:
    header = HEADER + ",ms_played,session_id,mood"
    folder = write(tmp_path, "u,a,2,listen,1500,s1,glad", "u,a,1,click,,,", header=header)
    event = read_dataset(folder).event(1)
    assert (event.user_id, event.item_id, event.occurred_at, event.event_type) == ("u", "a", 2000, "listen")
    assert (event.ms_played, event.session_id, event.duration_ms) == (1500, "s1", None)
    assert read_dataset(folder).event(0).ms_played is None
    assert event == read_dataset(folder).event(1)
    assert event.event_id != read_dataset(folder).event(0).event_id


def test_an_impression_is_read_but_is_no_interaction(tmp_path: Path) -> None:
    read = read_dataset(write(tmp_path, "u,a,1,impression", "u,a,2,click"))
    assert read.is_interaction.tolist() == [False, True]
    with pytest.raises(ValueError, match="impression"):
        read.event(0)


def test_the_content_s_hash_does_not_depend_on_the_file_format(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "jsonl").mkdir()
    plain = write(tmp_path / "csv", "u,a,1.5,click", "ü,b,2,listen")
    other = tmp_path / "jsonl"
    lines = ['{"user_id":"u","item_id":"a","timestamp":1.5,"event_type":"click"}', "", '{"item_id":"b","timestamp":2,']
    lines[-1] += '"user_id":"ü","event_type":"listen","more":[1]}'
    (other / "events.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (other / "items.jsonl").write_text('{"item_id":"a","title":"Ähre","creator":"Åse","tags":["x","y"],"text":"about a"}\n')
    assert read_dataset(other).sha256 == read_dataset(plain).sha256
    (plain / "events.csv").write_text(f"{HEADER}\nu,a,1.5,click\nü,b,2,click\n")
    assert read_dataset(other).sha256 != read_dataset(plain).sha256


def test_parquet_is_read_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    (tmp_path / "csv").mkdir()
    items = "item_id,title\n7,Seven\n"
    plain = write(tmp_path / "csv", "u,7,1.5,click", items=items)
    columns = {"user_id": ["u"], "item_id": [7], "timestamp": [1.5], "event_type": ["click"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "events.parquet")
    (tmp_path / "items.csv").write_text(items)
    assert read_dataset(tmp_path).sha256 == read_dataset(plain).sha256


def test_before_cuts_the_log_and_keeps_the_catalogue(tmp_path: Path) -> None:
    items = "item_id\na\nb\n"
    read = read_dataset(write(tmp_path, "u,b,1,click", "u,c,2,click", "u,b,3,click", items=items))
    assert rows(read.before(2000)) == [("u", "b", 1000)]
    assert set(read.before(2000).items) == {"a", "b", "c"}
    with pytest.raises(UserError, match="no event before"):
        read.before(1000)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("u,a,soon,click", "line 4, column timestamp: 'soon'"),
        ("u,a,nan,click", "line 4, column timestamp: 'nan'"),
        ("u,a,1e400,click", "line 4, column timestamp: '1e400' is not between"),
        ("u,a,,click", "line 4, column timestamp: is missing"),
        ("u,a,2023-02-30,click", "line 4, column timestamp: '2023-02-30' is neither a number"),
        ("u,a,1969-12-31T23:59:59Z,click", "line 4, column timestamp: '1969-12-31T23:59:59Z' is before 1970"),
        ("u,a,-1,click", "line 4, column timestamp: '-1'"),
        ("u,a,1700000000000,click", "line 4, column timestamp: '1700000000000' looks like milliseconds"),
        ("u,a,1700000000000000,click", "line 4, column timestamp: '1700000000000000' looks like micros"),
        ("u,a,1700000000000000000,click", "line 4, column timestamp: '1700000000000000000' looks like nanos"),
        ("u,a,1,klick", "line 4, column event_type: 'klick'"),
        (",a,1,click", "line 4, column user_id: is empty"),
        (" \u200b,a,1,click", "line 4, column user_id: is empty"),
        ("u,,1,click", "line 4, column item_id: is empty"),
        (f"u,{'x' * 257},1,click", "line 4, column item_id: has 257 characters"),
        ("u,a,1", "line 4: 3 fields"),
        ("u,a,1,click,more", "line 4: 5 fields"),
    ],
)
def test_a_broken_line_is_named_with_its_column(tmp_path: Path, line: str, said: str) -> None:
    write(tmp_path, "u,a,1,click", "", line, "u,a,1,click")
    message = fault(tmp_path)
    assert f"{tmp_path / 'events.csv'}, {said}" in message


def test_a_line_far_into_the_file_is_named_by_its_own_number(tmp_path: Path) -> None:
    write(tmp_path, *["u,a,1,click"] * 5000, "u,a,never,click")
    assert "line 5002, column timestamp" in fault(tmp_path)


def test_broken_files_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "u,a,1,click")
    events = folder / "events.csv"
    events.write_bytes(f"{HEADER}\nu,a,1,click\nu,\xff,1,click\n".encode("latin-1"))
    assert f"{events}, line 3: not UTF-8" in fault(folder)
    events.write_text(f"{HEADER}\n")
    assert "no events" in fault(folder)
    for empty in ("", f"\n{HEADER}\nu,a,1,click\n"):
        events.write_text(empty)
        assert f"{events}: is empty, or its first line is; that must name user_id" in fault(folder)
    events.write_text("user_id,item_id,timestamp\nu,a,1\n")
    assert f"{events}, line 1: no column 'event_type'" in fault(folder)
    events.write_text(f'{HEADER}\nu,"a,1,click\n')
    assert f"{events}, line 2" in fault(folder)
    events.unlink()
    assert f"{folder}: no events file" in fault(folder)
    (folder / "events.csv.gz").write_bytes(gzip.compress(b"x" * 100)[:-9])
    assert "broken gzip" in fault(folder)
    (folder / "events.jsonl").write_text("{}\n")
    assert "keep one of them" in fault(folder)
    (folder / "events.csv.gz").unlink()
    assert "line 1: no 'user_id'" in fault(folder)
    (folder / "events.jsonl").write_text("[1]\n")
    assert "line 1: not a JSON object" in fault(folder)
    assert "no such folder" in fault(folder / "nowhere")


def test_broken_items_are_named(tmp_path: Path) -> None:
    write(tmp_path, "u,a,1,click", items="item_id,title\na,x\na,y\n")
    assert "items.csv, line 3, column item_id: 'a' stands twice" in fault(tmp_path)
    (tmp_path / "items.csv").unlink()
    (tmp_path / "items.jsonl").write_text('{"item_id":"a","title":{"en":"x"}}\n')
    assert "items.jsonl, line 1, column title: {'en': 'x'} is not text" in fault(tmp_path)


@pytest.mark.skipif(not RADIO.is_dir(), reason=f"no data set at {RADIO}")
def test_the_radio_log_is_read_whole() -> None:
    radio = read_dataset(RADIO)
    assert (len(radio), len(radio.user_ids), len(radio.item_ids)) == (37_673, 25, 2_231)
