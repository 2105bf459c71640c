"""What the benchmarks that look into one bundle share: their two arguments, and what they may look into."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.bundle import Bundle, load_bundle


def bundle_and_data(folder: Path, data: Path, **wanted: Any) -> tuple[Bundle, Dataset]:
    """A bundle, and the data set that it was trained on with ``--holdout leave-one-out``.

    Args:
        wanted: what else its manifest must say: ``mode``, ``refit``, or ``tuned``.

    Raises:
        UserError: it was trained otherwise; says in what.
    """
    bundle, dataset = load_bundle(folder), read_dataset(data)
    manifest = bundle.manifest
    found = {
        "data": manifest.data.sha256[:12],
        "holdout": manifest.holdout,
        "mode": manifest.model.mode,
        "refit": manifest.refit,
        "tuned": manifest.tune > 0,
    }
    needed = {"data": dataset.sha256[:12], "holdout": "leave-one-out", **wanted}
    wrong = [f"{name} is {found[name]}, must be {value}" for name, value in needed.items() if found[name] != value]
    if wrong:
        raise UserError(f"{bundle.path}: {'; '.join(wrong)}; train one as is said where no arguments are given")
    return bundle, dataset


def call(main: Callable[[Path, Path], None], doc: str | None) -> None:
    """Runs a benchmark on the command line's two arguments; exits with 2 where they are wrong."""
    if len(sys.argv) != 3:
        print(doc, file=sys.stderr)
        sys.exit(2)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as mistake:
        print(f"{Path(sys.argv[0]).stem}: {mistake}", file=sys.stderr)
        sys.exit(2)
