"""Proposing candidates: what a generator is, and what happens when one cannot answer."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from streamrec.core.errors import GeneratorFailed
from streamrec.core.had import item_hash


class Had(Struct, frozen=True):
    """What a user had and must not be offered: ids, and hashes (core.had) of what the history has lost."""

    items: frozenset[str] = frozenset()
    hashes: tuple[int, ...] = ()

    def holds(self, item_id: str) -> bool:
        return item_id in self.items or item_hash(item_id) in self.hashes


class Candidate(Struct, frozen=True):
    """An item that may be recommended. ``log_prob`` is the natural logarithm of the generator's probability."""

    item_id: str
    source: str
    log_prob: float


class Proposal(Struct, frozen=True):
    """What one generator proposes for one history, best first."""

    source: str
    candidates: tuple[Candidate, ...]
    seen: int = 0  # items that the generator knows and left out because the user had them

    @property
    def is_answer(self) -> bool:
        """False if the generator knows nothing of the history.

        If the user had all that the generator knows, an empty list is the answer.
        """
        return bool(self.candidates) or self.seen > 0


NOTHING = Proposal("none", ())


class Generator(Protocol):
    """Proposes next items. A pure function of each history and what was had: a batch changes no bit."""

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        """For each history (item ids, oldest first) up to ``count`` candidates, best first, ties by item id.

        Args:
            had: for each history what is no candidate, left out before the cut to ``count``; nothing if None.

        Raises:
            GeneratorFailed: the model could not be run.
        """
        ...


class Ladder:
    """Generators from best to simplest: what one cannot answer, the next one does. The last must always answer.

    The rung that answered is the proposal's ``source``, so a fallback is never silent.
    """

    def __init__(self, rungs: Sequence[Generator]) -> None:
        self._rungs = tuple(rungs)

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        had = had or [Had()] * len(histories)
        answers: dict[int, Proposal] = {}
        for rung in self._rungs:
            waiting = [place for place in range(len(histories)) if place not in answers]
            if not waiting:
                break
            waiting_had = [had[place] for place in waiting]
            proposals = _ask(rung, [histories[place] for place in waiting], count, waiting_had)
            pairs = zip(waiting, proposals, strict=True)
            answers.update((place, proposal) for place, proposal in pairs if proposal.is_answer)
        return [answers.get(place, NOTHING) for place in range(len(histories))]


def _ask(
    rung: Generator,
    histories: Sequence[Sequence[str]],
    count: int,
    had: Sequence[Had],
) -> list[Proposal]:
    """What the generator proposes, nothing where it fails. After a failure it is asked for each history alone: a history that it
    cannot answer must not change what its neighbours in the batch get, or live and replay would differ by their batches."""
    try:
        return rung.propose(histories, count, had)
    except GeneratorFailed:
        if len(histories) == 1:
            return [NOTHING]
        return [_ask(rung, [history], count, [each])[0] for history, each in zip(histories, had, strict=True)]
