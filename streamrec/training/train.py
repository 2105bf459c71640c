"""From an event log to a bundle: one loop, readable from top to bottom."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import Dataset
from streamrec.evaluation.protocols import Holdout, Split, split
from streamrec.evaluation.slates import model_items
from streamrec.serving.bundle import Manifest
from streamrec.serving.counting import recent_popularity
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training import checkpoint as checkpoints
from streamrec.training.batches import Batch, batches, without_repeats_in_a_row
from streamrec.training.checkpoint import Checkpoint, Plan
from streamrec.training.finish import write_bundle
from streamrec.training.network import FullSoftmax, Network
from streamrec.training.start import start_embeddings
...
