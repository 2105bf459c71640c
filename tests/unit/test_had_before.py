"""`repeats=never` beyond the history: in slates, in candidates, and in what an evaluation excludes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.build import DEMO_BUNDLE
from streamrec.core.catalogue import Catalogue
from streamrec.core.filter import seen
from streamrec.core.generate import Had, Ladder
from streamrec.core.had import item_hash
from streamrec.core.pipeline import Pipeline, SlateRules
from streamrec.core.session import SessionRules
from streamrec.core.types import Recommendation
from streamrec.core.wire import decode
from streamrec.evaluation.evaluate import _Question, _served
from streamrec.evaluation.memory import Memory
from streamrec.evaluation.protocols import split
from streamrec.eventlog.dataset import Dataset
from streamrec.eventlog.records import read_log
from streamrec.replay.run import replay_to_file
from streamrec.serving.bundle import Bundle, load_bundle
from streamrec.serving.vocabulary import Vocabulary
from streamrec.settings import Settings
from tests.make import (
    NOW,
    VERSIONS,
    Following,
    Uniform,
    after,
    catalogue,
    event,
    interaction,
    item,
    pipeline,
    session,
    trigger,
)

TWINS = ("buckeroo", "plumless")  # the same CRC-32
NAMES = "abcdefghijklmnop"


def had(*items: str) -> tuple[int, ...]:
    return tuple(item_hash(each) for each in items)


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load_bundle(DEMO_BUNDLE)


def test_what_the_history_has_lost_never_comes_again() -> None:
    known = session("a", "b", had=had("c", "e", "unknown"))
    answer = pipeline(Uniform("abcdefg")).recommend([known], catalogue(*"abcdefg"))[0]
    assert [slot.item_id for slot in answer.items] == ["d", "f", "g"]
    assert answer.dropped == {"seen": 4}  # a, b, c and e: no generator knows the other one


def test_what_came_late_counts_from_the_next_trigger_on() -> None:
    """Or one recommendation id would have two slates."""
    answer = pipeline(Uniform("abc")).recommend([session("a", had_late=had("b"))], catalogue(*"abc"))[0]
    assert [slot.item_id for slot in answer.items] == ["b", "c"]


def test_a_long_memory_uses_up_no_candidates() -> None:
    known = session(*"abcd", had=had(*"efghij"))
    answer = pipeline(Uniform(NAMES), rules=SlateRules(candidates=3)).recommend([known], catalogue(*NAMES))[0]
    assert [slot.item_id for slot in answer.items] == ["k", "l", "m"]
    assert answer.dropped == {"seen": 10}


def test_in_the_next_session_what_was_had_may_come_again() -> None:
    history = interaction("a", NOW), interaction("b", NOW + 60_000)
    known = session(*history, started_at=NOW + 60_000, had=had("c"))
    rules = SlateRules(repeats="next-session")
    answer = pipeline(Uniform("abcd"), rules=rules).recommend([known], catalogue(*"abcd"))[0]
    assert [slot.item_id for slot in answer.items] == ["a", "c", "d"]
    assert answer.dropped == {"seen": 1}


def test_who_had_everything_gets_an_empty_slate_that_says_why() -> None:
    """A lower rung knows nothing else, so it is not asked: the record names the rung that knows the user."""
    rungs = Ladder([Following({"b": ["a", "b", "c"]}, source="best"), Uniform("abc", source="last")])
    answer = pipeline(rungs).recommend([session("a", "b", had=had("c"))], catalogue(*"abc"))[0]
    assert (answer.items, answer.source, answer.dropped) == ((), "best", {"seen": 3})


def test_why_an_item_is_missing_can_be_asked() -> None:
    known = session(interaction("a", skipped=True), "b", had=had("c"))
    assert [seen(known, "never").holds(each) for each in "abcd"] == [True, True, True, False]
    assert [seen(known, "next-session").holds(each) for each in "abcd"] == [True, True, False, False]


ITEM_SETS = st.sets(st.text(min_size=1, max_size=3), max_size=20)
HISTORIES = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6)


@given(
    histories=st.lists(HISTORIES, min_size=1, max_size=5),
    beyond=st.lists(HISTORIES, min_size=5, max_size=5),
)
def test_a_memory_changes_nothing_for_batch_mates(
    histories: list[list[str]],
    beyond: list[list[str]],
) -> None:
    serving, offered = pipeline(Uniform(NAMES), rules=SlateRules(candidates=4)), catalogue(*NAMES)
    batch = [
        session(*history, trigger=trigger(n), had=had(*dict.fromkeys(each)))
        for n, (history, each) in enumerate(zip(histories, beyond, strict=False))
    ]
    assert serving.recommend(batch, offered) == [serving.recommend([each], offered)[0] for each in batch]


def test_a_vocabulary_finds_what_was_had_by_id_and_by_hash() -> None:
    vocabulary = Vocabulary(sorted([*TWINS, "a", "b", "c"]))

    def names_of(*items: str, beyond: tuple[str, ...] = ()) -> list[str]:
        indexes = vocabulary.had(Had(frozenset(items), had(*beyond)))
        return [vocabulary.item_ids[index] for index in indexes.tolist()]

    assert names_of() == []
    assert names_of("c", "new", "a") == ["a", "c"]
    assert names_of("a", beyond=("c", "new", "a")) == ["a", "c"]
    assert names_of("buckeroo") == ["buckeroo"]
    assert names_of(beyond=("buckeroo",)) == list(TWINS)  # by hash nobody can tell which it was
    assert names_of(beyond=("new",)) == []
    assert Vocabulary([]).had(Had(frozenset("a"), had("b"))).tolist() == []


@given(known=ITEM_SETS, wanted=ITEM_SETS)
def test_a_vocabulary_finds_by_hash_what_it_holds(known: set[str], wanted: set[str]) -> None:
    vocabulary = Vocabulary(sorted(known))
    names = [vocabulary.item_ids[index] for index in vocabulary.had(Had(hashes=had(*wanted))).tolist()]
    assert names == sorted(known & wanted)


def heavy_users(bundle: Bundle) -> tuple[list[list[str]], list[Had]]:
    """Users with few and many items beyond the history, of which the model does not know all."""
    random, ids = np.random.default_rng(0), bundle.vocabulary.item_ids
    histories, memories = [], []
    for size, beyond in ((1, 0), (7, 0), (20, 50), (60, 1500), (100, 2000)):
        drawn = [ids[item] for item in random.permutation(len(ids))[: size + beyond]]
        histories.append(drawn[:size])
        unknown = [f"new {n}" for n in range(beyond)]
        memories.append(Had(frozenset(drawn[:size]), had(*drawn[size:], *unknown)))
    return histories, memories


def test_every_rung_leaves_out_what_was_had_before_its_cut(demo: Bundle) -> None:
    histories, memories = heavy_users(demo)
    for rung in demo.rungs():
        together = rung.propose(histories, 100, memories)
        pairs = zip(histories, memories, strict=True)
        alone = [rung.propose([history], 100, [each])[0] for history, each in pairs]
        assert together == alone
        for history, each, proposal in zip(histories, memories, together, strict=True):
            known = [item_id for item_id in demo.vocabulary.item_ids if each.holds(item_id)]
            everything = rung.propose([history], len(demo.vocabulary))[0].candidates
            left = [candidate for candidate in everything if not each.holds(candidate.item_id)]
            assert list(proposal.candidates) == left[:100]
            assert proposal.seen == len(known)


def test_every_rung_says_if_nothing_is_left(demo: Bundle) -> None:
    everything = Had(frozenset(demo.vocabulary.item_ids))
    for rung in demo.rungs():
        proposal = rung.propose([list(demo.vocabulary.item_ids[:3])], 10, [everything])[0]
        assert (proposal.candidates, proposal.seen) == ((), len(demo.vocabulary))
        assert proposal.is_answer


def test_160_different_songs_are_never_answered_with_an_old_one(demo: Bundle, tmp_path: Path) -> None:
    """One user hears 160 songs that the model knows; every slate is full, of songs that are new to them."""
    order = np.random.default_rng(2).permutation(len(demo.vocabulary))
    songs = [demo.vocabulary.item_ids[n] for n in order[:160].tolist()]
    lines = [f"u1,{song},{1_700_000_000 + 200 * n},listen" for n, song in enumerate(songs)]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(lines) + "\n")
    (tmp_path / "items.csv").write_text("item_id\n" + "\n".join(songs) + "\n")
    replay_to_file(str(tmp_path), tmp_path / "out", Settings(output_format="json"), lambda _: None)
    written = [record for record in read_log(tmp_path / "out") if record.topic == "recommendations"]
    slates = [decode(Recommendation, record.value, "json") for record in written]
    assert len(slates) == 160
    for n, answer in enumerate(slates, start=1):
        assert not {slot.item_id for slot in answer.items} & set(songs[:n])
        assert len(answer.items) == 10
        assert answer.dropped == {"seen": n}


def test_a_user_of_unknown_items_alone_gets_what_is_popular(demo: Bundle) -> None:
    """The same list for everybody, without what the user had long ago and the model knows."""
    serving = Pipeline(Ladder(demo.rungs()), demo.scorer(), demo.transitions, SlateRules(), VERSIONS)
    offered = Catalogue(demo.items)

    def recommend(*history: str, beyond: tuple[str, ...] = ()) -> Recommendation:
        return serving.recommend([session(*history, had=had(*beyond))], offered)[0]

    one, other = recommend("new"), recommend("newer", "newest")
    assert (one.source, one.dropped) == ("popularity", {})
    assert one.items == other.items
    best = one.items[0].item_id
    without = recommend("new", beyond=(best,))
    assert [slot.item_id for slot in without.items[:9]] == [slot.item_id for slot in one.items[1:]]


SMALL = SessionRules(max_history=4, max_had=3)


@pytest.mark.parametrize("ids", [list(NAMES[:12]), sorted([*TWINS, *NAMES[:8]])], ids=["others", "twins"])
def test_an_evaluation_remembers_what_a_session_does(ids: list[str]) -> None:
    """At every position of a log, by the very sessions that the events before it make."""
    random = np.random.default_rng(3)
    users = np.repeat([0, 1, 2], [1, 40, 300]).astype(np.int32)
    weights = [4 if item_id in TWINS else 1 + n for n, item_id in enumerate(ids)]  # some are rare
    likely = np.array(weights, float)
    items = random.choice(len(ids), len(users), p=likely / likely.sum()).astype(np.int32)
    start = np.searchsorted(users, users)
    memory = Memory(users, items, start, ids, SMALL)
    repeats = memory.repeats()
    for position in range(len(items)):
        past = items[start[position] : position].tolist()
        if not past:
            assert memory.had(position).tolist() == []
            assert not repeats[position]
            continue
        known = after([event(ids[item], NOW + n, event_id=str(n)) for n, item in enumerate(past)], SMALL)
        remembered = {n for n, item_id in enumerate(ids) if seen(known, "never").holds(item_id)}
        assert set(memory.had(position).tolist()) == remembered
        assert repeats[position] == (int(items[position]) in remembered)
    assert 0 < repeats.sum() < len(repeats) - 3


def test_what_is_evaluated_is_served_to_long_histories_too(demo: Bundle) -> None:
    """For each target the same ten items: by the session of its events, and by positions of the log."""
    random, known = np.random.default_rng(1), demo.vocabulary.item_ids
    ids = tuple(sorted([*known, "new 0", "new 1", "new 2"]))
    drawn = [random.permutation(len(ids))[:size] for size in (3, 99, 100, 101, 102, 160, 400, 1500)]
    drawn.append(np.array([ids.index(f"new {n}") for n in range(3)]))
    drawn.append(random.integers(0, 150, 700))  # again and again
    drawn[-1][-1] = 200
    items = np.concatenate(drawn).astype(np.int32)
    users = np.repeat(np.arange(len(drawn)), [len(each) for each in drawn]).astype(np.int32)
    log = Dataset(
        user_ids=tuple(f"u{n}" for n in range(len(drawn))),
        item_ids=ids,
        user_index=users,
        item_index=items,
        occurred_at=np.arange(len(items)),
        event_type=np.zeros(len(items), np.int8),
        extras={},
        items={item_id: item(item_id) for item_id in ids},
        sha256="0" * 64,
    )
    parts = split(log, "leave-one-out")
    assert len(parts.test) == len(drawn)
    rules = SlateRules()
    served = Pipeline(Ladder(demo.rungs(1, rules)), demo.scorer(), demo.transitions, rules, VERSIONS)
    question = _Question(demo, log, parts, parts.counted, parts.test, exclude_seen=True, threads=1)
    for answer, past in zip(_served(question), drawn, strict=True):
        earlier = [ids[each] for each in past[:-1].tolist()]
        known_of = after([event(item_id, NOW + n, event_id=str(n)) for n, item_id in enumerate(earlier)])
        slate = served.recommend([known_of], Catalogue(demo.items))[0].items
        assert [slot.item_id for slot in slate] == [ids[each] for each in answer.slate]
