"""One peer, trained for some CPU minutes and asked what streamrec is asked. Runs in .venv-peers and prints one JSON object.

    python -m benchmarks.accuracy.peers sasrec ../shared/data/ml-1m --minutes 5 [--ask validation] [--set lr=0.002]

The settings below are the best of those tried on the validation targets; docs/evaluation.md says which. Peers learn from the same
interactions as streamrec, see the same histories, and are judged by streamrec.evaluation's own code.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from streamrec.evaluation.metrics import MISSED, TOP, Tally, rank_of
from streamrec.evaluation.protocols import Split, split
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.serving.counting import count_interactions
from streamrec.serving.topk import best

TUNED = {"loss": "softmax", "n_factors": 64, "n_blocks": 2, "n_heads": 2, "session_max_len": 100, "batch_size": 8, "lr": 0.002}
PEERS: dict[str, dict[str, Any]] = {
    "sasrec": TUNED,
    "esasrec": TUNED | {"layers": "ligr"},  # eSASRec (Tikhonovich et al., RecSys 2025): LiGR blocks in SASRec's task
}
USERS_AT_ONCE = 400


def main() -> None:
    """Reads the arguments, trains, asks, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PEERS))
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[5.0], help="CPU minutes since loading began; one run, asked at each"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ask", choices=("test", "validation"), default="test")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings instead of the tuned ones")
    asked = parser.parse_args()
    settings = PEERS[asked.name] | {key: _value(text) for key, text in (pair.split("=", 1) for pair in asked.set)}
    for row in run(asked.name, asked.data, sorted(asked.minutes), asked.seed, asked.ask, settings):
        print(json.dumps(row), flush=True)


class Stand(NamedTuple):
    """Where a training stood when its minutes were over."""

    minutes: float
    cpu_minutes: float
    steps: int
    weights: dict[str, Any]


def run(name: str, data: Path, minutes: list[float], seed: int, ask: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each of ``minutes``: the learning rate is constant, so a longer training passes through the shorter ones."""
    started = time.process_time()
    dataset = read_dataset(data)
    parts = split(dataset, "leave-one-out")
    positions, learned = (parts.test, parts.counted) if ask == "test" else (parts.validation, parts.learned)
    model, stands = _train(parts, learned, minutes, started, seed, dict(settings))
    for stand in stands:
        model.torch_model.load_state_dict(stand.weights)
        yield {
            "model": name,
            "minutes": stand.minutes,
            "seed": seed,
            "ask": ask,
            "cpu_minutes": round(stand.cpu_minutes, 2),
            "steps": stand.steps,
            "metrics": _metrics(model, parts, positions, dataset),
            "dataset_sha256": dataset.sha256,
            "settings": settings,
            "versions": {name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy")},
        }


def _metrics(model: Any, parts: Split, positions: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    counted = count_interactions(parts.items[parts.counted], len(dataset.item_ids))
    tally = Tally([dataset.items[item_id].tags for item_id in dataset.item_ids], counted)
    for position, scores in _scores(model, parts, positions, dataset):
        target = int(parts.items[position])
        scores[parts.had(position)] = -np.inf
        rank = rank_of(scores, target) if np.isfinite(scores[target]) else MISSED
        tally.add(int(parts.users[position]), rank, best(scores, TOP).tolist())
    plain: dict[str, Any] = msgspec.to_builtins(tally.metrics())
    return plain


def _train(
    parts: Split, learned: np.ndarray, minutes: list[float], started: float, seed: int, settings: dict[str, Any]
) -> tuple[Any, list[Stand]]:
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools.models import SASRecModel
    from rectools.models.nn.transformers.ligr import LiGRLayers

    stands: list[Stand] = []

    class Clock(Callback):
        """Keeps the weights whenever some minutes are over, and ends the training after the last, wherever in an epoch it is."""

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            spent = (time.process_time() - started) / 60
            if spent >= minutes[len(stands)]:
                weights = {name: value.clone() for name, value in module.torch_model.state_dict().items()}
                stands.append(Stand(minutes[len(stands)], spent, trainer.global_step, weights))
                trainer.should_stop = len(stands) == len(minutes)

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    seed_everything(seed, verbose=False)
    if settings.pop("layers", None) == "ligr":
        settings["transformer_layers_type"] = LiGRLayers
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    model = SASRecModel(
        **settings,
        get_trainer_func=lambda: Trainer(max_epochs=-1, accelerator="cpu", devices=1, callbacks=[Clock()], **quiet),
        recommend_torch_device="cpu",
    )
    model.fit(_interactions(parts, np.flatnonzero(learned)))
    return model, stands


def _scores(model: Any, parts: Split, positions: np.ndarray, dataset: Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """For each target the scores of all items, given everything before it; -inf where the peer has none."""
    for first in range(0, len(positions), USERS_AT_ONCE):
        asked = positions[first : first + USERS_AT_ONCE]
        before = np.concatenate([parts.past(position) for position in asked])
        before = before[~parts.is_skip[before]]
        scores = np.full((len(asked), len(dataset.item_ids)), -np.inf)
        place = {int(parts.users[position]): row for row, position in enumerate(asked)}
        answer = model.recommend(
            users=list(place), dataset=_interactions(parts, before), k=len(dataset.item_ids), filter_viewed=False
        )
        scores[answer["user_id"].map(place).to_numpy(), answer["item_id"].to_numpy()] = answer["score"].to_numpy()
        yield from zip(asked.tolist(), scores, strict=True)


def _interactions(parts: Split, positions: np.ndarray) -> Any:
    from rectools import Columns
    from rectools.dataset import Dataset as RecToolsDataset

    # The position stands for the time: RecTools orders by time, and equal ones could come in any order.
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(positions, unit="s")
    columns = {
        Columns.User: parts.users[positions],
        Columns.Item: parts.items[positions],
        Columns.Weight: 1,
        Columns.Datetime: times,
    }
    return RecToolsDataset.construct(pd.DataFrame(columns))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
