"""What a split means for the network: token rows to learn from, and targets to be checked on."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamrec.core.errors import UserError
from streamrec.evaluation.protocols import Split
from streamrec.evaluation.slates import model_items, vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training.batches import without_repeats_in_a_row
from streamrec.training.continued import Base

MOST_TARGETS = 1000  # in a check during training
MOST_SLATES = 4000  # for the scorer: its few weights do not need more


class Rows(NamedTuple):
    """Interactions, those of one user together and in order, repeats in a row left out."""

    users: NDArray[np.int32]
    items: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Indexes are of the vocabulary. ``histories`` and ``seen`` belong to ``targets``."""

    vocabulary: Vocabulary
    to_vocabulary: NDArray[np.int64]
    learned: Rows
    whole: Rows  # and the validation: for the last steps, when that has chosen
    targets: list[int]  # -1 where the vocabulary does not have it
    histories: list[NDArray[np.int64]]
    seen: list[NDArray[np.int64]]
    slates: NDArray[np.int64]  # positions that the scorer is fitted on


def make_lessons(
    dataset: Dataset, parts: Split, context: int, seed: int, base: Base | None = None, *, refit: bool = True
) -> Lessons:
    """Prepares a training; one that goes on from a ``base`` learns what that has not counted, with what is around it.

    Args:
        refit: whether the validation is learned in the end; if not, no item joins a base for it.

    Raises:
        UserError: nothing can be learned from this data.
    """
    joining = parts.new if base is None or refit else parts.new & parts.learned
    ids = {dataset.item_ids[item] for item in np.unique(parts.items[joining]).tolist()}
    vocabulary = Vocabulary(sorted(ids.union(base.bundle.vocabulary.item_ids) if base else ids))
    to_vocabulary = vocabulary_index(dataset, vocabulary)

    def rows(of: NDArray[np.bool_]) -> Rows:
        places = np.flatnonzero(of)
        if base is not None:
            places = _near_the_new(places, parts, context)
        places = places[without_repeats_in_a_row(parts.users[places], parts.items[places])]
        return Rows(parts.users[places], to_vocabulary[parts.items[places]])

    learned = rows(parts.learned)
    if not _teaches(learned.users):
        raise UserError(
            "nothing to learn: what training may see holds no user with two different items in a row; "
            f"give more data{'' if parts.counted.all() else ', or another --holdout'}"
        )
    random = np.random.default_rng(seed)
    after_something = parts.validation[parts.validation > parts.start[parts.validation]]
    after_something = np.array(
        [place for place in after_something if model_items(parts, parts.past(place), to_vocabulary)], np.int64
    )
    checked = _some(after_something, MOST_TARGETS, random)
    return Lessons(
        vocabulary=vocabulary,
        to_vocabulary=to_vocabulary,
        learned=learned,
        whole=rows(parts.counted) if refit else learned,
        targets=to_vocabulary[parts.items[checked]].tolist(),
        histories=[np.array(model_items(parts, parts.past(place), to_vocabulary)[-context:]) for place in checked],
        seen=[_known(to_vocabulary[parts.had(place)]) for place in checked],
        slates=_some(after_something, MOST_SLATES, random),
    )


def _near_the_new(learned: NDArray[np.int64], parts: Split, context: int) -> NDArray[np.int64]:
    """Each user's interactions from a ``context`` before the first new one to a ``context`` after the last.

    All if that is nothing to learn from.
    """
    users, place = parts.users[learned], np.arange(len(learned))
    new = parts.new[learned]
    size = int(users.max(initial=0)) + 1
    first_new, last_new = np.full(size, len(learned) + context), np.full(size, -context - 1)
    np.minimum.at(first_new, users[new], place[new])
    np.maximum.at(last_new, users[new], place[new])
    near = (place >= first_new[users] - context) & (place <= last_new[users] + context)
    return learned[near] if _teaches(users[near]) else learned


def _teaches(users: NDArray[np.int32]) -> bool:
    """Whether something of a user follows something else."""
    return bool((users[1:] == users[:-1]).any())


def _some(positions: NDArray[np.int64], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    return positions if len(positions) <= most else np.sort(random.choice(positions, most, replace=False))


def _known(items: NDArray[np.int64]) -> NDArray[np.int64]:
    return items[items >= 0]
