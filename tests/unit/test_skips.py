"""A skip is history and nothing else: what is served, learned, counted and asked goes by one rule."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.errors import UserError
from streamrec.core.session import Session, SessionRules, is_skip, model_history, update
from streamrec.core.types import Item
from streamrec.evaluation import slates
from streamrec.evaluation.baselines import markov
from streamrec.evaluation.online import Learning
from streamrec.evaluation.protocols import Holdout, Split, split
from streamrec.evaluation.slates import model_items, vocabulary_index
from streamrec.eventlog.dataset import EVENT_TYPES, Dataset
from streamrec.serving.vocabulary import Vocabulary
from tests.make import TOPIC_OF, position

IDS = tuple("abcd")
PLAYED = st.sampled_from([None, 0, 1500, 19_999, 29_999, 30_000, 200_000])
HOLDOUTS: tuple[Holdout, ...] = ("none", "leave-one-out", "time-split")


class Row(NamedTuple):
    """An event of a user, by index; its time is its place in the log."""

    user: int
    item: int
    kind: str = "listen"
    ms_played: int | None = 200_000
    duration_ms: int | None = 210_000


ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, 2),
        st.integers(0, len(IDS) - 1),
        st.sampled_from(EVENT_TYPES),
        PLAYED,
        st.sampled_from([None, 0, 40_000, 210_000]),
    ),
    min_size=1,
    max_size=40,
)


def skip(user: int, item: int) -> Row:
    return Row(user, item, ms_played=1500)


def dataset(rows: list[Row]) -> Dataset:
    items = {item_id: Item(schema_version=1, item_id=item_id) for item_id in IDS}
    users, of_items = (np.array(column, np.int32) for column in (([row.user for row in rows]), [row.item for row in rows]))
    kinds = np.array([EVENT_TYPES.index(row.kind) for row in rows], np.int8)
    extras = {name: [getattr(row, name) for row in rows] for name in ("ms_played", "duration_ms")}
    extras = {name: column for name, column in extras.items() if set(column) != {None}}  # as read_dataset does
    times = 1_700_000_000_000 + 1000 * np.arange(len(rows), dtype=np.int64)
    return Dataset(("u0", "u1", "u2"), IDS, users, of_items, times, kinds, extras, items, "0" * 64)


def parted(rows: list[Row], holdout: Holdout) -> Split | None:
    """None if there is nothing to learn from."""
    try:
        return split(dataset(rows), holdout)
    except UserError:
        return None


@given(ROWS)
def test_the_rule_by_column_is_the_rule_of_an_event(rows: list[Row]) -> None:
    log = dataset(rows)
    assert log.is_skip.tolist() == [is_skip(row.kind, row.ms_played, row.duration_ms) for row in rows]


@given(ROWS)
def test_a_model_is_asked_with_what_a_session_shows_it(rows: list[Row]) -> None:
    log, kept = dataset(rows), 4
    parts = parted(rows, "none")
    if parts is None:
        return
    to_vocabulary = vocabulary_index(log, Vocabulary(IDS))
    sessions: dict[int, Session] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(slates, "KEPT", kept)
        for place in np.argsort(parts.row).tolist():
            row, user = int(parts.row[place]), int(parts.users[place])
            seen = [IDS[item] for item in model_items(parts, parts.past(place), to_vocabulary)]
            assert seen == (model_history(sessions[user]) if user in sessions else [])
            event = log.event(row)
            at = position(row, TOPIC_OF[event.event_type])
            state, _ = update(sessions.get(user), event, at, 0, SessionRules(max_history=kept))
            assert isinstance(state, Session)
            sessions[user] = state


@given(ROWS, st.sampled_from(HOLDOUTS))
def test_a_log_is_parted_as_if_it_had_no_skips(rows: list[Row], holdout: Holdout) -> None:
    """Only that a skipped item counts as had is more: it is no target when it is played later."""
    played = [place for place, row in enumerate(rows) if not is_skip(row.kind, row.ms_played, row.duration_ms)]
    with_skips, without = parted(rows, holdout), parted([rows[place] for place in played], holdout) if played else None
    assert (with_skips is None) == (without is None)
    if with_skips is None or without is None:
        return
    for name in ("learned", "counted"):
        rows_of = [sorted(parts.row[getattr(parts, name)].tolist()) for parts in (with_skips, without)]
        assert rows_of[0] == [played[row] for row in rows_of[1]], name
    asked = with_skips.row[with_skips.asked].tolist()
    assert sorted(asked) == sorted(played[row] for row in without.row[without.asked].tolist())
    for place in with_skips.test.tolist():
        assert with_skips.items[place] not in with_skips.history(place)


def test_a_skipped_item_counts_as_had() -> None:
    rows = [Row(0, 0), skip(0, 1), Row(0, 2), Row(0, 1), Row(1, 0), Row(1, 2), Row(1, 3)]
    parts = split(dataset(rows), "leave-one-out")
    assert parts.row[parts.test].tolist() == [6]
    assert parts.row[parts.repeats].tolist() == [3]
    assert parts.skipped["targets_already_seen"] == 1
    assert parts.had(int(parts.repeats[0])).tolist() == [0, 1, 2]


def test_who_has_nothing_but_skips_is_known_by_them() -> None:
    parts = split(dataset([skip(0, 0), skip(0, 1), Row(0, 2), skip(0, 3), Row(0, 0)]), "none")
    assert parts.heard(parts.past(2)).tolist() == [0, 1]
    assert parts.heard(parts.past(4)).tolist() == [2]


def test_a_log_of_skips_alone_is_refused() -> None:
    with pytest.raises(UserError, match="only skips"):
        split(dataset([skip(0, 0), skip(0, 1)]), "none")


@given(ROWS)
def test_prequential_learning_leaves_skips_out(rows: list[Row]) -> None:
    parts = parted(rows, "time-split")
    if parts is None:
        return
    fitted: Any = SimpleNamespace(threshold=0.0, score=None)
    bundle: Any = SimpleNamespace(vocabulary=Vocabulary(IDS), scorer=lambda: fitted)
    learning = Learning(bundle, dataset(rows), parts, parts.counted)
    learning.until(len(rows))
    plays = ~parts.is_skip
    np.testing.assert_array_equal(learning.interactions, np.bincount(parts.items[plays], minlength=len(IDS)))
    chain = markov(parts.users[plays], parts.items[plays], IDS)
    for item in range(len(IDS)):
        history = np.array([item])
        np.testing.assert_allclose(learning.baselines["markov"](history), chain(history), rtol=1e-5)
