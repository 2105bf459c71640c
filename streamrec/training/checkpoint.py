"""A training that can be killed: its state in one file, written whole or not at all."""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from streamrec.core.errors import UserError
from streamrec.serving.bundle import Mode

FILE = "checkpoint.safetensors"
Precision = Literal["bf16", "fp32"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the outcome of a training, besides the code and the kind of processor."""

    recipe: int  # another number: the same plan gives other bytes than before
    data: str  # sha256
    holdout: str
    seed: int
    threads: int
    precision: Precision
    dim: int
    layers: int
    heads: int
    context: int
    dropout: float
    members: int  # networks that learn side by side
    rate: float  # of learning, at its highest
    sampled: bool  # the softmax, not full
    continues: str | None  # the version of the bundle that it goes on from
    mode: Mode
    values: int  # of a sub-token, in mode svd
    tune: int  # steps after the others, in mode next-k
    refit: bool  # the last eighth of the steps learns the validation too
    steps: int


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a training stands: ``step`` steps are done."""

    plan: Plan
    step: int
    tensors: dict[str, Tensor]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint in ``folder``. Raises UserError where no folder can be made there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
    unfinished = folder / f".{FILE}.unfinished"
    state = msgspec.json.encode({"plan": checkpoint.plan, "step": checkpoint.step})
    save_file(checkpoint.tensors, unfinished, metadata={"state": state.decode()})
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(folder / FILE)


def load(folder: Path) -> Checkpoint | None:
    """The checkpoint in ``folder``; None where there is none. Raises UserError where it cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            state = msgspec.json.decode(file.metadata()["state"], type=_State)
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError, msgspec.MsgspecError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a checkpoint of this version ({reason}); delete {folder} to start afresh") from None
    return Checkpoint(state.plan, state.step, tensors)


class _State(msgspec.Struct):
    plan: Plan
    step: int
