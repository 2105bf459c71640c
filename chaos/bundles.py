"""Bundles to swap to: the given one with another scorer, and one whose model fails for some sessions and not for others."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from streamrec.serving.bundle import MANIFEST, content_version, read_manifest, write_file

POSITIONS = "gpt2.wpe.weight"
FAILS_BEYOND = 20  # interactions: longer histories get no number from the failing model


def other_scorer(bundle: Path, out: Path) -> Path:
    """A bundle that ranks otherwise: transitions and popularity count, too."""
    weights = msgspec.json.decode((bundle / "scorer.json").read_bytes())
    weights |= {"transitions": 0.5, "popularity": 0.25}
    return _with(bundle, out, "scorer.json", msgspec.json.encode(weights))


def failing_model(bundle: Path, out: Path) -> Path:
    """A bundle whose model answers short histories and gives no number for long ones: the next rung must answer those."""
    graph = onnx.load(str(bundle / "model.onnx"))
    positions = next(each for each in graph.graph.initializer if each.name == POSITIONS)
    values = numpy_helper.to_array(positions).copy()
    values[FAILS_BEYOND] = np.nan
    positions.CopyFrom(numpy_helper.from_array(values, POSITIONS))
    return _with(bundle, out, "model.onnx", graph.SerializeToString())


def _with(bundle: Path, out: Path, name: str, content: bytes) -> Path:
    shutil.copytree(bundle, out)
    manifest = read_manifest(bundle)
    files = manifest.files | {name: write_file(out, name, content)}
    changed = msgspec.structs.replace(manifest, files=files, version=content_version(files))
    write_file(out, MANIFEST, msgspec.json.format(msgspec.json.encode(changed)))
    return out
