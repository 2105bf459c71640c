"""The end of a training: export the network, fit the scorer, count, and write the bundle."""

import shutil
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

import streamrec
from streamrec.core.errors import UserError
from streamrec.evaluation.protocols import Split
from streamrec.evaluation.slates import slates
from streamrec.eventlog.dataset import LATEST_MS, Dataset
from streamrec.serving.bundle import (
    FILES,
    LEARNED,
    MANIFEST,
    USUAL,
    DataRange,
    FileEntry,
    Manifest,
    ModelShape,
    content_version,
    new_generator,
    pack_items,
    write_file,
)
from streamrec.serving.counting import (
    WINDOW,
    Pairs,
    as_transitions,
    count_interactions,
    count_pairs,
    recent_popularity,
    sum_pairs,
)
from streamrec.serving.gptrec import GPTRec
from streamrec.serving.relevance import UNFITTED, AdditiveScorer
from streamrec.serving.runtime import instruction_set
from streamrec.serving.tables import pack_counts
from streamrec.serving.transitions import Transitions
from streamrec.training.checkpoint import Plan
from streamrec.training.continued import Base, counted_before, holds_all, popularity_since, summary
from streamrec.training.fit import LEAST_SLATES, Slates, collect, fit, measure
from streamrec.training.known import NONE_LEARNED
from streamrec.training.lessons import Lessons
from streamrec.training.memory import give_back
from streamrec.training.modes import compare, export
from streamrec.training.network import Model
from streamrec.training.tuning import SlateWriter

LIBRARIES = ("numpy", "onnx", "onnxruntime", "safetensors", "torch", "transformers")
VALIDATION = {
    "leave-one-out": "each user's last interaction but one",
    "time-split": "the newest 5 % before the test",
    "none": "the newest 5 %",
}
LEARNED_TOO = "; it chose the step and the scorer's weights, and was learned and counted after that"
NOTHING = "nothing: there is too little to keep any back"
NOT_LEARNED = "; it chose the step and the scorer's weights, and was neither learned nor counted"


def write_bundle(
    network: Model,
    chosen: Model,
    dataset: Dataset,
    parts: Split,
    lessons: Lessons,
    plan: Plan,
    keep: int,
    partial: Path,
    out: Path,
    base: Base | None = None,
    writer: SlateWriter | None = None,
) -> Manifest:
    """Writes the bundle into ``partial`` and, when it is whole, puts it in place of ``out``.

    The scorer's weights and the metrics are those of the network that was ``chosen`` and has not learned the validation.
    """
    shape = ModelShape(
        dim=plan.dim,
        layers=plan.layers,
        heads=plan.heads,
        context=plan.context,
        dropout=plan.dropout,
        members=plan.members,
        mode=plan.mode,
    )
    onnx = export(network, plan, writer)
    compare(network, onnx, lessons.vocabulary, plan, writer)
    generator = new_generator(export(chosen, plan, writer), lessons.vocabulary, shape, plan.threads, USUAL)
    counted_in = None if base is not None and holds_all(dataset, parts, base) else base
    judged = _slates(generator, _Counts(parts, parts.learned, lessons, keep, counted_in), parts, lessons, plan)
    weights = fit(judged, keep_order=plan.mode == "next-k")
    if base is not None and weights == UNFITTED and base.bundle.manifest.model.mode == plan.mode:
        weights = base.bundle.scorer_weights  # too little is new
    give_back()
    tuned = {f"slate.{name}": tensor for name, tensor in writer.state_dict().items()} if writer else {}
    counted = parts.counted if plan.refit else parts.learned
    counts = _Counts(parts, counted, lessons, keep, counted_in)
    contents = {
        "weights.safetensors": save({**network.state_dict(), **tuned}),
        "model.onnx": onnx,
        "vocabulary.json": msgspec.json.encode(lessons.vocabulary.item_ids),
        "items.jsonl.gz": pack_items({**base.bundle.items, **dataset.items} if base else dataset.items),
        "counts.safetensors": pack_counts(counts.transitions, counts.popularity, counts.interactions),
        "scorer.json": msgspec.json.format(msgspec.json.encode(weights)),
    }
    folder = partial / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = {name: write_file(folder, name, contents[name]) for name in FILES}
    learned = (base.learned if base else NONE_LEARNED).and_of(dataset, parts.row[counted])
    learned_file = write_file(folder, LEARNED, learned.pack())
    metrics = {"validation_slates": float(len(judged.hit))}
    if len(judged.hit) >= LEAST_SLATES:  # fewer say nothing
        worth = measure(judged)
        metrics["generator_ndcg@10"] = round(worth.generator, 6)
        scored = worth.generator if plan.mode == "next-k" else max(worth.generator, worth.fitted)  # only a better fit is used
        metrics["scored_ndcg@10"] = round(scored, 6)
    manifest = _manifest(dataset, parts, counted, plan, shape, files, learned_file, metrics, base)
    write_file(folder, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    _replace(folder, out)
    shutil.rmtree(partial)
    return manifest


def refuse_foreign(out: Path) -> None:
    """Raises UserError where ``out`` holds something that is not a bundle: it would be lost."""
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: exists and is no bundle; choose another --out")


class _Counts:
    """Transitions and popularity of some interactions; with a base, of its own and of what it has not counted."""

    def __init__(self, parts: Split, of: NDArray[np.bool_], lessons: Lessons, keep: int, base: Base | None) -> None:
        size = len(lessons.vocabulary)

        def pairs_of(mask: NDArray[np.bool_]) -> Pairs:
            return count_pairs(parts.users[mask], lessons.to_vocabulary[parts.items[mask]], size)

        new = of & ~parts.known if base else of
        by_time = lessons.to_vocabulary[parts.by_time(new)]
        self.interactions = count_interactions(by_time, size)
        if base is None:
            pairs = pairs_of(of)
            self.popularity = recent_popularity(by_time, size)
        else:
            changed = of & np.isin(parts.users, parts.users[new])  # of other users nothing is added
            pairs = sum_pairs(
                [counted_before(base, lessons.vocabulary), pairs_of(changed)], [pairs_of(changed & parts.known)], size
            )
            self.popularity = popularity_since(base, by_time, np.sort(parts.occurred_at[new]), lessons.vocabulary)
            self.interactions[base.places_in(lessons.vocabulary)] += base.bundle.interactions
        self.transitions = as_transitions(pairs, size, keep)


def _slates(generator: GPTRec, counts: _Counts, parts: Split, lessons: Lessons, plan: Plan) -> Slates:
    """The validation targets with the candidates they would be found among."""
    vocabulary = lessons.vocabulary
    transitions = Transitions(vocabulary, counts.transitions, counts.popularity, counts.interactions, WINDOW)
    scorer = AdditiveScorer(vocabulary, transitions, counts.popularity, UNFITTED)
    return collect(slates(generator, scorer, counts.popularity, parts, lessons.slates, lessons.to_vocabulary), len(vocabulary))


def _manifest(
    dataset: Dataset,
    parts: Split,
    counted: NDArray[np.bool_],
    plan: Plan,
    shape: ModelShape,
    files: dict[str, FileEntry],
    learned: FileEntry,
    metrics: dict[str, float],
    base: Base | None,
) -> Manifest:
    times = parts.occurred_at[parts.counted]  # all that was looked at, be it to choose
    before = base.bundle.manifest.data if base else None
    return Manifest(
        schema_version=1,
        version=content_version(files),
        code=streamrec.__version__,
        continues=plan.continues,
        continued=summary(base, parts) if base else None,
        learned=learned,
        holdout=plan.holdout,  # type: ignore[arg-type]  # `split` has accepted it
        validation=_validation_in_words(plan, base) if len(parts.validation) else NOTHING,
        refit=plan.refit,
        data=DataRange(
            sha256=dataset.sha256,
            interactions=int((counted & ~parts.known).sum()) + (before.interactions if before else 0),
            validation_targets=len(parts.validation),
            first=min(int(times.min()), before.first if before else LATEST_MS),
            last=max(int(times.max()), before.last if before else 0),
            skips=int(parts.is_skip.sum()),
        ),
        seed=plan.seed,
        steps=plan.steps,
        tune=plan.tune,
        threads=plan.threads,
        cpu=instruction_set(),
        precision=plan.precision,
        model=shape,
        window=WINDOW,
        libraries={name: version(name) for name in LIBRARIES},
        metrics=metrics,
        files=files,
    )


def _validation_in_words(plan: Plan, base: Base | None) -> str:
    return VALIDATION[plan.holdout] + (", of the new events" if base else "") + (LEARNED_TOO if plan.refit else NOT_LEARNED)


def _replace(folder: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    old = out.with_name(out.name + ".replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)
