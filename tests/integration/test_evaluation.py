"""Evaluation for real, of small bundles that are trained here: each protocol, the shuffle test, and odd data."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

from benchmarks.accuracy import diversity, features
from streamrec.core.catalogue import Catalogue
from streamrec.core.errors import UserError
from streamrec.core.generate import Ladder
from streamrec.core.pipeline import Pipeline, SlateRules
from streamrec.evaluation.evaluate import Protocol, _Question, _tallies, evaluate
from streamrec.evaluation.online import Learning
from streamrec.evaluation.protocols import split
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.bundle import Bundle, load_bundle
from streamrec.serving.relevance import FEATURES
from streamrec.training.train import train
from tests.make import VERSIONS, session

SMALL = {"dim": 16, "heads": 2, "context": 12}
ITEMS = 40
METRICS = {"ndcg@10", "recall@10", "mrr", "coverage", "diversity", "novelty"}
BASELINES = {"popularity", "decayed_popularity", "markov", "item_knn", "ease"}


def walk(folder: Path, order: list[int], turned: float = 2.0, seed: int = 0) -> Dataset:
    """Eighty users walk along ``order``, mostly; from the part ``turned`` of the time on they walk backwards."""
    random = np.random.default_rng(seed)
    lines = []
    for user in range(80):
        place, had = int(random.integers(ITEMS)), set()
        for time in range(user, user + 14):
            place = (place + (1 if time < turned * 94 else -1) if random.random() < 0.9 else int(random.integers(ITEMS))) % ITEMS
            if place not in had:
                lines.append((time, f"u{user},i{order[place]:02},{time},click"))
            had.add(place)
    lines.sort(key=lambda line: line[0])
    return written(folder, [line for _, line in lines], [f"i{n:02},Item {n},t{n % 3}" for n in range(ITEMS)])


def written(folder: Path, events: list[str], items: list[str]) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(events) + "\n")
    (folder / "items.csv").write_text("item_id,title,tags\n" + "\n".join(items) + "\n")
    return read_dataset(folder)


def trained(dataset: Dataset, out: Path, holdout: str, steps: int = 60, *, refit: bool = True) -> Bundle:
    return load_bundle(train(dataset, out, steps=steps, holdout=holdout, refit=refit, **SMALL).bundle)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def turning(folder: Path) -> Dataset:
    """From the split on, what followed an item comes before it."""
    return walk(folder / "turning", list(range(ITEMS)), turned=0.78)


@pytest.fixture(scope="module")
def frozen_bundle(turning: Dataset, folder: Path) -> Bundle:
    return trained(turning, folder / "turning-bundle", "time-split")


def test_prequential_learns_what_the_log_teaches(turning: Dataset, frozen_bundle: Bundle) -> None:
    still = evaluate(frozen_bundle, turning, "time-split")
    moving = evaluate(frozen_bundle, turning, "prequential")
    assert moving.targets == still.targets
    assert moving.frozen == still.model  # the same bundle, the same questions, nothing learned
    assert moving.baselines["ease"] == still.baselines["ease"]
    assert moving.baselines["markov"].ndcg > still.baselines["markov"].ndcg + 0.05
    assert moving.baselines["decayed_popularity"] != still.baselines["decayed_popularity"]


def test_prequential_asks_before_it_learns(turning: Dataset, frozen_bundle: Bundle) -> None:
    """At each question everything that stands before it in the log was learned, and nothing from it on."""
    parts = split(turning, "time-split")
    learning = Learning(frozen_bundle, turning, parts, parts.counted)
    judge, known = learning.scorer.features, []
    some = [3, 7, 8], np.arange(5), np.zeros(5)
    np.testing.assert_allclose(judge(*some), frozen_bundle.scorer().features(*some), rtol=1e-5)  # it starts as the bundle ends

    def watched(*arguments: Any) -> Any:
        known.append(int(learning.interactions.sum()))
        return judge(*arguments)

    learning.scorer.features = watched  # type: ignore[method-assign]
    question = _Question(frozen_bundle, turning, parts, parts.counted, parts.test, exclude_seen=True, threads=1)
    _tallies(question, {}, learning, lambda done: None)
    assert known == sorted(parts.row[parts.test].tolist())  # so many rows stand before each


def test_a_log_in_order_is_sequential_and_one_without_is_not(folder: Path) -> None:
    ordered = walk(folder / "ordered", list(np.random.default_rng(5).permutation(ITEMS)))
    report = evaluate(trained(ordered, folder / "ordered-bundle", "leave-one-out"), ordered, "leave-one-out", shuffle=True)
    assert report.shuffle.verdict == "sequential"  # type: ignore[union-attr]
    assert report.shuffle.markov.relative_drop > 0.3  # type: ignore[union-attr]
    assert report.shuffle.tied == 0  # type: ignore[union-attr]
    random = np.random.default_rng(2)
    taste = np.exp(-np.arange(ITEMS) / 8)
    drawn = [(user, random.choice(ITEMS, 8, replace=False, p=taste / taste.sum())) for user in range(400)]
    lines = [f"u{user},i{item:02},7,click" for user, items in drawn for item in random.permutation(items)]
    anyhow = written(folder / "anyhow", lines, [f"i{n:02},," for n in range(ITEMS)])
    report = evaluate(trained(anyhow, folder / "anyhow-bundle", "leave-one-out"), anyhow, "leave-one-out", shuffle=True)
    assert report.shuffle.verdict == "not sequential"  # type: ignore[union-attr]
    assert report.shuffle.tied == 1  # type: ignore[union-attr]


def test_repeats_are_asked_where_seen_items_are_ranked(folder: Path) -> None:
    lines = [f"u{user},i{item},{time},click" for user in range(30) for time, item in enumerate([0, 1, 2, 0 if user % 3 else 3])]
    lines.append("x,i3,0,click")  # the only one that training sees
    again = written(folder / "again", lines, [f"i{n},,t{n}" for n in range(4)])
    report = evaluate(trained(again, folder / "again-bundle", "leave-one-out", steps=5), again, "leave-one-out")
    assert report.targets == 10
    assert report.skipped["targets_already_seen"] == 20
    assert report.seen_items_included.targets == 30
    assert report.baselines["popularity"].ndcg == 1  # one item is left to rank
    assert report.seen_items_included.baselines["popularity"].ndcg < 1
    for served, unfiltered in (
        (report.model, report.seen_items_included.model),
        (report.generator, report.seen_items_included.generator),
    ):
        assert served.coverage == 0.25
        assert unfiltered.coverage > 0.5


def test_odd_data_is_evaluated_or_refused_in_words(folder: Path) -> None:
    """One-event users, duplicate rows, unsorted times, ids of any Unicode; a tenth of the items come new in the test."""
    random = np.random.default_rng(2)
    names = ["ñandú", "音楽", "🎸 solo", "a b", "'; drop", *[f"n{n}" for n in range(15)]]
    lines = [f"{names[user % 20]}{user},{names[int(random.integers(18))]},{int(random.integers(700))},click" for user in range(60)]
    lines += [f"{names[n % 5]},{names[int(random.integers(18))]},{n * 7 % 700},click" for n in range(300)]
    lines += lines[:30]
    lines += [f"{names[n % 5]},{names[18 + n % 2]},{700 + n},click" for n in range(6)]  # not known to the training
    lines += [f"newcomer{n},{names[n]},{710 + n},click" for n in range(4)]
    odd = written(folder / "odd", [lines[place] for place in random.permutation(len(lines))], ["ñandú,,"])
    bundle = trained(odd, folder / "odd-bundle", "time-split", steps=5)
    assert len(bundle.vocabulary) == 18
    for protocol in ("time-split", "prequential"):
        report = evaluate(bundle, odd, protocol)  # type: ignore[arg-type]
        assert report.items == 20
        assert set(report.baselines) == BASELINES
        assert report.targets + sum(report.skipped.values()) == report.seen_items_included.targets
    left = trained(odd, folder / "odd-left", "leave-one-out", steps=5)
    assert evaluate(left, odd, "leave-one-out").skipped["users_with_fewer_than_3_events"] >= 50
    single = written(folder / "single", [f"u{n % 9},only,{n},click" for n in range(90)], ["only,,"])
    with pytest.raises(UserError, match="nothing to learn"):
        trained(single, folder / "single-bundle", "leave-one-out")
    with pytest.raises(UserError, match=r"nothing to ask: .* before, \d+ targets already seen; give more"):
        evaluate(bundle, single, "time-split")


@pytest.fixture(scope="module")
def diary(folder: Path) -> Dataset:
    """One person's own log: what the bundle knows was all had long before the test begins."""
    lines = [f"me,i{n % 8:02},{n},click" for n in range(140)]
    lines += [f"me,new{n:02},{140 + n},click" for n in range(30)]
    return written(folder / "diary", lines, [f"i{n:02},," for n in range(8)])


@pytest.mark.parametrize("protocol", ["time-split", "prequential"])
def test_one_persons_own_log_is_evaluated(folder: Path, diary: Dataset, protocol: Protocol) -> None:
    """Nothing is left to propose: the model's lists are empty, and every target is missed."""
    out = folder / "diary-bundle"
    bundle = load_bundle(out) if out.exists() else trained(diary, out, "time-split", steps=3)
    report = evaluate(bundle, diary, protocol)
    assert report.targets > 20
    assert (report.model.ndcg, report.model.coverage, report.generator.coverage) == (0, 0, 0)
    assert report.mean_slate_size == 0


def test_the_threshold_in_force_is_the_served_one(folder: Path) -> None:
    """A bundle's own threshold leaves slots empty; the setting fills them, served and in figures."""
    dataset = walk(folder / "short", list(range(ITEMS)))
    bundle = trained(dataset, folder / "short-bundle", "leave-one-out")
    bundle = replace(bundle, scorer_weights=msgspec.structs.replace(bundle.scorer_weights, threshold=0.99))
    of_all = ((SlateRules(), 3), (SlateRules(relevance_threshold=0.0), 10), (SlateRules(least=5), 5))
    for rules, size in of_all:
        report = evaluate(bundle, dataset, "leave-one-out", rules=rules)
        assert report.relevance_threshold == rules.threshold(0.99)
        assert report.mean_slate_size == size
        served = Pipeline(Ladder(bundle.rungs()), bundle.scorer(), bundle.transitions, rules, VERSIONS)
        assert served.threshold == report.relevance_threshold
        answer = served.recommend([session("i01", "i02")], Catalogue(bundle.items))[0]
        assert (len(answer.items), "below_threshold" in answer.dropped) == (size, size < 10)


def test_the_verb_prints_one_object_for_machines_and_a_table_for_people(folder: Path, frozen_bundle: Bundle) -> None:
    verb = [sys.executable, "-m", "streamrec", "evaluate", str(frozen_bundle.path), str(folder / "turning")]
    environment = os.environ | {"STREAMREC_RELEVANCE_THRESHOLD": "0.25"}
    as_json = [*verb, "--protocol", "prequential", "--json"]
    printed = subprocess.run(as_json, capture_output=True, text=True, check=True, env=environment).stdout
    report = json.loads(printed)
    assert report["relevance_threshold"] == 0.25  # the settings are a worker's
    assert {"protocol", "users", "items", "events", "seen_items_excluded", "dataset_sha256", "seed"} <= set(report)
    assert report["seen_items_excluded"] is True
    assert set(report["baselines"]) == set(report["leads"]) == set(report["seen_items_included"]["baselines"]) == BASELINES
    for metrics in (report["model"], report["frozen"], *report["baselines"].values()):
        assert set(metrics) >= METRICS
    shown = subprocess.run([*verb, "--protocol", "time-split", "--shuffle"], capture_output=True, text=True, check=True)
    assert shown.stdout == ""
    for said in (
        "generator alone",
        "relevance threshold ",
        "decayed_popularity",
        "item_knn",
        "shuffle test: ",
        report["dataset_sha256"][:12],
    ):
        assert said in shown.stderr
    refused = subprocess.run([*verb, "--protocol", "prequential", "--shuffle"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "choose --protocol" in refused.stderr


def test_baselines_know_what_the_bundle_knows(folder: Path) -> None:
    dataset = walk(folder / "known", list(range(ITEMS)))
    seen = {}
    for refit, steps in ((True, 16), (True, 4), (False, 16)):
        bundle = trained(dataset, folder / f"known-{refit}-{steps}", "leave-one-out", steps=steps, refit=refit)
        assert bundle.manifest.refit is (refit and steps == 16)  # of four steps there is no last eighth
        seen[refit, steps] = evaluate(bundle, dataset, "leave-one-out").baselines["popularity"].novelty
    assert seen[True, 16] != seen[False, 16] == seen[True, 4]


def test_each_part_of_a_scorer_is_weighed(frozen_bundle: Bundle, folder: Path) -> None:
    dataset = walk(folder / "weighed", list(range(ITEMS)))
    bundle = trained(dataset, folder / "weighed-bundle", "leave-one-out", steps=3, refit=False)
    whole = features.validation(bundle, dataset)
    alone = features.worth(whole, {"generator"})
    assert features.worth(whole, {"generator", "transitions"}) > alone + 0.2  # the network has learned for three steps only
    assert features.worth(whole, set(FEATURES)) > alone + 0.2
    for main, wrong in ((features.main, "refit is True, must be False"), (diversity.main, "tuned is False, must be True")):
        with pytest.raises(UserError, match=f"data is .*; holdout is time-split, must be leave-one-out; .*{wrong}; train one"):
            main(frozen_bundle.path, folder / "weighed")
