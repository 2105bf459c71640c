"""A song that everybody hears for a second and a half is not learned as a favourite, nor evaluated as one."""

import random

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

from streamrec.core.catalogue import Catalogue
from streamrec.core.generate import Ladder
from streamrec.core.pipeline import Pipeline, SlateRules
from streamrec.core.types import Interaction, Session, Versions
from streamrec.evaluation.evaluate import _Question, _served, evaluate
from streamrec.evaluation.protocols import Split, split
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.bundle import Bundle, load_bundle
from streamrec.training.train import train
from tests.make import interaction, session

SONGS = [f"p{n:02}" for n in range(20)]
HEADER = "user_id,item_id,timestamp,event_type,ms_played,duration_ms"
SMALL = {"dim": 16, "heads": 2, "context": 12}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eighty users walk through the songs; after each they skip the same other one. Half of them skip a song first."""
    chance, lines = random.Random(5), []
    for user in range(80):
        time, place = 1_600_000_000 + user * 40, chance.randrange(len(SONGS))
        if user % 2:
            lines.append((time - 1, f"u{user},{SONGS[user % 20]},{time - 1},listen,1500,210000"))
        for _ in range(6):
            lines.append((time, f"u{user},{SONGS[place % len(SONGS)]},{time},listen,200000,210000"))
            lines.append((time + 210, f"u{user},hated,{time + 210},listen,1500,210000"))
            time, place = time + 220, place + chance.choice([1, 1, 2])
    folder = tmp_path_factory.mktemp("skips")
    (folder / "events.csv").write_text("\n".join([HEADER, *(line for _, line in sorted(lines))]))
    (folder / "items.csv").write_text("item_id\n" + "\n".join([*SONGS, "hated"]))
    return read_dataset(folder)


@pytest.fixture(scope="module")
def bundle(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    return load_bundle(train(dataset, folder, steps=60, holdout="time-split", **SMALL).bundle)


@pytest.fixture(scope="module")
def pipeline(bundle: Bundle) -> Pipeline:
    versions = Versions(model="", catalogue=0, rules="", runtime="")
    return Pipeline(Ladder(bundle.rungs()), bundle.scorer(), bundle.transitions, SlateRules(), versions)


def test_what_everybody_skips_is_not_recommended(bundle: Bundle, pipeline: Pipeline) -> None:
    slates = pipeline.recommend([session(song) for song in SONGS], Catalogue(bundle.items))
    assert "hated" not in {item.item_id for slate in slates for item in slate.items}
    assert all(slate.items for slate in slates)


def test_no_evidence_counts_skips(bundle: Bundle, dataset: Dataset) -> None:
    parts = split(dataset, "time-split")
    log = bundle.transitions
    assert log.interactions("hated") == 0
    assert max(log.followed(song, by="hated") for song in SONGS) == 0
    assert sum(log.interactions(song) for song in SONGS) == bundle.manifest.data.interactions == int(parts.counted.sum())
    assert bundle.manifest.data.skips == int(dataset.is_skip.sum()) == 520


def had(dataset: Dataset, parts: Split, position: int) -> Session:
    def past(place: int) -> Interaction:
        item_id = dataset.item_ids[parts.items[place]]
        return interaction(item_id, int(parts.occurred_at[place]), event_id=str(place), skipped=bool(parts.is_skip[place]))

    return session(*map(past, parts.past(position).tolist()))


def test_what_is_evaluated_is_what_is_served(bundle: Bundle, dataset: Dataset, pipeline: Pipeline) -> None:
    """Also for a user of whom only skips are known."""
    parts = split(dataset, "time-split")
    asked = parts.validation[parts.validation > parts.start[parts.validation]]
    first = parts.start[parts.is_skip[parts.start]]
    asked = np.unique([*asked, *(first + 1)])[:80]
    assert any(parts.is_skip[parts.past(place)].all() for place in asked.tolist())
    question = _Question(bundle, dataset, parts, parts.counted, asked, exclude_seen=True, threads=1)
    for answer in _served(question):
        served = pipeline.recommend([had(dataset, parts, answer.position)], Catalogue(bundle.items))[0].items
        assert [item.item_id for item in served] == [dataset.item_ids[item] for item in answer.slate]


@pytest.mark.parametrize("protocol", ["time-split", "prequential"])
def test_no_protocol_asks_for_skips(bundle: Bundle, dataset: Dataset, protocol: str) -> None:
    parts = split(dataset, "time-split")
    report = evaluate(bundle, dataset, protocol)  # type: ignore[arg-type]
    assert report.targets == len(parts.test)
    assert not parts.is_skip[parts.asked].any()
    assert report.seen_items_included.targets + int(parts.counted.sum()) == len(dataset) - 520
