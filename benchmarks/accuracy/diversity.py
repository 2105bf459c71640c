"""What the dial of a tuned Next-K bundle is worth, beside Top-K re-ranked for diversity by MMR at equal NDCG.

    python -m benchmarks.accuracy.diversity BUNDLE DATA     # trained with --mode next-k --holdout leave-one-out, and tuned

All slates are of the leave-one-out test, by the generator alone, seen items excluded. MMR (maximal marginal relevance, Carbonell &
Goldstein, SIGIR 1998) takes one after the other of Top-K's 50 best: λ × the log-probability, stretched to 0…1 over the 50, less
(1 - λ) × the Jaccard similarity of tags with the slate so far, the greatest or the mean.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.accuracy.arguments import bundle_and_data, call
from streamrec.core.pipeline import SlateRules
from streamrec.evaluation.metrics import MISSED, TOP, Metrics, Tally
from streamrec.evaluation.protocols import Split, split
from streamrec.evaluation.slates import slates, vocabulary_index
from streamrec.serving.bundle import Bundle

DIALS = (0.1, 0.3, 0.5, 0.7, 1.0)
LAMBDAS = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
POOL = 50  # of Top-K's best, for MMR
Made = tuple[int, int, NDArray[np.intp], NDArray[np.float64]]  # user, target, candidates best first, their log-probabilities


def ask(bundle: Bundle, parts: Split, to_vocabulary: NDArray[np.int64], rules: SlateRules) -> Iterator[Made]:
    """Each test target's candidates by the generator. With slates of one item they are Top-K's."""
    made = slates(bundle.generator(1, rules), bundle.scorer(), bundle.popularity, parts, parts.test, to_vocabulary)
    for slate in made:
        chances = slate.log_probs[slate.candidates].astype(np.float64)
        if rules.slate_size == 1:  # the others' are those of a slate that begins with the first
            chances[1:] += np.log1p(-np.exp(chances[0])) - chances[0]
        yield int(parts.users[slate.position]), slate.target, slate.candidates, chances


def mmr(chances: NDArray[np.float64], alike: NDArray[np.float64], weight: float, *, mean: bool) -> list[int]:
    """The order in which MMR takes the first ten.

    Args:
        chances: of each candidate, log-probabilities.
        alike: how like each other two candidates are, 0 to 1.
        weight: λ.
        mean: similarity with the slate is the mean, else the greatest.
    """
    relevance = (chances - chances.min()) / max(np.ptp(chances), 1e-12)
    left, taken = np.ones(len(chances), bool), [int(chances.argmax())]
    while True:
        left[taken[-1]] = False
        if len(taken) == min(TOP, len(chances)):
            return taken
        like = alike[:, taken].mean(axis=1) if mean else alike[:, taken].max(axis=1)
        taken.append(int(np.where(left, weight * relevance - (1 - weight) * like, -np.inf).argmax()))


def similarity(tags: list[frozenset[str]]) -> NDArray[np.float64]:
    """Jaccard of each two sets; nothing is like what has no tags."""
    names = sorted(frozenset().union(*tags))
    table = np.array([[name in each for name in names] for each in tags], np.float64).reshape(len(tags), len(names))
    both = table @ table.T
    return both / np.maximum(table.sum(axis=1)[:, None] + table.sum(axis=1) - both, 1)


def at_equal_ndcg(points: list[Metrics], ndcg: float) -> float | None:
    """The diversity that a curve has at an NDCG, interpolated; None where it does not come there."""
    curve = sorted((each.ndcg, each.diversity or 0.0) for each in points)
    if not curve[0][0] <= ndcg <= curve[-1][0]:
        return None
    return float(np.interp(ndcg, *zip(*curve, strict=True)))


def main(folder: Path, data: Path) -> None:
    bundle, dataset = bundle_and_data(folder, data, mode="next-k", tuned=True)
    parts, to_vocabulary = split(dataset, "leave-one-out"), vocabulary_index(dataset, bundle.vocabulary)
    tags = [frozenset(bundle.items[item_id].tags) for item_id in bundle.vocabulary.item_ids]
    alike = similarity(tags)

    def tallied(orders: Iterator[tuple[int, int, list[int]]]) -> Metrics:
        tally = Tally([sorted(each) for each in tags], bundle.interactions)
        for user, target, slate in orders:
            tally.add(user, slate.index(target) + 1 if target in slate else MISSED, slate)
        return tally.metrics()

    def first_ten(rules: SlateRules) -> Metrics:
        made = ask(bundle, parts, to_vocabulary, rules)
        return tallied((user, target, items[:TOP].tolist()) for user, target, items, _ in made)

    console = Console(width=None if sys.stdout.isatty() else 110)
    pool = list(track(ask(bundle, parts, to_vocabulary, SlateRules(slate_size=1)), "Top-K", total=len(parts.test), transient=True))

    def re_ranked(weight: float, mean: bool) -> Metrics:
        def orders() -> Iterator[tuple[int, int, list[int]]]:
            for user, target, items, chances in pool:
                best = items[:POOL]
                taken = mmr(chances[:POOL], alike[np.ix_(best, best)], weight, mean=mean)
                yield user, target, best[taken].tolist()

        return tallied(orders())

    ranked = tallied((user, target, items[:TOP].tolist()) for user, target, items, _ in pool)
    dials = {dial: first_ten(SlateRules(diversity=dial)) for dial in track(DIALS, "dials", transient=True)}
    curves = {
        f"MMR, {'mean' if mean else 'greatest'}": {weight: re_ranked(weight, mean) for weight in LAMBDAS}
        for mean in track((False, True), "MMR", transient=True)
    }
    error = 0.32 / np.sqrt(len(parts.test))  # the standard deviation of one target's NDCG@10 is about a third
    console.print(f"bundle {bundle.version}, {len(parts.test):,} targets; a standard error of NDCG@10 is {error:.4f}")
    console.print("To the right of a dial: how diverse MMR's slates are at the same NDCG@10 (interpolated).")
    table = Table("slate", "NDCG@10", "of Top-K", "diversity", *curves)
    _row(table, "Top-K", ranked, ranked, [])
    for dial, found in dials.items():
        there = [at_equal_ndcg([ranked, *curve.values()], found.ndcg) for curve in curves.values()]
        _row(table, f"dial {dial:g}", found, ranked, ["" if each is None else f"{each:.3f}" for each in there])
    for name, curve in curves.items():
        for weight, found in curve.items():
            _row(table, f"{name}, λ {weight:g}", found, ranked, [])
    console.print(table)


def _row(table: Table, name: str, found: Metrics, ranked: Metrics, more: list[str]) -> None:
    table.add_row(name, f"{found.ndcg:.4f}", f"{100 * found.ndcg / ranked.ndcg:.1f} %", f"{found.diversity or 0:.3f}", *more)


if __name__ == "__main__":
    call(main, __doc__)
