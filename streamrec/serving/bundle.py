"""A bundle: the folder that a training leaves and everything else reads. Its files are verified before they are used.

===================== =====================================================================================
``manifest.json``      how it was made, and size and sha256 of every other file
``weights.safetensors`` the network's weights, to train on or to export again
``model.onnx``         the network as it is served
``vocabulary.json``    the item ids that the model knows, in the order of their indexes
``items.jsonl.gz``     the catalogue of version 0
``counts.safetensors`` transitions and popularity
``scorer.json``        the weights and the calibration of the relevance scorer
``learned.safetensors`` a hash of each event that was counted, for `train --continue` alone; may be deleted
===================== =====================================================================================
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from safetensors import SafetensorError

from streamrec.core.errors import UserError
from streamrec.core.pipeline import SlateRules
from streamrec.core.types import Item
from streamrec.serving.counting import TransitionCounts
from streamrec.serving.gptrec import GPTRec
from streamrec.serving.nextk import NextK
from streamrec.serving.popularity import Popularity
from streamrec.serving.relevance import AdditiveScorer, ScorerWeights
from streamrec.serving.subtokens import SubTokens
from streamrec.serving.tables import unpack_counts
from streamrec.serving.transitions import Transitions
from streamrec.serving.vocabulary import Vocabulary

MANIFEST = "manifest.json"
LEARNED = "learned.safetensors"
PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz", ".ckpt"}
USUAL = SlateRules()  # where nobody has set any
FILES = (
    "weights.safetensors",
    "model.onnx",
    "vocabulary.json",
    "items.jsonl.gz",
    "counts.safetensors",
    "scorer.json",
)


class FileEntry(msgspec.Struct, frozen=True):
    """A file as it was written."""

    sha256: str
    size: int


class DataRange(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained on. Times in milliseconds UTC."""

    sha256: str  # of the data set's content
    interactions: int  # that training saw; of these the newest, or each user's last but one, were kept for validation
    validation_targets: int
    first: int
    last: int
    skips: int = 0  # listens that training left out of everything


class Continued(msgspec.Struct, frozen=True, kw_only=True):
    """The interactions that a continued training was given."""

    newer: int  # than everything that the bundle before it had counted
    older: int  # and never counted: they came late
    known: int  # counted by the bundle before it: they are not counted again
    known_by_time_until: int | None = None  # milliseconds UTC: events up to then were taken as known


Mode = Literal["top-k", "next-k", "svd"]


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the network is like."""

    dim: int
    layers: int
    heads: int
    context: int  # how many of a history's last items it sees
    dropout: float
    members: int = 1  # networks whose answers are averaged
    mode: Mode = "top-k"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """How a bundle was made: enough to make it again."""

    schema_version: Literal[1]
    version: str  # hash of the files' hashes
    holdout: Literal["none", "leave-one-out", "time-split"]
    validation: str  # what training kept back for itself, in words
    refit: bool = False  # whether that was learned, too, when it had chosen
    data: DataRange
    seed: int
    steps: int
    tune: int = 0  # further ones that taught it to write slates, in mode next-k
    threads: int
    cpu: str
    precision: str = "fp32"  # of the products in training: bf16 where the processor has them; the served weights are fp32
    model: ModelShape
    window: int  # of the transitions
    libraries: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, FileEntry]
    code: str  # streamrec's version
    continues: str | None = None  # the version of the bundle that this one was continued from
    continued: Continued | None = None
    learned: FileEntry | None = None  # LEARNED: it is not served, so it is no part of the version


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory, verified."""

    path: Path
    manifest: Manifest
    vocabulary: Vocabulary
    items: Mapping[str, Item]
    transitions: Transitions
    counts: TransitionCounts
    interactions: np.ndarray[Any, np.dtype[np.int64]]
    popularity: np.ndarray[Any, np.dtype[np.float64]]
    scorer_weights: ScorerWeights
    onnx: bytes

    @property
    def version(self) -> str:
        """The content's hash, which records name as ``versions.model``."""
        return self.manifest.version

    def generator(self, threads: int = 1, rules: SlateRules = USUAL) -> GPTRec:
        return new_generator(self.onnx, self.vocabulary, self.manifest.model, threads, rules)

    def rungs(self, threads: int = 1, rules: SlateRules = USUAL) -> tuple[GPTRec, Transitions, Popularity]:
        """The generators from best to simplest, for core.generate.Ladder."""
        return self.generator(threads, rules), self.transitions, Popularity(self.vocabulary, self.popularity)

    def scorer(self) -> AdditiveScorer:
        return AdditiveScorer(self.vocabulary, self.transitions, self.popularity, self.scorer_weights)


def new_generator(
    onnx: bytes,
    vocabulary: Vocabulary,
    model: ModelShape,
    threads: int,
    rules: SlateRules,
) -> GPTRec:
    """What asks the graph as its mode wants to be asked."""
    if model.mode == "next-k":
        return NextK(onnx, vocabulary, model.context, threads, slate=rules.slate_size, diversity=rules.diversity)
    if model.mode == "svd":
        return SubTokens(onnx, vocabulary, model.context, threads)
    return GPTRec(onnx, vocabulary, model.context, threads)


def load_bundle(path: Path) -> Bundle:
    """The bundle in folder ``path``.

    Raises:
        UserError: a file is missing, was changed, or is not of a bundle that this version can read.
    """
    manifest = read_manifest(path)
    # Only the names that we know are opened, never one that a manifest brings along.
    content = {name: read_verified(path / name, manifest.files[name]) for name in FILES}
    try:
        vocabulary = Vocabulary(msgspec.json.decode(content["vocabulary.json"], type=list[str]))
        items = msgspec.json.Decoder(Item).decode_lines(gzip.decompress(content["items.jsonl.gz"]))
        counts, popularity, interactions = unpack_counts(content["counts.safetensors"], len(vocabulary))
        weights = msgspec.json.decode(content["scorer.json"], type=ScorerWeights)
    except (msgspec.MsgspecError, SafetensorError, ValueError, KeyError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a bundle of streamrec ({_one_line(error)}); train it again") from None
    return Bundle(
        path=path,
        manifest=manifest,
        vocabulary=vocabulary,
        items={item.item_id: item for item in items},
        transitions=Transitions(vocabulary, counts, popularity, interactions, manifest.window),
        counts=counts,
        interactions=interactions,
        popularity=popularity,
        scorer_weights=weights,
        onnx=content["model.onnx"],
    )


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in folder ``path``, in itself consistent; raises UserError where it is not."""
    file = path / MANIFEST
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise UserError(f"{path}: no bundle there, {MANIFEST} is missing; make one with `streamrec train`") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; name the folder of a bundle") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file}: not a manifest that this version reads ({_one_line(error)}); train the bundle again") from None
    _refuse_code(path, manifest.files)
    if set(manifest.files) != set(FILES):
        raise UserError(f"{file}: names other files than {', '.join(FILES)}; train the bundle again")
    if manifest.version != content_version(manifest.files):
        raise UserError(f"{file}: was changed by hand, its version does not fit its files; copy or train the bundle again")
    return manifest


def _refuse_code(folder: Path, named: Iterable[str]) -> None:
    """A pickle runs whatever it says when it is loaded. None is ever opened here; one that lies there was meant for somebody."""
    there = {file.name for file in folder.iterdir()} | set(named)
    if found := sorted(name for name in there if Path(name).suffix.lower() in PICKLES):
        raise UserError(
            f"{folder}: holds {found[0]!r}, a kind of file that can run code when it is loaded; take it out, or train again"
        )


def content_version(files: Mapping[str, FileEntry]) -> str:
    """What a bundle with these files is called."""
    listed = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


def write_file(folder: Path, name: str, content: bytes) -> FileEntry:
    """Writes one file of a bundle, whole or not at all."""
    unfinished = folder / f".{name}.unfinished"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / name)
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def pack_items(items: Mapping[str, Item]) -> bytes:
    """The catalogue as ``items.jsonl.gz``: the same items give the same bytes."""
    lines = msgspec.json.Encoder(order="deterministic").encode_lines([items[item_id] for item_id in sorted(items)])
    return gzip.compress(lines, mtime=0)


def read_verified(file: Path, entry: FileEntry) -> bytes:
    """The file's content; raises UserError if it is not what was written."""
    try:
        if not file.resolve().is_relative_to(file.parent.resolve()):
            raise UserError(f"{file}: leads out of the bundle's folder; copy the file itself there")
        if file.stat().st_size != entry.size:
            raise UserError(f"{file}: has not the size that the manifest names; copy or train the bundle again")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; copy or train the bundle again") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UserError(f"{file}: was changed after training, its sha256 differs; copy or train the bundle again")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
