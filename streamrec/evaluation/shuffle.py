"""Is a data set sequential at all? If the order of a history tells nothing, shuffling it costs nothing.

After Klenitskiy, Volodkevich, Pembek, Vasilev, "Does It Look Sequential? An Analysis of Datasets for Evaluation of Sequential
Recommendations", RecSys 2024 (arXiv 2408.12008), with two instruments: the bundle's generator, which learned the true order and
is given shuffled histories, and the Markov baseline, which learns anew from a shuffled log, so that it shows what can be had
without any order.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamrec.evaluation.baselines import markov
from streamrec.evaluation.metrics import MISSED, TOP, Lead, Tally, rank_of
from streamrec.evaluation.protocols import Split
from streamrec.evaluation.slates import AT_ONCE, model_items, vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Bundle
from streamrec.serving.topk import best

CLEARLY = 0.1  # of NDCG@10 is lost where order matters; less is weak

Shuffled = Callable[[NDArray[Any]], NDArray[Any]]
Asked = tuple[int, float, NDArray[np.intp]]  # user, rank, first ten


class Effect(
    Struct, frozen=True, kw_only=True, rename={"ndcg": "ndcg@10", "shuffled_ndcg": "shuffled_ndcg@10", "overlap": "overlap@10"}
):
    """What shuffling does to one instrument."""

    ndcg: float
    shuffled_ndcg: float
    drop: Lead  # of the true order over the shuffled one, with its interval
    relative_drop: float
    overlap: float  # Jaccard similarity of the two slates, averaged


class ShuffleReport(Struct, frozen=True, kw_only=True):
    """The test's outcome.

    ``verdict``: an instrument that loses at least a tenth of its NDCG@10, and not by luck, makes the data *sequential*; one that
    loses less, but not by luck, *weakly sequential* (by 95 % intervals: one data set in twenty is called so for no reason);
    otherwise nothing that we can measure depends on the order.
    """

    verdict: Literal["sequential", "weakly sequential", "not sequential"]
    generator: Effect
    markov: Effect
    tied: float  # share of the interactions whose time another of the same user has: there the file's order decides, not time


def shuffle_test(bundle: Bundle, dataset: Dataset, parts: Split, trained_on: NDArray[np.bool_], threads: int = 1) -> ShuffleReport:
    """Asks twice, with the histories as they are and shuffled (by the bundle's seed)."""
    seed = bundle.manifest.seed
    random = np.random.default_rng(seed)

    def shuffled(past: NDArray[Any]) -> NDArray[Any]:
        return random.permutation(past)

    users, items = parts.users[trained_on], parts.items[trained_on]
    anyhow = items[np.lexsort((random.random(len(items)), users))]
    in_order = markov(users, items, dataset.item_ids)
    without_order = markov(users, anyhow, dataset.item_ids)
    of_chain = (
        [_asked(parts, position, in_order(parts.heard(parts.past(position)))) for position in parts.test.tolist()],
        [_asked(parts, position, without_order(parts.heard(shuffled(parts.past(position))))) for position in parts.test.tolist()],
    )
    of_model = (
        list(_generated(bundle, dataset, parts, lambda past: past, threads)),
        list(_generated(bundle, dataset, parts, shuffled, threads)),
    )
    generator, chain = _effect(*of_model, seed), _effect(*of_chain, seed)
    return ShuffleReport(verdict=_verdict(generator, chain), generator=generator, markov=chain, tied=_tied(parts))


def _generated(bundle: Bundle, dataset: Dataset, parts: Split, order: Shuffled, threads: int) -> Iterator[Asked]:
    generator = bundle.generator(threads)
    to_vocabulary = vocabulary_index(dataset, bundle.vocabulary)
    known = np.flatnonzero(to_vocabulary >= 0)
    for first in range(0, len(parts.test), AT_ONCE):
        positions = parts.test[first : first + AT_ONCE].tolist()
        histories = [model_items(parts, order(parts.past(position)), to_vocabulary) for position in positions]
        asked = [place for place, history in enumerate(histories) if history]
        answers = dict(zip(asked, generator.log_probs([histories[place] for place in asked]), strict=True)) if asked else {}
        for place, position in enumerate(positions):
            scores = np.full(len(dataset.item_ids), -np.inf)
            scores[known] = answers.get(place, bundle.popularity)[to_vocabulary[known]]
            yield _asked(parts, position, scores)


def _asked(parts: Split, position: int, scores: NDArray[np.float64]) -> Asked:
    target = int(parts.items[position])
    scores[parts.had(position)] = -np.inf
    rank = rank_of(scores, target) if np.isfinite(scores[target]) else MISSED
    return int(parts.users[position]), rank, best(scores, TOP)


def _effect(true: list[Asked], shuffled: list[Asked], seed: int) -> Effect:
    tallies = Tally([], np.zeros(0, np.int64)), Tally([], np.zeros(0, np.int64))  # for their ranks: slates are compared here
    overlaps = []
    for (user, rank, slate), (_, other_rank, other_slate) in zip(true, shuffled, strict=True):
        tallies[0].add(user, rank, [])
        tallies[1].add(user, other_rank, [])
        either = set(slate.tolist()) | set(other_slate.tolist())
        overlaps.append(len(set(slate.tolist()) & set(other_slate.tolist())) / len(either) if either else 1.0)
    before, after = (float(tally.gains.mean()) for tally in tallies)
    return Effect(
        ndcg=round(before, 6),
        shuffled_ndcg=round(after, 6),
        drop=tallies[0].lead_over(tallies[1], seed),
        relative_drop=round((before - after) / before, 6) if before else 0.0,
        overlap=round(float(np.mean(overlaps)), 6),
    )


def _verdict(*effects: Effect) -> Literal["sequential", "weakly sequential", "not sequential"]:
    real = [effect.relative_drop for effect in effects if effect.drop.ndcg_interval[0] > 0]
    if not real:
        return "not sequential"
    return "sequential" if max(real) >= CLEARLY else "weakly sequential"


def _tied(parts: Split) -> float:
    users, times = parts.users[~parts.is_skip], parts.occurred_at[~parts.is_skip]
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    same = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    tied = np.zeros(len(users), bool)
    tied[1:] |= same
    tied[:-1] |= same
    return round(float(tied.mean()), 6)
