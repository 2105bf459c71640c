"""Numbers and times as other tools write them, and any cells at all."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset, read_dataset
from tests.datafiles import AT, COLUMNS, HEADER, note, read_csv, read_jsonl, read_parquet, refusal

# --- numbers and times ---


@pytest.mark.parametrize("value", ["183000.0", "183000", " 183000.0 ", "1.83e5"])
def test_whole_floats_in_columns_of_numbers(tmp_path: Path, value: str) -> None:
    header = HEADER + ",ms_played,session_id"
    read = read_csv(tmp_path, f"u,a,{AT},click,{value},5.0", f"u,a,{AT},click, ,", header=header)
    assert read.extras == {"ms_played": [183_000, None], "session_id": ["5", None]}


def test_numbers_of_every_format_follow_one_rule(tmp_path: Path) -> None:
    rows = [{"ms_played": value, "timestamp": AT + n} for n, value in enumerate([5.0, None, "5.0", 5])]
    assert read_jsonl(tmp_path, *rows).extras["ms_played"] == [5, None, 5, 5]
    for broken in (5.5, "5.5", True, -1, "nan", 1e300):
        assert "line 1, column ms_played" in refusal(read_jsonl, tmp_path, {"ms_played": broken})
    (tmp_path / "events.jsonl").unlink()
    assert read_parquet(tmp_path, ms_played=[5.0], duration_ms=[float("nan")]).extras == {"ms_played": [5]}
    assert "5.5 is not a whole number" in refusal(read_parquet, tmp_path, ms_played=[5.5])


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2023-11-14T22:13:20Z", AT * 1000),
        ("2023-11-14T22:13:20z", AT * 1000),
        ("2023-11-14 22:13:20", AT * 1000),
        (" 2023-11-14 22:13:20 UTC ", AT * 1000),
        ("2023-11-15T07:13:20+09:00", AT * 1000),
        ("2023-11-14T22:13:20.7Z", AT * 1000 + 700),
        ("2023-11-14T22:13:20.719Z", AT * 1000 + 719),
        ("2023-11-14T22:13:20.719123", AT * 1000 + 719),
        ("2023-11-14T22:13:20.7196001-00:00", AT * 1000 + 720),
        ("2023-11-14T22:13:20.719600123Z", AT * 1000 + 720),
        ("2023-11-14", 1_699_920_000_000),
        (f"{AT}.7196001", AT * 1000 + 720),
    ],
)
def test_iso_8601_is_read(tmp_path: Path, text: str, milliseconds: int) -> None:
    csv = read_csv(tmp_path, f"u,a,{text},click", f"u,a,{AT + 9_000_000},click")
    assert csv.occurred_at[0] == milliseconds
    (tmp_path / "events.csv").unlink()
    jsonl = read_jsonl(tmp_path, {"timestamp": text}, {"timestamp": AT + 9_000_000})
    assert jsonl.sha256 == csv.sha256


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo", "No/Where"])
@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_timestamps_of_parquet(tmp_path: Path, unit: str, per_second: int, zone: str | None) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    times = pyarrow.array([AT * per_second + per_second * 7196 // 10_000], pyarrow.timestamp(unit, zone))
    expected = AT * 1000 + {"s": 0, "ms": 719}.get(unit, 720)
    assert read_parquet(tmp_path, timestamp=times).occurred_at.tolist() == [expected]


def test_dates_of_parquet_and_odd_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")

    def read(value: int | None, kind: Any, column: str = "timestamp") -> Dataset:
        return read_parquet(tmp_path, **{column: pyarrow.array([value], kind)})

    day = 19_675
    for value, kind in ((day, pyarrow.date32()), (day * 86_400_000, pyarrow.date64())):
        assert read(value, kind).occurred_at.tolist() == [1_699_920_000_000]
    for kind in (pyarrow.timestamp("s"), pyarrow.timestamp("ms"), pyarrow.timestamp("us", "UTC")):
        far = 2**53 if kind.unit != "us" else 2**58
        assert "line 1, column timestamp: " in refusal(read, far, kind)
        assert "is before 1970" in refusal(read, -(10**9), kind)
        assert "line 1, column timestamp: is missing" in refusal(read, None, kind)
    assert "is not between 1970 and 9999" in refusal(read, 2**31 - 1, pyarrow.date32())
    for kind in (pyarrow.duration("ns"), pyarrow.duration("s"), pyarrow.time64("us"), pyarrow.time32("ms")):
        said = refusal(read, 1, kind)
        assert f"column 'timestamp' is of type {kind}; a timestamp, a date or seconds since 1970 is" in said
    said = refusal(read, 1, pyarrow.timestamp("us"), "item_id")
    assert "column 'item_id' is of type timestamp[us]; text or a number is expected" in said
    said = refusal(read, 1, pyarrow.duration("ms"), "ms_played")
    assert "column 'ms_played' is of type duration[ms]" in said


def test_times_of_1970_are_noted(tmp_path: Path) -> None:
    assert "all events are in 1970" in note(read_csv(tmp_path, "u,a,20231114,click"), "1970")


# --- whatever the cells hold ---

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a", "a ", "7", "7.0", "007", "1e5", "2023-11-14T22:13:20Z", "click", " listen"]),
    st.sampled_from([AT, AT * 1000, 7.0]),
    st.lists(st.integers(0, 9), max_size=2),
)
NAMES = [*HEADER.split(","), "ms_played", "session_id"]
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, CELLS)), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=ROWS, items=st.lists(CELLS, max_size=4), good=st.lists(st.sampled_from(NAMES), max_size=6))
def test_any_cells_are_read_or_refused_in_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], items: list[Any], good: list[str]
) -> None:
    """Columns in ``good`` have values that can be read, so that the others are reached."""
    fine = {name: cell[0] for name, cell in COLUMNS.items()} | {"ms_played": 5, "session_id": "s"}
    filled = [row | {name: fine[name] for name in good} for row in rows]
    lines = [json.dumps(row).replace("NaN", "null").replace("Infinity", "1e999") for row in filled]
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    catalogued = [{"item_id": item, "title": item, "tags": item} for item in items]
    lines = [json.dumps(row).replace("NaN", "null") for row in catalogued]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    try:
        read = read_dataset(tmp_path)
    except UserError as refused:
        said = str(refused)
        assert "\n" not in said
    else:
        assert len(read) == len(rows)
        assert not any("\n" in text for text in read.notes)
        assert all(name == name.strip() for name in (*read.user_ids, *read.item_ids))
        for row in range(len(read)):
            if read.is_interaction[row]:
                read.event(row)
