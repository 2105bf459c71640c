"""The baselines of `streamrec evaluate`, each with the CPU time of its fit: one JSON object a line."""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from streamrec.evaluation.baselines import baselines
from streamrec.evaluation.metrics import MISSED, TOP, Tally, rank_of
from streamrec.evaluation.protocols import split
from streamrec.eventlog.dataset import read_dataset
from streamrec.serving.counting import count_interactions
from streamrec.serving.topk import best

started = time.process_time()
dataset = read_dataset(Path(sys.argv[1]))
parts = split(dataset, "leave-one-out")
made, left_out = baselines(parts, parts.counted, dataset)
spent = (time.process_time() - started) / 60
counted = count_interactions(parts.items[parts.counted], len(dataset.item_ids))
tags = [dataset.items[item_id].tags for item_id in dataset.item_ids]
for name, baseline in made.items():
    tally = Tally(tags, counted)
    for position in parts.test.tolist():
        scores, target = baseline(parts.heard(parts.past(position))), int(parts.items[position])
        scores[parts.had(position)] = -np.inf
        rank = rank_of(scores, target) if counted[target] else MISSED
        tally.add(int(parts.users[position]), rank, best(scores, min(TOP, int(np.isfinite(scores).sum()))).tolist())
    metrics: dict[str, Any] = msgspec.to_builtins(tally.metrics())
    row = {"model": name, "minutes": 0.0, "seed": 0, "ask": "test", "cpu_minutes": round(spent, 2), "metrics": metrics}
    print(json.dumps(row | {"settings": {}, "versions": {"numpy": version("numpy")}}), flush=True)
for name, reason in left_out.items():
    print(f"{name} left out: {reason}", file=sys.stderr)
