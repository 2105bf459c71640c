"""Asks a bundle what a protocol withheld from its training, and the baselines the same: all items ranked, seen ones left out."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.core.pipeline import SlateRules
from streamrec.evaluation.metrics import MISSED, TOP, Metrics, Tally, rank_of
from streamrec.evaluation.protocols import KEPT, Split, split
from streamrec.evaluation.slates import Slate, slates, vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Bundle
from streamrec.serving.counting import as_transitions, count_interactions, count_pairs, recent_popularity
from streamrec.serving.topk import best
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary

Protocol = Literal["leave-one-out", "time-split"]


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
    baselines: dict[str, Metrics]
    seen_items_excluded: bool
    dataset_sha256: str
    bundle: str
    seed: int


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    protocol: Protocol,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, targets: None,
) -> Report:
    """Runs the protocol.

    - Every item of the catalogue is ranked, except those that the user has had. Ties count against the model.
    - Users and items that are unknown to the bundle stay in: a user without history is served what is popular, an item that was
      not trained on is missed.
    - Targets that the user has had before are skipped and counted.

    Raises:
        UserError: the bundle was trained on a target.
    """
    parts = split(dataset, protocol)
    _refuse_trained_on(bundle, dataset, parts, protocol)
    seen_by_training = parts.counted & (parts.occurred_at <= bundle.manifest.data.last)
    interactions = count_interactions(parts.items[seen_by_training], len(dataset.item_ids))
    tags = [dataset.items[item_id].tags for item_id in dataset.item_ids]
    tallies = {name: Tally(tags, interactions) for name in ("model", "generator", "popularity", "recent_popularity", "markov")}
    baselines = _baselines(parts, seen_by_training, dataset)
    for done, answer in enumerate(_served(bundle, parts, dataset, threads)):
        user = int(parts.users[answer.position])
        tallies["model"].add(user, answer.rank, answer.slate)
        tallies["generator"].add(user, answer.generator_rank, answer.generator_slate)
        history, target = parts.history(answer.position), int(parts.items[answer.position])
        for name, baseline in baselines.items():
            scores = baseline(history)
            scores[history] = -np.inf
            rank = rank_of(scores, target) if interactions[target] else MISSED
            slate = best(scores, min(TOP, int(np.isfinite(scores).sum())))
            tallies[name].add(user, rank, slate.tolist())
        progress(done + 1, len(parts.test))
    seed = bundle.manifest.seed
    return Report(
        protocol=protocol,
        users=len(np.unique(parts.users[parts.test])),
        items=len(dataset.item_ids),
        events=len(parts.items),
        targets=len(parts.test),
        skipped=parts.skipped,
        model=tallies.pop("model").metrics(seed),
        generator=tallies.pop("generator").metrics(seed),
        baselines={name: tally.metrics(seed) for name, tally in tallies.items()},
        seen_items_excluded=True,
        dataset_sha256=dataset.sha256,
        bundle=bundle.version,
        seed=seed,
    )


def _refuse_trained_on(bundle: Bundle, dataset: Dataset, parts: Split, protocol: Protocol) -> None:
    manifest = bundle.manifest
    if len(parts.test) == 0:
        raise UserError(f"{protocol}: the data set has nothing to ask: no target that its user has not had before")
    if protocol == "time-split" and parts.occurred_at[parts.test].min() > manifest.data.last:
        return  # whatever it was trained on happened before the first target
    if manifest.holdout != protocol:
        raise UserError(
            f"{bundle.path}: was trained with --holdout {manifest.holdout}, so it has learned what {protocol} asks; "
            f"train it again with --holdout {protocol}"
        )
    if manifest.data.sha256 != dataset.sha256:
        raise UserError(
            f"{bundle.path}: was trained on other data (sha256 {manifest.data.sha256[:12]}, not {dataset.sha256[:12]}), which may "
            f"hold the targets; train it on this data with --holdout {protocol}"
        )


class _Answer(NamedTuple):
    position: int
    rank: float
    slate: list[int]
    generator_rank: float
    generator_slate: list[int]


def _served(bundle: Bundle, parts: Split, dataset: Dataset, threads: int) -> Iterator[_Answer]:
    to_vocabulary = vocabulary_index(dataset, bundle.vocabulary)
    of_dataset = {item_id: index for index, item_id in enumerate(dataset.item_ids)}
    to_dataset = [of_dataset.get(item_id, -1) for item_id in bundle.vocabulary.item_ids]  # -1: only the bundle knows it
    scorer = bundle.scorer()
    for slate in slates(bundle.generator(threads), scorer, bundle.popularity, parts, parts.test, to_vocabulary):
        _, scores, relevances = scorer.score(slate.features)
        order = np.lexsort((slate.candidates, -scores))
        kept = relevances >= scorer.threshold
        kept[order[: SlateRules().least]] = True
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


def _baselines(
    parts: Split, seen_by_training: NDArray[np.bool_], dataset: Dataset
) -> dict[str, Callable[[NDArray[np.int32]], NDArray[np.float64]]]:
    """Each gives a fresh array of scores for every item of the data set; fitted on what training saw."""
    size = len(dataset.item_ids)
    users, items = parts.users[seen_by_training], parts.items[seen_by_training]
    counted = count_interactions(items, size)
    recent = recent_popularity(parts.by_time(seen_by_training), size)
    counts = as_transitions(count_pairs(users, items, size), size, keep=size)
    markov = Transitions(Vocabulary(dataset.item_ids), counts, (counted + 0.5 / size) / (counted.sum() + 0.5), counted, 0)
    return {
        "popularity": lambda history: counted.astype(np.float64),
        "recent_popularity": lambda history: recent.copy(),
        "markov": lambda history: markov.probabilities(history[-KEPT:].tolist()).copy(),
    }
