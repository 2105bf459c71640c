"""A bundle that goes on learning: new items are recommended, what was known before is still known, nothing is learned twice."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

from streamrec.core.errors import UserError
from streamrec.evaluation.evaluate import _Question, _tallies
from streamrec.evaluation.protocols import split
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.bundle import Bundle, load_bundle
from streamrec.training.train import train

SMALL = {"dim": 16, "heads": 2, "context": 12}
OLD = [f"old{n:02}" for n in range(30)]
NEW = [f"new{n:02}" for n in range(10)]
DAY = 86_400
MOVIES = Path(__file__).parents[3] / "shared" / "data" / "ml-100k"
PARTS = {"old": (0, 0.6), "newer": (0.6, 0.8), "whole": (0, 1)}


def walks(folder: Path, items: list[str], users: str, since: int) -> Dataset:
    """Eighty users walk in a circle through the items, mostly from one to the next."""
    random = np.random.default_rng(since)
    lines = []
    for user in range(80):
        place = int(random.integers(len(items)))
        for step in range(int(random.integers(6, 20))):
            time = since + user * 7 + step * 60
            lines.append((time, f"{users}{user},{items[place]},{time},click"))
            place = (place + 1 if random.random() < 0.9 else int(random.integers(len(items)))) % len(items)
    folder.mkdir()
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(line for _, line in lines) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(f"{item},{item}" for item in items) + "\n")
    return read_dataset(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("base")
    return load_bundle(train(walks(folder / "data", OLD, "u", 0), folder / "bundle", steps=250, **SMALL).bundle)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A day later there are other users, and items that nobody knew; the old ones are reached from them, never followed."""
    return walks(tmp_path_factory.mktemp("newer") / "data", [*NEW, OLD[0], OLD[1]], "v", DAY)


@pytest.fixture(scope="module")
def continued(base: Bundle, newer: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = train(newer, tmp_path_factory.mktemp("continued") / "bundle", steps=250, continues=base.path)
    assert made.manifest.continues == base.version
    return load_bundle(made.bundle)


def test_what_the_base_has_counted_does_not_fit_the_scorer(base: Bundle, continued: Bundle, tmp_path: Path) -> None:
    again = load_bundle(train(walks(tmp_path / "data", OLD, "u", 0), tmp_path / "b", steps=1, continues=base.path).bundle)
    assert base.manifest.metrics["validation_slates"] > 0
    assert again.manifest.metrics["validation_slates"] == 0
    assert again.scorer_weights == base.scorer_weights
    assert continued.manifest.metrics["validation_slates"] > 0


def knows(bundle: Bundle, items: list[str]) -> float:
    """How often the item that follows in the circle is proposed first, or second."""
    histories = [items[place : place + 4] for place in range(len(items) - 4)]
    proposals = bundle.generator().propose(histories, 2)
    return float(
        np.mean(
            [
                items[place + 4] in [candidate.item_id for candidate in proposal.candidates]
                for place, proposal in enumerate(proposals)
            ]
        )
    )


def test_new_items_are_recommended(base: Bundle, continued: Bundle) -> None:
    assert base.generator().propose([NEW[:4]], 5)[0].candidates == ()  # nothing of it was known
    assert knows(continued, NEW) >= 0.8


def test_what_was_known_is_not_forgotten(base: Bundle, continued: Bundle) -> None:
    before = knows(base, OLD[1:])
    assert before >= 0.8
    assert knows(continued, OLD[1:]) >= before - 0.1


def test_counts_and_catalogue_go_on_too(base: Bundle, continued: Bundle, newer: Dataset) -> None:
    assert set(continued.items) == {*OLD, *NEW}
    log, before = continued.transitions, base.transitions
    assert log.followed(OLD[5], OLD[6]) == before.followed(OLD[5], OLD[6]) > 0
    assert log.followed(NEW[0], NEW[1]) > 0
    assert log.interactions(OLD[9]) == before.interactions(OLD[9])
    assert sum(log.interactions(item) for item in continued.items) == continued.manifest.data.interactions
    assert continued.manifest.data.first == base.manifest.data.first
    assert continued.manifest.data.last == newer.occurred_at[-1]
    assert continued.popularity.sum() == pytest.approx(1)
    chances = log.probabilities([continued.vocabulary.index[OLD[5]]])
    assert chances.sum() == pytest.approx(1)


def test_a_log_that_is_known_already_is_not_counted_again(base: Bundle, tmp_path: Path) -> None:
    data = walks(tmp_path / "data", OLD, "u", 0)
    again = load_bundle(train(data, tmp_path / "bundle", steps=3, continues=base.path).bundle)
    assert again.manifest.data.interactions == base.manifest.data.interactions
    assert again.transitions.followed(OLD[5], OLD[6]) == base.transitions.followed(OLD[5], OLD[6])


def test_a_base_that_knows_what_is_withheld_is_refused(base: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="may have learned what --holdout leave-one-out withholds"):
        train(walks(tmp_path / "data", OLD, "u", 0), tmp_path / "bundle", steps=3, holdout="leave-one-out", continues=base.path)


def part(folder: Path, lines: list[str], first: float, until: float) -> Dataset:
    """Of all events those from the share ``first`` on until before the share ``until``."""
    header, *events = lines
    folder.mkdir()
    kept = events[int(first * len(events)) : int(until * len(events))]
    (folder / "events.csv").write_text("\n".join([header, *kept]))
    shutil.copy(MOVIES / "items.csv.gz", folder)
    return read_dataset(folder)


def worth(bundle: Bundle, dataset: Dataset, since: int) -> float:
    """NDCG@10 of the generator for what came from a time on, 3,000 of it at most."""
    parts = split(dataset, "none")
    asked = np.flatnonzero(parts.occurred_at >= since)
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:3000])
    question = _Question(bundle, dataset, parts, parts.counted, asked, exclude_seen=True, threads=1)
    return _tallies(question, {}, None, lambda done: None)["generator"].metrics().ndcg


@pytest.mark.skipif(not MOVIES.is_dir(), reason=f"{MOVIES} is not there: ML-100K may not be redistributed")
def test_a_real_log_goes_on_and_little_is_forgotten(tmp_path: Path) -> None:
    """ML-100K's first 60 %, then 20 % more. What was known is asked on the end of the 60 %, which no weight has learned."""
    lines = gzip.decompress((MOVIES / "events.csv.gz").read_bytes()).decode().splitlines()
    old, newer, whole = (part(tmp_path / name, lines, *of) for name, of in PARTS.items())
    base = load_bundle(train(old, tmp_path / "base", steps=200, dim=64, context=50).bundle)
    continued = load_bundle(train(newer, tmp_path / "continued", steps=100, continues=base.path).bundle)
    parts = split(old, "none")
    end, after = int(parts.occurred_at[parts.validation].min()), int(newer.occurred_at[-1]) + 1
    assert worth(continued, old, end) > 0.95 * worth(base, old, end) > 0.04
    assert worth(continued, whole, after) > worth(base, whole, after)
