"""Asks a bundle what a protocol withheld from its training, and baselines the same: all items ranked, ties against the model."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.core.pipeline import SlateRules
from streamrec.evaluation.baselines import Scores, baselines
from streamrec.evaluation.metrics import MISSED, TOP, Lead, Metrics, Tally, rank_of
from streamrec.evaluation.online import Learning
from streamrec.evaluation.protocols import Holdout, Split, split
from streamrec.evaluation.shuffle import ShuffleReport, shuffle_test
from streamrec.evaluation.slates import Slate, SlateScorer, slates, vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import USUAL, Bundle
from streamrec.serving.counting import count_interactions
from streamrec.serving.topk import best

Protocol = Literal["leave-one-out", "time-split", "prequential"]
HOLDOUT: Mapping[Protocol, Holdout] = {"leave-one-out": "leave-one-out", "time-split": "time-split", "prequential": "time-split"}
Progress = Callable[[int, int], None]


class OtherFigure(Struct, frozen=True, kw_only=True):
    """The same with nothing left out: what the user has had is ranked too, and is a target where it came again."""

    targets: int
    model: Metrics
    generator: Metrics
    baselines: dict[str, Metrics]


class Report(Struct, frozen=True, kw_only=True):
    """The answer, as ``evaluate --json`` prints it."""

    protocol: Protocol
    users: int  # with at least one target
    items: int  # of the catalogue
    events: int  # clicks and listens of the data set
    targets: int
    skipped: dict[str, int]
    model: Metrics  # what is served: the generator's candidates in the scorer's order, without what its threshold drops
    generator: Metrics  # the generator's order alone
    frozen: Metrics | UnsetType = UNSET  # prequential: what is served where transitions and popularity have stopped learning
    baselines: dict[str, Metrics]
    baselines_left_out: dict[str, str]  # by name, with the reason
    leads: dict[str, Lead]  # of the model over each baseline
    relevance_threshold: float  # in force: an item below it gets none but the first few slots
    mean_slate_size: float  # of the slates of ten that are served
    seen_items_excluded: bool
    seen_items_included: OtherFigure
    shuffle: ShuffleReport | UnsetType = UNSET
    dataset_sha256: str
    bundle: str
    seed: int  # of the training, and of the bootstrap and the shuffle


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    protocol: Protocol,
    *,
    shuffle: bool = False,
    threads: int = 1,
    rules: SlateRules = USUAL,
    progress: Progress = lambda done, targets: None,
) -> Report:
    """Runs the protocol.

    - Every item of the catalogue is ranked, except those that the user has had. Ties count against the model.
    - Users and items that are unknown to the bundle stay in: a user without history is served what is popular, an item that was
      not trained on is missed.
    - Targets that the user has had before are skipped and counted. ``seen_items_included`` has them, and excludes nothing.
    - ``prequential`` asks in the order of time, and whatever counts learns each interaction once it was asked for; the
      weights of generator and scorer stay, EASE and item-kNN too.

    Args:
        rules: those of the slates that are served, but ten slots are asked for, and nothing may come again.

    Raises:
        UserError: the bundle was trained on a target, or there is nothing to ask.
    """
    if protocol not in get_args(Protocol):
        raise UserError(f"protocol {protocol!r}: choose {', '.join(get_args(Protocol))}")
    if shuffle and protocol == "prequential":
        raise UserError("--shuffle asks whether order matters at all; choose --protocol leave-one-out or time-split")
    parts = split(dataset, HOLDOUT[protocol])
    _refuse_trained_on(bundle, dataset, parts, HOLDOUT[protocol])
    counted = parts.counted if bundle.manifest.refit else parts.learned
    trained_on = counted & (parts.occurred_at <= bundle.manifest.data.last)
    fitted, left_out = baselines(parts, trained_on, dataset)
    asked = _Question(bundle, dataset, parts, trained_on, parts.test, True, threads, rules)
    everything = asked._replace(positions=parts.asked, exclude_seen=False)
    online = protocol == "prequential"

    def learning() -> Learning | None:
        return Learning(bundle, dataset, parts, trained_on) if online else None

    first, total = len(parts.test), len(parts.test) * (2 if online else 1) + len(everything.positions)
    tallies = _tallies(asked, fitted, learning(), lambda done: progress(done, total))
    frozen = _tallies(asked, {}, None, lambda done: progress(first + done, total)) if online else None
    others = _tallies(everything, fitted, learning(), lambda done: progress(total - len(everything.positions) + done, total))
    seed = bundle.manifest.seed
    metrics = {name: tally.metrics(seed) for name, tally in tallies.items()}
    other = {name: tally.metrics(seed) for name, tally in others.items()}
    return Report(
        protocol=protocol,
        users=len(np.unique(parts.users[parts.test])),
        items=len(dataset.item_ids),
        events=len(parts.items),
        targets=len(parts.test),
        skipped=parts.skipped,
        model=metrics["model"],
        generator=metrics["generator"],
        frozen=frozen["model"].metrics(seed) if frozen else UNSET,
        baselines={name: metrics[name] for name in fitted},
        baselines_left_out=left_out,
        leads={name: tallies["model"].lead_over(tallies[name], seed) for name in fitted},
        relevance_threshold=rules.threshold(bundle.scorer_weights.threshold),
        mean_slate_size=tallies["model"].mean_slate_size,
        seen_items_excluded=True,
        seen_items_included=OtherFigure(
            targets=len(everything.positions),
            model=other["model"],
            generator=other["generator"],
            baselines={name: other[name] for name in fitted},
        ),
        shuffle=shuffle_test(bundle, dataset, parts, trained_on, threads) if shuffle else UNSET,
        dataset_sha256=dataset.sha256,
        bundle=bundle.version,
        seed=seed,
    )


def _refuse_trained_on(bundle: Bundle, dataset: Dataset, parts: Split, holdout: Holdout) -> None:
    manifest = bundle.manifest
    if len(parts.test) == 0:
        left_out = "".join(f", {count} {reason.replace('_', ' ')}" for reason, count in parts.skipped.items() if count)
        raise UserError(
            f"{holdout}: the data set has nothing to ask: no target that its user has not had before{left_out}; "
            f"give more data, or another --protocol"
        )
    if holdout == "time-split" and parts.occurred_at[parts.asked].min() > manifest.data.last:
        return  # whatever it was trained on happened before the first target
    if manifest.holdout != holdout:
        raise UserError(
            f"{bundle.path}: was trained with --holdout {manifest.holdout}, so it has learned what is asked; "
            f"train it again with --holdout {holdout}"
        )
    if manifest.data.sha256 != dataset.sha256:
        raise UserError(
            f"{bundle.path}: was trained on other data (sha256 {manifest.data.sha256[:12]}, not {dataset.sha256[:12]}), which may "
            f"hold the targets; train it on this data with --holdout {holdout}"
        )


class _Answer(NamedTuple):
    position: int
    rank: float
    slate: list[int]
    generator_rank: float
    generator_slate: list[int]


class _Question(NamedTuple):
    """What is asked, of whom."""

    bundle: Bundle
    dataset: Dataset
    parts: Split
    trained_on: NDArray[np.bool_]
    positions: NDArray[np.int64]
    exclude_seen: bool
    threads: int
    rules: SlateRules = USUAL


def _tallies(
    asked: _Question, fitted: dict[str, Scores], learning: Learning | None, progress: Callable[[int], None]
) -> dict[str, Tally]:
    """A tally for the model, the generator and each baseline."""
    parts, dataset, positions = asked.parts, asked.dataset, asked.positions
    interactions = count_interactions(parts.items[asked.trained_on], len(dataset.item_ids))
    tags = [dataset.items[item_id].tags for item_id in dataset.item_ids]
    known = interactions if learning is None else learning.interactions
    if learning:
        fitted = fitted | learning.baselines
        positions = positions[np.argsort(parts.row[positions])]
        learning.until(parts.row[positions[0]])
    tallies = {name: Tally(tags, interactions) for name in ("model", "generator", *fitted)}
    for done, answer in enumerate(_served(asked._replace(positions=positions), learning), start=1):
        user, target = int(parts.users[answer.position]), int(parts.items[answer.position])
        heard = parts.heard(parts.past(answer.position))
        had = parts.had(answer.position) if asked.exclude_seen else parts.history(answer.position)[:0]
        tallies["model"].add(user, answer.rank, answer.slate)
        tallies["generator"].add(user, answer.generator_rank, answer.generator_slate)
        for name, baseline in fitted.items():
            scores = baseline(heard)
            scores[had] = -np.inf
            slate = best(scores, TOP)
            tallies[name].add(user, rank_of(scores, target) if known[target] else MISSED, slate.tolist())
        if learning and done < len(positions):
            learning.until(parts.row[positions[done]])
        progress(done)
    return tallies


def _served(asked: _Question, learning: Learning | None = None) -> Iterator[_Answer]:
    bundle, dataset = asked.bundle, asked.dataset
    to_vocabulary = vocabulary_index(dataset, bundle.vocabulary)
    of_dataset = {item_id: index for index, item_id in enumerate(dataset.item_ids)}
    to_dataset = [of_dataset.get(item_id, -1) for item_id in bundle.vocabulary.item_ids]  # -1: only the bundle knows it
    scorer: SlateScorer = learning.scorer if learning else bundle.scorer()
    popularity = learning.popularity if learning else bundle.popularity
    made = slates(
        bundle.generator(asked.threads, replace(asked.rules, slate_size=TOP)),
        scorer,
        popularity,
        asked.parts,
        asked.positions,
        to_vocabulary,
        exclude_seen=asked.exclude_seen,
        candidates=asked.rules.candidates,
    )
    threshold = asked.rules.threshold(scorer.threshold)
    for slate in made:
        _, scores, relevances = scorer.score(slate.features)
        order = np.lexsort((slate.candidates, -scores))
        kept = relevances >= threshold
        kept[order[: asked.rules.least]] = True
        shown = slate.candidates[order][kept[order]][:TOP]
        yield _Answer(
            slate.position,
            _served_rank(slate, scores, kept),
            [to_dataset[item] for item in shown.tolist() if to_dataset[item] >= 0],
            _generator_rank(slate),
            [to_dataset[item] for item in slate.candidates[:TOP].tolist() if to_dataset[item] >= 0],
        )


def _served_rank(slate: Slate, scores: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
    """By score among the candidates; what was no candidate stands behind them, as the generator has it."""
    if slate.target < 0:
        return MISSED
    place = np.flatnonzero(slate.candidates == slate.target)
    if len(place) == 0:
        return _generator_rank(slate)
    return rank_of(scores, int(place[0])) if kept[place[0]] else MISSED


def _generator_rank(slate: Slate) -> float:
    return MISSED if slate.target < 0 else rank_of(np.where(slate.unseen, slate.log_probs, -np.inf), slate.target)
