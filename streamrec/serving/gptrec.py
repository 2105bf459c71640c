"""The model: GPT-2 over item tokens, exported to ONNX, as a generator of candidates. It knows no torch.

Its answers are the same to the bit however sessions are batched. Padding stands on the right, where the causal mask hides it, and
the last position is picked inside the graph; yet sums over 7 and over 8 steps are vectorised differently, so the padded length
is a function of the history alone, and only histories of one padded length share a run.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from streamrec.core.errors import GeneratorFailed, UserError
from streamrec.core.generate import Candidate, Had, Proposal
from streamrec.serving.topk import best
from streamrec.serving.vocabulary import Vocabulary

Indexes = Sequence[int] | NDArray[np.intp]

SOURCE = "gptrec"
STRIDE = 10  # padded lengths are multiples of it; a full session of 100 needs no padding
MOST_AT_ONCE = 64  # histories in one run of the model: what it needs in memory stays small


class GPTRec:
    """Implements Generator. It may propose what the history holds: ``had`` says what it must not.

    Args:
        model: the ONNX graph, ``items`` and ``lengths`` in, ``log_probs`` over the vocabulary out.
        context: how many of a history's last items the model can see.

    Raises:
        UserError: the graph cannot be loaded.
    """

    def __init__(self, model: bytes, vocabulary: Vocabulary, context: int, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the processor to others
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _ERRORS as error:
            raise UserError(f"model.onnx: onnxruntime {onnxruntime.__version__} cannot load it: {_one_line(error)}") from None
        self._vocabulary = vocabulary
        self.context = context

    def propose(
        self,
        histories: Sequence[Sequence[str]],
        count: int,
        had: Sequence[Had] | None = None,
    ) -> list[Proposal]:
        """For each history up to ``count`` candidates, best first; none if no item of it is known.

        Raises:
            GeneratorFailed: the model could not be run, or gave what is no probability.
        """
        known = [self._vocabulary.known(history) for history in histories]
        without = [self._vocabulary.had(each) for each in had or [Had()] * len(histories)]
        asked = [place for place, history in enumerate(known) if history]
        proposals = [Proposal(SOURCE, ())] * len(histories)
        for first in range(0, len(asked), MOST_AT_ONCE):
            places = asked[first : first + MOST_AT_ONCE]
            rows = self.log_probs([known[place] for place in places], [without[place] for place in places])
            for place, log_probs in zip(places, rows, strict=True):
                proposals[place] = self._best(log_probs, count, without[place])
        return proposals

    def log_probs(
        self,
        histories: Sequence[Sequence[int]],
        had: Sequence[Indexes] | None = None,
    ) -> NDArray[np.float32]:
        """The log-probability of each item of the vocabulary as the next one; a row for each history, none of them empty.

        Args:
            had: what each user must not be offered; the history if None. A slate that is written item by item
                is written around it. To an order of all items it makes no difference.
        """
        had = had or histories
        recent = [history[-self.context :] for history in histories]
        padded = np.array([min(-(-len(history) // STRIDE) * STRIDE, self.context) for history in recent])
        answers = np.empty((len(recent), len(self._vocabulary)), np.float32)
        for steps in np.unique(padded).tolist():
            places = np.flatnonzero(padded == steps).tolist()
            answers[places] = self._run([recent[place] for place in places], steps, [had[place] for place in places])
        return answers

    def _run(
        self,
        histories: Sequence[Sequence[int]],
        steps: int,
        had: Sequence[Indexes],
    ) -> NDArray[np.float32]:
        items = np.zeros((len(histories), steps), np.int64)
        for row, history in zip(items, histories, strict=True):
            row[: len(history)] = history
        lengths = np.array([len(history) for history in histories], np.int64)
        try:
            return self._answer(items, lengths, had)
        except _ERRORS as error:
            raise GeneratorFailed(f"onnxruntime: {_one_line(error)}") from None

    def _answer(
        self,
        items: NDArray[np.int64],
        lengths: NDArray[np.int64],
        had: Sequence[Indexes],
    ) -> NDArray[np.float32]:
        """The log-probabilities after each row's first ``lengths`` items; the rest of a row is padding. -inf: never."""
        log_probs: NDArray[np.float32] = self._session.run(None, {"items": items, "lengths": lengths})[0]
        return log_probs

    def _best(self, log_probs: NDArray[np.float32], count: int, without: NDArray[np.intp]) -> Proposal:
        if not np.isfinite(log_probs[log_probs != -np.inf]).all():
            raise GeneratorFailed("the model gave a log-probability that is not a number")
        chosen = best(log_probs, count, without)
        values, ids = log_probs[chosen].tolist(), self._vocabulary.item_ids
        pairs = zip(chosen.tolist(), values, strict=True)
        candidates = tuple(Candidate(ids[item], SOURCE, value) for item, value in pairs)
        return Proposal(SOURCE, candidates, len(without))


# onnxruntime's exceptions have no common ancestor of their own
_ERRORS = tuple(kind for kind in vars(onnx_errors).values() if isinstance(kind, type) and issubclass(kind, Exception))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
