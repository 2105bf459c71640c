"""A bundle that is continued learns what it has never counted, however old, and nothing twice."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.bundle import FILES, LEARNED, MANIFEST, Bundle, Continued, load_bundle
from streamrec.training.continued import in_words
from streamrec.training.known import event_hashes
from streamrec.training.train import train

SMALL = {"dim": 8, "heads": 2, "layers": 1, "context": 6}
SINCE = 1_600_000_000
OLD = 1_500_000_000
EARLY = [f"z{user},n{(user + step) % 4},{OLD + user * 10 + step},click" for user in range(20) for step in range(4)]
NEWER = [f"y{user},n{(user + step) % 4},{SINCE + 90_000 + user * 10 + step},click" for user in range(4) for step in range(3)]


def walks() -> list[str]:
    random, lines = np.random.default_rng(1), []
    for user in range(40):
        time, place = SINCE + user * 37, int(random.integers(20))
        for _ in range(int(random.integers(3, 12))):
            lines.append(f"u{user:02},i{place % 20:02},{time},click")
            time, place = time + int(random.integers(5, 5000)), place + int(random.choice([1, 1, 1, 2, 5]))
    return lines


WALKS = walks()
AMID = [f"u{user:02},i{user % 20:02},{SINCE + user * 37 + 700},click" for user in range(0, 40, 3)]  # within known histories


def log(folder: Path, lines: Sequence[str], header: str = "user_id,item_id,timestamp,event_type") -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text("\n".join([header, *lines]))
    items = dict.fromkeys(["never", *(line.split(",")[1] for line in lines)])
    (folder / "items.csv").write_text("\n".join(["item_id", *items]) + "\n")
    return read_dataset(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("base")
    return load_bundle(train(log(folder / "data", WALKS), folder / "b", steps=8, **SMALL).bundle)


def whole(tmp_path: Path, lines: Sequence[str]) -> Bundle:
    """All learned at once."""
    return load_bundle(train(log(tmp_path / "whole", lines), tmp_path / "w", steps=8, **SMALL).bundle)


def go_on(base: Bundle, tmp_path: Path, lines: Sequence[str], steps: int = 8, name: str = "b", **options: object) -> Bundle:
    made = train(log(tmp_path / f"{name}-data", lines), tmp_path / name, steps=steps, continues=base.path, **options)  # type: ignore[arg-type]
    return load_bundle(made.bundle)


def continued(bundle: Bundle) -> Continued:
    assert bundle.manifest.continued is not None
    return bundle.manifest.continued


def assert_counted_alike(one: Bundle, other: Bundle) -> None:
    assert one.vocabulary.item_ids == other.vocabulary.item_ids
    assert one.interactions.tolist() == other.interactions.tolist()
    for name in ("starts", "followers", "times", "direct"):
        assert getattr(one.counts, name).tolist() == getattr(other.counts, name).tolist(), name
    ours, theirs = one.manifest.data, other.manifest.data
    assert (ours.interactions, ours.last) == (theirs.interactions, theirs.last)


@pytest.mark.parametrize(("late", "older", "newer"), [(EARLY, 80, 0), (AMID, 14, 0), ([*EARLY, *AMID, *NEWER], 94, 12)])
def test_the_whole_log_with_late_events(base: Bundle, tmp_path: Path, late: list[str], older: int, newer: int) -> None:
    made, expected = go_on(base, tmp_path, [*late, *WALKS]), whole(tmp_path, [*late, *WALKS])
    assert continued(made) == Continued(newer=newer, older=older, known=len(WALKS))
    assert_counted_alike(made, expected)
    assert made.popularity.tolist() == expected.popularity.tolist()
    np.testing.assert_array_equal(made.counts.shares, expected.counts.shares)


@pytest.mark.parametrize("late", [EARLY, NEWER, [*EARLY, *NEWER]])
def test_the_new_events_alone(base: Bundle, tmp_path: Path, late: list[str]) -> None:
    made, expected = go_on(base, tmp_path, late), whole(tmp_path, [*late, *WALKS])
    assert (continued(made).newer + continued(made).older, continued(made).known) == (len(late), 0)
    assert_counted_alike(made, expected)
    assert made.popularity.sum() == pytest.approx(1)
    np.testing.assert_allclose(made.popularity, expected.popularity, atol=0.01)


def test_a_part_of_the_log_with_late_events(base: Bundle, tmp_path: Path) -> None:
    """Users who did nothing new are not in it: the bundle's counts and what has come to them."""
    there = [line for line in WALKS if int(line[1:3]) % 3 == 0]
    made = go_on(base, tmp_path, [*AMID, *there])
    assert continued(made) == Continued(newer=0, older=len(AMID), known=len(there))
    assert_counted_alike(made, whole(tmp_path, [*AMID, *WALKS]))


def test_nothing_is_learned_twice(base: Bundle, tmp_path: Path) -> None:
    once = go_on(base, tmp_path, EARLY, name="once")
    for number, lines in enumerate((EARLY, [*EARLY, *WALKS], [*WALKS, *WALKS])):
        again = go_on(once, tmp_path, lines, name=f"again{number}")
        assert continued(again) == Continued(newer=0, older=0, known=len(lines))
        assert_counted_alike(again, once)
    assert continued(go_on(once, tmp_path, [*EARLY, *NEWER, *WALKS], name="more")).newer == len(NEWER)


@pytest.mark.parametrize("steps", [1, 8])
def test_the_kept_back_is_counted_in_the_end(base: Bundle, tmp_path: Path, steps: int) -> None:
    made = go_on(base, tmp_path, [*WALKS, *NEWER], steps)
    assert made.manifest.data.interactions == len(WALKS) + len(NEWER)
    assert made.manifest.refit


def test_no_item_joins_of_which_nothing_is_learned(base: Bundle, tmp_path: Path) -> None:
    newest = f"x,last,{SINCE + 99_000},click"  # the validation
    made = go_on(base, tmp_path, [*WALKS, *NEWER, newest, f"x,shown,{SINCE + 98_000},impression"], refit=False)
    assert set(made.vocabulary.item_ids) - set(base.vocabulary.item_ids) == {"n0", "n1", "n2", "n3"}
    assert all(made.transitions.interactions(item) for item in made.vocabulary.item_ids)
    assert "last" in go_on(base, tmp_path, [*WALKS, *NEWER, newest], name="refit").vocabulary.item_ids


def test_what_no_refit_kept_back_is_new(tmp_path: Path) -> None:
    kept_back = load_bundle(train(log(tmp_path / "data", WALKS), tmp_path / "kept", steps=8, refit=False, **SMALL).bundle)
    made = go_on(kept_back, tmp_path, WALKS)
    assert continued(made).known == kept_back.manifest.data.interactions < len(WALKS)
    assert made.manifest.data.interactions == len(WALKS)


def test_a_validation_of_few_slates_is_no_figure(base: Bundle, tmp_path: Path) -> None:
    shown: list[float | None] = []
    made = go_on(base, tmp_path, [*WALKS, *NEWER], progress=lambda at: shown.append(at.ndcg))
    assert made.manifest.metrics == {"validation_slates": 1.0}
    assert set(shown) == {None}
    assert made.scorer_weights == base.scorer_weights


def test_little_that_is_new_is_learned_among_what_is_known(base: Bundle, tmp_path: Path) -> None:
    new = [f"x{user},i0{user},{SINCE + 99_000 + user},click" for user in range(3)]  # no two of one user
    assert go_on(base, tmp_path, [*WALKS, *new]).manifest.data.interactions == len(WALKS) + 3
    with pytest.raises(UserError, match="nothing to learn"):
        go_on(base, tmp_path, new, name="alone")


def test_a_holdout_that_it_has_not_learned_is_taken(base: Bundle, tmp_path: Path) -> None:
    """Late events are older than what the bundle knows, but withheld they can be."""
    made = go_on(base, tmp_path, EARLY, holdout="leave-one-out")
    assert made.manifest.data.interactions == len(WALKS) + len(EARLY) - 20
    with pytest.raises(UserError, match="may have learned what --holdout leave-one-out withholds"):
        go_on(base, tmp_path, [*EARLY, *WALKS], name="known", holdout="leave-one-out")


def older_version(base: Bundle, folder: Path) -> Bundle:
    """The bundle as it was written before it told what it had counted."""
    shutil.copytree(base.path, folder)
    (folder / LEARNED).unlink()
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    del manifest["learned"], manifest["continued"]
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return load_bundle(folder)


def test_an_older_bundle_goes_on_by_time(base: Bundle, tmp_path: Path) -> None:
    old, last = older_version(base, tmp_path / "old"), base.manifest.data.last
    made = go_on(old, tmp_path, [*AMID, *WALKS, *NEWER])
    expected = Continued(newer=len(NEWER), older=0, known=len(AMID) + len(WALKS), known_by_time_until=last)
    assert continued(made) == expected
    assert_counted_alike(made, go_on(base, tmp_path, [*WALKS, *NEWER], name="exact"))
    line, doubt = in_words(Path("old"), expected)
    until = np.datetime_as_string(np.datetime64(last, "ms"), "s")
    assert f"{len(NEWER)} events newer than it, 0 older and never counted, {expected.known} known or taken as known" in line
    assert f"old does not say which events it has counted: everything up to {until}+00:00 is taken as known" in doubt


@pytest.mark.parametrize("newer", [[], NEWER])
def test_no_bundle_can_have_counted_an_item_it_does_not_know(base: Bundle, tmp_path: Path, newer: list[str]) -> None:
    made = go_on(older_version(base, tmp_path / "old"), tmp_path, [*EARLY, *WALKS, *newer])
    assert (continued(made).newer, continued(made).older, continued(made).known) == (len(newer), len(EARLY), len(WALKS))
    assert_counted_alike(made, whole(tmp_path, [*EARLY, *WALKS, *newer]))


def test_train_says_what_is_new(base: Bundle, tmp_path: Path) -> None:
    skip = f"x,i01,{SINCE + 99_000},listen,1500"
    lines = [f"{line}," for line in [*EARLY, *WALKS]]
    log(tmp_path / "data", [*lines, skip], header="user_id,item_id,timestamp,event_type,ms_played")
    where = [str(tmp_path / "data"), "--out", str(tmp_path / "b"), "--continue", str(base.path)]
    command = [sys.executable, "-m", "streamrec", "train", *where, "--steps", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    printed, said = json.loads(done.stdout), " ".join(done.stderr.split())
    assert f"training on {len(lines) + 1} events" in said
    assert "1 are skips: nothing is learned from them" in said
    assert f"0 events newer than it, {len(EARLY)} older and never counted, {len(WALKS)} known" in said
    assert printed["continued"] == {"newer": 0, "older": len(EARLY), "known": len(WALKS), "known_by_time_until": None}
    assert printed["data"]["skips"] == 1
    assert set(printed["metrics"]) == {"validation_slates"}


def test_after_an_older_bundle_only_its_own_past_is_in_doubt(base: Bundle, tmp_path: Path) -> None:
    made = go_on(older_version(base, tmp_path / "old"), tmp_path, [*WALKS, *NEWER])
    between = [f"x,i01,{SINCE + 89_000},click", f"x,i02,{SINCE + 89_001},click"]  # after the first bundle, before the second ends
    again = go_on(made, tmp_path, [*AMID, *WALKS, *NEWER, *between], name="again")
    assert (continued(again).newer, continued(again).older) == (0, 2)
    assert continued(again).known_by_time_until == base.manifest.data.last


def test_a_bundle_may_lose_its_hashes_not_have_others(base: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(base.path, folder)
    (folder / LEARNED).write_bytes(b"\0" * (folder / LEARNED).stat().st_size)
    assert load_bundle(folder).version == base.version  # it is not served
    with pytest.raises(UserError, match=rf"{LEARNED}: was changed after training"):
        go_on(load_bundle(folder), tmp_path, EARLY)
    (folder / LEARNED).unlink()
    assert continued(go_on(load_bundle(folder), tmp_path, NEWER)).known_by_time_until == base.manifest.data.last
    assert LEARNED not in FILES


def test_a_hash_tells_user_item_time_and_type(tmp_path: Path) -> None:
    lines = ["u,a,1,click", "u,a,1,listen", "u,a,2,click", "u,b,1,click", "a,u,1,click", "v,a,1,click"]
    hashes = event_hashes(log(tmp_path / "all", lines))
    assert len(set(hashes.tolist())) == len(lines)
    for number, line in enumerate(lines):
        alone = event_hashes(log(tmp_path / str(number), ["w,0,0,click", line, "x,zz,9,click"]))
        assert len(set(alone.tolist()) & set(hashes.tolist())) == 1
