"""The modes of GPTRec: what a slate must never hold, what must be the same to the bit, and each mode from training to replay."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from streamrec.core.catalogue import Catalogue  # noqa: E402
from streamrec.core.errors import UserError  # noqa: E402
from streamrec.core.generate import Had, Ladder  # noqa: E402
from streamrec.core.had import item_hash  # noqa: E402
from streamrec.core.pipeline import Pipeline, SlateRules  # noqa: E402
from streamrec.core.types import Item  # noqa: E402
from streamrec.evaluation.evaluate import evaluate  # noqa: E402
from streamrec.eventlog.dataset import Dataset, read_dataset  # noqa: E402
from streamrec.replay.run import replay_to_file  # noqa: E402
from streamrec.serving.bundle import Mode, load_bundle  # noqa: E402
from streamrec.serving.gptrec import GPTRec  # noqa: E402
from streamrec.serving.nextk import NextK  # noqa: E402
from streamrec.serving.subtokens import SubTokens  # noqa: E402
from streamrec.serving.vocabulary import Vocabulary  # noqa: E402
from streamrec.settings import Settings  # noqa: E402
from streamrec.training.codes import svd_codes  # noqa: E402
from streamrec.training.export import to_onnx  # noqa: E402
from streamrec.training.export_cached import to_cached_onnx  # noqa: E402
from streamrec.training.network import Network  # noqa: E402
from streamrec.training.subtokens import SubTokenNetwork  # noqa: E402
from streamrec.training.train import train  # noqa: E402
from streamrec.training.tuning import SLATE, SlateWriter, write_slate  # noqa: E402
from tests.make import VERSIONS, session  # noqa: E402

ITEMS, CONTEXT, VALUES = 300, 50, 16
VOCABULARY = Vocabulary([f"{n:03}" for n in range(ITEMS)])
SHAPE = {"dim": 32, "layers": 2, "heads": 2, "context": CONTEXT, "dropout": 0.1}
HISTORIES = [np.random.default_rng(n).integers(0, ITEMS, n).tolist() for n in [*range(1, 51, 3), 15, 16, 17, 41, 50, 60, 200]]


def shaken(network: Network) -> Network:
    """Away from where a network starts, or every answer would be much alike."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> Network:
    return shaken(Network(ITEMS, **SHAPE))


@pytest.fixture(scope="module")
def writer(network: Network) -> SlateWriter:
    tags = [np.flatnonzero(row < 0.3).tolist() for row in np.random.default_rng(0).random((ITEMS, 6))]
    made = SlateWriter(network, tags)
    with torch.no_grad():
        made.mix.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        made.places.add_(torch.randn(made.places.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
        made.push.copy_(torch.linspace(0.5, 1, SLATE - 1))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tuned_graph(network: Network, writer: SlateWriter) -> bytes:
    return to_cached_onnx(
        network,
        {"slate": str(SLATE), "tags": json.dumps(writer.tags)},
        {name: each.numpy() for name, each in writer.state_dict().items()},
    )


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    random = np.random.default_rng(0)
    return svd_codes(np.repeat(np.arange(200), 20), random.integers(0, ITEMS, 4000), ITEMS, VALUES)


@pytest.fixture(scope="module")
def sub_token_network(codes: np.ndarray) -> SubTokenNetwork:
    made = shaken(SubTokenNetwork(codes, VALUES, **SHAPE))
    assert isinstance(made, SubTokenNetwork)
    return made


@pytest.fixture(scope="module")
def generators(network: Network, tuned_graph: bytes, sub_token_network: SubTokenNetwork) -> dict[str, Callable[[int], GPTRec]]:
    plain, coded = to_cached_onnx(network, {}), sub_token_network.to_onnx()
    return {
        "next-k": lambda threads: NextK(plain, VOCABULARY, CONTEXT, threads),
        "tuned": lambda threads: NextK(tuned_graph, VOCABULARY, CONTEXT, threads, diversity=0.7),
        "svd": lambda threads: SubTokens(coded, VOCABULARY, CONTEXT, threads, branches=8),
    }


@pytest.mark.parametrize("mode", ["next-k", "tuned", "svd"])
def test_answers_are_the_same_to_the_bit_in_every_batch_and_with_every_number_of_threads(
    generators: dict[str, Callable[[int], GPTRec]], mode: str
) -> None:
    single, threaded = generators[mode](1), generators[mode](2)
    alone = [single.log_probs([history])[0].tobytes() for history in HISTORIES]
    random = np.random.default_rng(0)
    for size in (2, 5, 8, len(HISTORIES)):
        order = random.permutation(len(HISTORIES)).tolist()
        for generator in (single, threaded):
            for first in range(0, len(order), size):
                places = order[first : first + size]
                answers = generator.log_probs([HISTORIES[place] for place in places])
                assert [answer.tobytes() for answer in answers] == [alone[place] for place in places]


@pytest.mark.parametrize("mode", ["next-k", "tuned"])
def test_a_slate_repeats_neither_the_history_nor_itself(generators: dict[str, Callable[[int], GPTRec]], mode: str) -> None:
    histories = [[VOCABULARY.item_ids[item] for item in history] for history in HISTORIES]
    had = [Had(frozenset(history)) for history in histories]
    for history, proposal in zip(histories, generators[mode](1).propose(histories, 150, had), strict=True):
        items = [candidate.item_id for candidate in proposal.candidates]
        assert len(items) == len(set(items)) == min(150, ITEMS - len(set(history)))
        assert not set(items) & set(history)
        log_probs = [candidate.log_prob for candidate in proposal.candidates]
        assert log_probs == sorted(log_probs, reverse=True)
        assert len(set(log_probs[:SLATE])) == SLATE  # a tie could be put in another order by who judges it


def test_what_a_user_had_long_ago_is_not_repeated_either(generators: dict[str, Callable[[int], GPTRec]]) -> None:
    generator, history = generators["next-k"](1), list(range(5))
    first = int(generator.log_probs([history]).argmax())
    answer = generator.log_probs([history], [[*history, first]])[0]
    assert answer[first] == -np.inf
    assert np.isfinite(answer).sum() == ITEMS - 6


@pytest.mark.parametrize("mode", ["next-k", "tuned", "svd"])
def test_candidates_are_written_around_what_was_had(
    generators: dict[str, Callable[[int], GPTRec]],
    mode: str,
) -> None:
    """Also beyond the history, and no further than that: an item of the history alone may come again."""
    generator, ids = generators[mode](1), VOCABULARY.item_ids
    histories = [[ids[item] for item in history] for history in HISTORIES]
    once = generator.propose(histories, ITEMS)
    best = [[candidate.item_id for candidate in proposal.candidates[:4]] for proposal in once]
    had = [Had(hashes=tuple(map(item_hash, items))) for items in best]
    again = generator.propose(histories, ITEMS, had)
    for history, gone, after, each in zip(histories, best, again, had, strict=True):
        assert {candidate.item_id for candidate in after.candidates} == set(ids) - set(gone)
        assert after.seen == 4
        assert generator.propose([history], ITEMS, [each]) == [after]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_who_has_had_nearly_everything_is_offered_what_is_left(generators: dict[str, Callable[[int], GPTRec]], left: int) -> None:
    had = [VOCABULARY.item_ids[item] for item in range(ITEMS - left)]
    for mode in generators:
        proposal = generators[mode](1).propose([had, ["005"]], 20, [Had(frozenset(had)), Had()])[0]
        assert {candidate.item_id for candidate in proposal.candidates} == set(VOCABULARY.item_ids) - set(had)
        assert all(math.isfinite(candidate.log_prob) for candidate in proposal.candidates)


@pytest.mark.parametrize("dial", [None, 0.0, 0.5, 1.0])
def test_the_slate_over_a_cache_is_that_of_whole_passes(
    network: Network, writer: SlateWriter, tuned_graph: bytes, dial: float | None
) -> None:
    graph = to_cached_onnx(network, {}) if dial is None else tuned_graph
    generator = NextK(graph, VOCABULARY, CONTEXT, diversity=dial or 0.0)
    for history in HISTORIES:
        kept = np.array(history[-generator.context :])
        expected = write_slate(network, None if dial is None else writer, kept, np.array(history), SLATE, dial or 0.0)
        answer = generator.log_probs([history])[0]
        assert np.argsort(-answer, kind="stable")[:SLATE].tolist() == list(expected)
        assert np.abs(answer[list(expected)] - list(expected.values())).max() < 1e-4  # sums of ten


def test_with_the_dial_at_nothing_the_slate_is_the_ranking_s(network: Network, tuned_graph: bytes) -> None:
    slates, ranks = NextK(tuned_graph, VOCABULARY, CONTEXT, diversity=0.0), GPTRec(to_onnx(network), VOCABULARY, CONTEXT)
    for history in HISTORIES:
        ranked = ranks.log_probs([history])[0]
        ranked[history] = -np.inf
        assert slates.log_probs([history])[0].argsort()[::-1][:SLATE].tolist() == ranked.argsort()[::-1][:SLATE].tolist()


def test_sub_tokens_are_a_distribution_over_items_however_few_branches_are_followed(sub_token_network: SubTokenNetwork) -> None:
    graph = sub_token_network.to_onnx()
    for branches in (1, 8, ITEMS):
        answers = SubTokens(graph, VOCABULARY, CONTEXT, branches=branches).log_probs(HISTORIES)
        assert np.isfinite(answers).all()
        assert np.allclose(np.exp(answers.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


def test_sub_tokens_served_are_those_of_the_network(sub_token_network: SubTokenNetwork) -> None:
    generator = SubTokens(sub_token_network.to_onnx(), VOCABULARY, CONTEXT, branches=ITEMS)
    for history in HISTORIES:
        expected = sub_token_network.chances(torch.tensor(history[-CONTEXT:]), torch.arange(0, ITEMS, 7)).numpy()
        assert np.abs(generator.log_probs([history])[0, ::7] - expected).max() < 1e-5


def test_codes_are_cut_from_the_svd_and_told_apart() -> None:
    """Two kinds of users, who share no item: the first sub-token alone tells the kinds apart."""
    users = np.repeat(np.arange(40), 10)
    items = np.concatenate([np.random.default_rng(user).permutation(20)[:10] + 20 * (user % 2) for user in range(40)])
    made = svd_codes(users, items, 45, 8)  # five items that nobody had: all alike, until told apart
    assert len(np.unique(made, axis=0)) == 45
    assert made.min() >= 0
    assert made.max() < 8
    halves = {tuple(sorted({made[item, depth] > 3 for item in range(first, first + 20)})) for depth in (0, 1) for first in (0, 20)}
    assert (False,) in halves or (True,) in halves
    assert (made == svd_codes(users, items, 45, 8)).all()
    with pytest.raises(UserError, match="--values 2: 2\\^4 codes are too few for 45 items"):
        svd_codes(users, items, 45, 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty users walk through sixty items, mostly from one to the next; each item has two of nine tags."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    lines = []
    for user in range(50):
        item = int(random.integers(60))
        for step in range(int(random.integers(6, 25))):
            lines.append((user * 7 + step * 60, f"u{user},i{item:02},{user * 7 + step * 60},click"))
            item = (item + 1 if random.random() < 0.8 else int(random.integers(60))) % 60
    (folder / "events.csv").write_text(
        "user_id,item_id,timestamp,event_type\n" + "\n".join(each for _, each in sorted(lines)) + "\n"
    )
    tags = "\n".join(f"i{n:02},Item {n},a{n // 20}|b{n % 6}" for n in range(60))
    (folder / "items.csv").write_text("item_id,title,tags\n" + tags + "\n")
    return folder


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return read_dataset(data)


@pytest.fixture(scope="module", params=get_args(Mode))
def trained(request: pytest.FixtureRequest, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp(request.param) / "bundle"
    options = {"steps": 30, "holdout": "leave-one-out", "dim": 16, "heads": 2, "context": 24, "values": 16, "tuning": 10}
    return train(dataset, out, mode=request.param, **options).bundle


def test_every_mode_replays_to_the_same_bytes(trained: Path, data: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("once", "twice")]
    for out in outs:
        replay_to_file(str(data), out, Settings(bundle=trained, output_format="json", diversity=1.0), lambda _: None)
    once, twice = (out.read_bytes() for out in outs)
    assert once == twice
    assert once.count(b'"recommendations"') == len(read_dataset(data))


def test_every_mode_trains_to_the_same_bytes_and_is_evaluated(trained: Path, dataset: Dataset, tmp_path: Path) -> None:
    bundle = load_bundle(trained)
    options = {"steps": 30, "holdout": "leave-one-out", "dim": 16, "heads": 2, "context": 24, "values": 16, "tuning": 10}
    again = train(dataset, tmp_path / "again", mode=bundle.manifest.model.mode, **options)
    assert again.manifest.files == bundle.manifest.files
    report = evaluate(bundle, dataset, "leave-one-out")
    assert report.model.ndcg > report.baselines["popularity"].ndcg


def test_every_mode_is_served_through_filters_and_keeps_its_order(trained: Path) -> None:
    bundle = load_bundle(trained)
    rules = SlateRules(diversity=1.0)
    pipeline = Pipeline(Ladder(bundle.rungs(1, rules)), bundle.scorer(), bundle.transitions, rules, VERSIONS)
    now = session("i01", "i02", "i03")
    before = [item.item_id for item in pipeline.recommend([now], Catalogue(bundle.items))[0].items]
    gone = {before[4]: Item(schema_version=1, item_id=before[4], available=False)}
    slate = pipeline.recommend([now, now], Catalogue({**bundle.items, **gone}))
    after = [item.item_id for item in slate[0].items]
    assert len(after) == len(before) == 10
    assert after[:9] == [*before[:4], *before[5:]]  # the others keep their order, and the last slot is filled
    assert not {"i01", "i02", "i03"} & set(after)
    if bundle.manifest.model.mode == "next-k":
        history = ["i01", "i02", "i03"]
        proposed = bundle.generator(1, rules).propose([history], 10, [Had(frozenset(history))])[0]
        assert before == [candidate.item_id for candidate in proposed.candidates]


def test_sub_tokens_are_not_continued_with_new_items(dataset: Dataset, tmp_path: Path) -> None:
    train(dataset, tmp_path / "a", steps=1, mode="svd", dim=16, heads=2, context=12, values=16)
    with pytest.raises(UserError, match="--continue: sub-tokens"):
        train(dataset, tmp_path / "b", steps=1, continues=tmp_path / "a")


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_catalogue_of_two_or_twelve_items_trains_or_says_why_not(mode: Mode, tmp_path: Path) -> None:
    options = {"steps": 2, "mode": mode, "dim": 16, "heads": 2, "context": 12, "values": 4}
    for size in (2, 12):
        folder = tmp_path / str(size)
        folder.mkdir()
        lines = [f"u{user},i{(user + step) % size},{step},click" for step in range(2 * size) for user in range(3)]
        (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(lines) + "\n")
        (folder / "items.csv").write_text("item_id\n")
        data = read_dataset(folder)
        if mode == "next-k" and size == 2:
            with pytest.raises(UserError, match="2 items are too few to tune slates of 10; choose --tune 0"):
                train(data, folder / "tuned", tuning=1, **options)
        made = train(data, folder / "bundle", tuning=0 if size == 2 else 2, **options)
        assert load_bundle(made.bundle).generator().propose([["i0"]], 5)[0].source == "gptrec"
