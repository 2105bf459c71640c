"""What a recommendation costs without Kafka, held against the bare model: its ONNX session run on the same histories."""

import time
from typing import Any

import numpy as np
import onnxruntime

from streamrec.build import DEMO_BUNDLE, build_recommender
from streamrec.core.session import Position, SessionRules, model_history, update
from streamrec.core.types import Session
from streamrec.core.wire import encode
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.serving.bundle import load_bundle
from streamrec.settings import Settings

EVENTS = 3000
BATCHES = (1, 8, 32)


def run() -> dict[str, Any]:
    """CPU milliseconds of one core for each recommendation, explanation and encoding included; and the bare model's."""
    sessions = _sessions()
    recommender = build_recommender(Settings())
    found: dict[str, Any] = {}
    for batch in BATCHES:
        began = time.process_time()
        for first in range(0, len(sessions), batch):
            for recommendation in recommender.pipeline.recommend(sessions[first : first + batch], recommender.catalogue):
                encode(recommendation)
                encode(recommender.pipeline.explain(recommendation, recommender.catalogue))
        ours = (time.process_time() - began) / len(sessions) * 1000
        bare = _bare_model(sessions, batch)
        found[f"batch of {batch}"] = {"ms": round(ours, 3), "bare model ms": round(bare, 3), "ratio": round(ours / bare, 2)}
    return found


def _sessions() -> list[Session]:
    dataset = read_dataset(DATA)
    held: dict[str, Session] = {}
    made = []
    for offset, row in enumerate(range(len(dataset) - EVENTS, len(dataset))):
        event = dataset.event(row)
        at = Position("listens", 0, offset, event.occurred_at)
        held[event.user_id], _ = update(held.get(event.user_id), event, at, 0, SessionRules())
        made.append(held[event.user_id])
    return made


def _bare_model(sessions: list[Session], batch: int) -> float:
    bundle = load_bundle(DEMO_BUNDLE)
    context = bundle.manifest.model.context
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnxruntime.InferenceSession(bundle.onnx, options, providers=["CPUExecutionProvider"])
    known = [bundle.vocabulary.known(model_history(session))[-context:] or [0] for session in sessions]
    began = time.process_time()
    for first in range(0, len(known), batch):
        rows = known[first : first + batch]
        items = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for place, row in enumerate(rows):
            items[place, : len(row)] = row
        model.run(None, {"items": items, "lengths": np.array([len(row) for row in rows], np.int64)})
    return (time.process_time() - began) / len(known) * 1000
