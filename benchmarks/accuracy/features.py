"""What each part of the scorer is worth: fitted without it, and judged on slates that the fit has not seen.

    python -m benchmarks.accuracy.features BUNDLE DATA      # trained with --mode top-k --holdout leave-one-out --no-refit

NDCG@10 on the *validation* targets, each user's last interaction but one, which neither weights nor counts have learned; each half
of them is ordered by weights that the other half gives. (A training chooses its step on a sample of the same targets.)
"""

from pathlib import Path

import numpy as np
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.arguments import bundle_and_data, call
from streamrec.evaluation.protocols import split
from streamrec.evaluation.slates import slates, vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Bundle
from streamrec.serving.relevance import FEATURES
from streamrec.training.fit import Slates, collect, measure


def validation(bundle: Bundle, dataset: Dataset) -> Slates:
    """The slates of all validation targets."""
    parts = split(dataset, "leave-one-out")
    positions = parts.validation[parts.validation > parts.start[parts.validation]]
    to_vocabulary = vocabulary_index(dataset, bundle.vocabulary)
    made = slates(bundle.generator(), bundle.scorer(), bundle.popularity, parts, positions, to_vocabulary)
    return collect(made, len(bundle.vocabulary))


def worth(whole: Slates, used: set[str]) -> float:
    """NDCG@10 with only the features in ``used``."""
    blank = [place for place, name in enumerate(FEATURES) if name not in used]
    features = whole.features.copy()
    features[..., blank] = 0.0
    return measure(replace(whole, features=features)).fitted


def main(folder: Path, data: Path) -> None:
    bundle, dataset = bundle_and_data(folder, data, mode="top-k", refit=False)
    whole = validation(bundle, dataset)
    every = set(FEATURES)
    error = 0.32 / np.sqrt(len(whole.hit))  # the standard deviation of one target's NDCG@10 is about a third
    print(f"bundle {bundle.version}, {len(whole.hit):,} targets; a standard error is {error:.4f}, of a difference about half of it")
    table = Table("scorer", "NDCG@10")
    table.add_row("generator alone", f"{measure(whole).generator:.4f}")
    for name in FEATURES[1:]:
        table.add_row(f"generator and {name}", f"{worth(whole, {'generator', name}):.4f}")
    for name in FEATURES:
        table.add_row(f"all but {name}", f"{worth(whole, every - {name}):.4f}")
    table.add_row("all", f"{worth(whole, every):.4f}")
    Console().print(table)


if __name__ == "__main__":
    call(main, __doc__)
