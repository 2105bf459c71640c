"""What would be served at a position of a log, before filters: the generator's best unseen items and the scorer's features of them.

It is the pipeline's own generator and scorer, by index instead of by message: a test holds the two together.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamrec.core.pipeline import SlateRules
from streamrec.evaluation.memory import KEPT
from streamrec.evaluation.protocols import Split
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.gptrec import GPTRec
from streamrec.serving.topk import best
from streamrec.serving.vocabulary import Vocabulary

CANDIDATES = SlateRules().candidates  # judged for a slate
AT_ONCE = 64
NOTHING = np.empty(0, np.int64)


class SlateScorer(Protocol):
    """What `serving.relevance.AdditiveScorer` does by index."""

    @property
    def threshold(self) -> float: ...

    def features(self, history: Sequence[int], items: NDArray[np.intp], log_probs: NDArray[Any]) -> NDArray[np.float64]: ...

    def score(self, features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...


class Slate(NamedTuple):
    """The candidates for one target, best by the generator first. Items are indexes of the vocabulary."""

    position: int
    target: int  # -1 where the vocabulary does not have it
    log_probs: NDArray[Any]  # of every item, before anything is left out
    unseen: NDArray[np.bool_]
    candidates: NDArray[np.intp]
    features: NDArray[np.float64]


def vocabulary_index(dataset: Dataset, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The vocabulary's index of each of the data set's items; -1 where it does not have it."""
    return np.array([vocabulary.index.get(item_id, -1) for item_id in dataset.item_ids], np.int64)


def slates(
    generator: GPTRec,
    scorer: SlateScorer,
    popularity: NDArray[np.float64],
    split: Split,
    positions: NDArray[np.int64],
    to_vocabulary: NDArray[np.int64],
    *,
    exclude_seen: bool = True,
    candidates: int = CANDIDATES,
) -> Iterator[Slate]:
    """A slate for each position, given what its user did before.

    Args:
        popularity: what is proposed to a user of whom nothing is known, as the ladder's last rung does.
        exclude_seen: False leaves in what the user has had: the other figure of an evaluation, never what is served.
        candidates: how many are judged for a slate.
    """
    items = to_vocabulary[split.items]
    for first in range(0, len(positions), AT_ONCE):
        asked = positions[first : first + AT_ONCE]
        histories = [model_items(split, split.past(position), to_vocabulary) for position in asked]
        known = [place for place, history in enumerate(histories) if history]
        had = [NOTHING] * len(asked)
        if exclude_seen:
            had = [_known(split.had(position), to_vocabulary) for position in asked.tolist()]
        made = generator.log_probs([histories[place] for place in known], [had[place] for place in known]) if known else ()
        answers = dict(zip(known, made, strict=True))
        for place, (position, history) in enumerate(zip(asked.tolist(), histories, strict=True)):
            log_probs = answers[place] if place in answers else np.log(popularity)
            unseen = np.ones(len(log_probs), bool)
            unseen[had[place]] = False
            proposed = best(log_probs, candidates, had[place])
            features = scorer.features(history, proposed, log_probs[proposed])
            yield Slate(position, int(items[position]), log_probs, unseen, proposed, features)


def _known(items: NDArray[np.int32], to_vocabulary: NDArray[np.int64]) -> NDArray[np.int64]:
    """The vocabulary's indexes of items of the data set, without those that it does not have."""
    indexes = to_vocabulary[items]
    return indexes[indexes >= 0]


def model_items(split: Split, past: NDArray[np.int64], to_vocabulary: NDArray[np.int64]) -> list[int]:
    """The items that the generator sees of a history: core.session.model_history, by index.

    Args:
        past: the history's positions, oldest first.
    """
    heard = split.heard(past[-KEPT:])
    known = to_vocabulary[heard[np.diff(heard, prepend=-1) != 0]]
    return [index for index in known.tolist() if index >= 0]
