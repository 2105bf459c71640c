"""Training for real, on a few hundred made-up events: what must be the same, what must survive, and what is refused."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from safetensors.torch import load_file  # noqa: E402

from streamrec.core.catalogue import Catalogue  # noqa: E402
from streamrec.core.errors import GeneratorFailed, UserError  # noqa: E402
from streamrec.core.generate import Ladder  # noqa: E402
from streamrec.core.pipeline import Pipeline, SlateRules  # noqa: E402
from streamrec.core.types import Versions  # noqa: E402
from streamrec.evaluation.evaluate import Report, evaluate  # noqa: E402
from streamrec.evaluation.protocols import split  # noqa: E402
from streamrec.eventlog.dataset import Dataset, read_dataset  # noqa: E402
from streamrec.serving.bundle import Bundle, load_bundle  # noqa: E402
from streamrec.serving.gptrec import GPTRec  # noqa: E402
from streamrec.serving.vocabulary import Vocabulary  # noqa: E402
from streamrec.training import finish, sampled  # noqa: E402
from streamrec.training import train as train_module  # noqa: E402
from streamrec.training.batches import Batch, batches  # noqa: E402
from streamrec.training.export import to_onnx  # noqa: E402
from streamrec.training.kernels import Dropout, FullSoftmax  # noqa: E402
from streamrec.training.learner import Learner, is_worse  # noqa: E402
from streamrec.training.lessons import Lessons, make_lessons  # noqa: E402
from streamrec.training.network import Ensemble, Model, Network, had_so_far  # noqa: E402
from streamrec.training.sampled import sampled_softmax  # noqa: E402
from streamrec.training.schedule import LEARNING_RATE, LEFT, fitting_dropout, learning_rate, share_kept  # noqa: E402
from streamrec.training.start import repeat_offset  # noqa: E402
from streamrec.training.train import Progress, Trained, train  # noqa: E402
from tests.make import session  # noqa: E402

STEPS = 120  # more than train.SAVE_EVERY: a killed training has something to go on from
SMALL = {"dim": 16, "heads": 2, "context": 12}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sixty users walk through forty items, mostly from one to the next."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    lines = []
    for user in range(60):
        item = int(random.integers(40))
        for step in range(int(random.integers(6, 25))):
            lines.append((user * 7 + step * 60, f"u{user},i{item:02},{user * 7 + step * 60},click"))
            item = (item + 1 if random.random() < 0.8 else int(random.integers(40))) % 40
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(line for _, line in lines) + "\n")
    (folder / "items.csv").write_text("item_id,title,tags\n" + "\n".join(f"i{n:02},Item {n},t{n % 3}" for n in range(40)) + "\n")
    return read_dataset(folder)


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(dataset, tmp_path_factory.mktemp("trained") / "bundle", steps=STEPS, holdout="leave-one-out", **SMALL)


@pytest.fixture(scope="module")
def bundle(trained: Trained) -> Bundle:
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def report(bundle: Bundle, dataset: Dataset) -> Report:
    return evaluate(bundle, dataset, "leave-one-out")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_steps_and_seed_give_the_same_bytes(dataset: Dataset, trained: Trained, tmp_path: Path) -> None:
    again = train(dataset, tmp_path / "b", steps=STEPS, holdout="leave-one-out", **SMALL)
    assert contents(again.bundle) == contents(trained.bundle)
    other = train(dataset, tmp_path / "c", steps=10, seed=1, holdout="leave-one-out", **SMALL)
    assert other.manifest.version != trained.manifest.version


def test_a_log_that_is_met_more_often_has_more_dropout(dataset: Dataset, trained: Trained, tmp_path: Path) -> None:
    assert [fitting_dropout(epochs) for epochs in (0.5, 8, 15, 22, 1000)] == [0.1, 0.1, 0.149, 0.198, 0.2]
    assert trained.manifest.model.dropout == 0.2
    told = train(dataset, tmp_path / "b", steps=STEPS, dropout=0.2, holdout="leave-one-out", **SMALL)
    assert contents(told.bundle) == contents(trained.bundle)
    less = train(dataset, tmp_path / "c", steps=STEPS, dropout=0.1, holdout="leave-one-out", **SMALL)
    assert contents(less.bundle)["weights.safetensors"] != contents(trained.bundle)["weights.safetensors"]


@pytest.mark.parametrize("steps", [50, 7000])
def test_the_average_is_of_the_last_fifth_mostly_and_the_rate_does_not_fall_to_zero(steps: int) -> None:
    weight = np.zeros(steps)
    for step in range(steps):
        weight *= share_kept(step)
        weight[step] = 1 - share_kept(step)
    assert 0.83 < weight[-steps // 5 :].sum() < 0.9
    assert weight[: steps // 2].sum() < 0.005  # the start is forgotten
    rates = np.array([learning_rate(step, steps) for step in range(steps)]) / LEARNING_RATE
    assert rates.max() > 0.98
    assert rates[-1] == pytest.approx(LEFT, abs=0.01)


def test_what_chance_does_is_not_worse() -> None:
    highest = np.linspace(0, 1, 1000)
    by_chance = np.tile([-0.1, 0.1], 500)  # a standard error of .0032
    assert not is_worse(highest + by_chance - 0.003, highest)
    assert is_worse(highest + by_chance - 0.0034, highest)
    assert not is_worse(highest, highest)
    for few in (highest[:0], highest[:1]):
        assert not is_worse(few - 1, few)


NOISE = np.tile([-0.05, 0.05], 30)  # of two validations that differ by twice as much, a standard error of .013
FORGETS = [0.5 - 0.3 * (check > 5) + NOISE for check in range(10)]
BY_CHANCE = [0.5 - 0.001 * check + NOISE * (-1) ** check for check in range(10)]
SLOWLY_WORSE = [0.5 - 0.008 * check + NOISE * (-1) ** check for check in range(10)]


def earn(monkeypatch: pytest.MonkeyPatch, validations: list[np.ndarray]) -> list[torch.Tensor]:
    """Trainings from now on are told these validations, ten however short they are; gives the averages that they were told of."""
    checked: list[torch.Tensor] = []

    def earned(self: Learner, lessons: Lessons) -> np.ndarray:
        checked.append(self.averaged.embeddings.clone())
        return validations[len(checked) - 1]

    monkeypatch.setattr(Learner, "validate", earned)
    monkeypatch.setattr(train_module, "CHECK_EVERY", 1)
    return checked


def test_a_short_training_is_validated_every_fifty_steps_and_when_it_has_to_choose(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at: list[int] = []
    choose = Learner.choose
    told: list[int] = []
    monkeypatch.setattr(Learner, "choose", lambda learner, lessons: (at.append(len(told) + 1), choose(learner, lessons))[1])
    train(dataset, tmp_path / "b", steps=STEPS, holdout="leave-one-out", progress=lambda made: told.append(made.step), **SMALL)
    assert at == [50, 100, STEPS - STEPS // 8]


@pytest.mark.parametrize(("validations", "chosen"), [(FORGETS, 5), (BY_CHANCE, 9), (SLOWLY_WORSE, 1)])
def test_the_last_average_that_is_no_worse_than_the_best_is_chosen(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validations: list[np.ndarray], chosen: int
) -> None:
    checked = earn(monkeypatch, validations)
    made = train(dataset, tmp_path / "b", steps=50, refit=False, holdout="leave-one-out", **SMALL)
    assert len(checked) == 10
    served = load_file(made.bundle / "weights.safetensors")["gpt2.wte.weight"]
    assert [place for place, each in enumerate(checked) if torch.equal(each, served)] == [chosen]


@pytest.mark.parametrize(("validations", "anew"), [(FORGETS, True), (BY_CHANCE, False)])
def test_one_schedule_for_all_steps_and_a_new_start_only_where_it_got_worse(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validations: list[np.ndarray], anew: bool
) -> None:
    checked = earn(monkeypatch, validations)
    steps, learn = [], Learner.learn

    def told(self: Learner, batch: Batch, step: int, rate: float, share: float) -> float:
        steps.append((step, rate, share))
        if step == 70:  # of 80 the last ten learn the validation too
            assert torch.equal(self.network.embeddings, self.averaged.embeddings) == anew
            assert torch.equal(self.averaged.embeddings, checked[5 if anew else 9])
        return learn(self, batch, step, rate, share)

    monkeypatch.setattr(Learner, "learn", told)
    train(dataset, tmp_path / "b", steps=80, holdout="leave-one-out", **SMALL)
    assert steps == [(step, learning_rate(step, 80), share_kept(step)) for step in range(80)]


def test_a_killed_training_that_got_worse_goes_on_to_the_same_bytes(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 103:
            raise Stop

    options = {"steps": STEPS, "holdout": "leave-one-out", **SMALL}
    earn(monkeypatch, FORGETS)
    whole = train(dataset, tmp_path / "a", **options)
    earn(monkeypatch, FORGETS)
    with pytest.raises(Stop):
        train(dataset, tmp_path / "b", progress=stop, **options)
    resumed = train(dataset, tmp_path / "b", **options)  # one validation is left: still worse
    assert resumed.resumed_at == 100
    assert contents(resumed.bundle) == contents(whole.bundle)


@pytest.fixture(scope="module")
def ensemble(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("ensemble")
    made = train(dataset, folder / "bundle", steps=STEPS, members=2, holdout="leave-one-out", **SMALL)
    assert made.manifest.model.members == 2
    return load_bundle(made.bundle)


def test_an_ensemble_learns_and_its_members_differ(ensemble: Bundle, dataset: Dataset) -> None:
    report = evaluate(ensemble, dataset, "leave-one-out")
    assert report.generator.ndcg > 0.5
    weights = load_file(ensemble.path / "weights.safetensors")
    one, other = (weights[f"members.{number}.gpt2.h.0.mlp.c_fc.weight"] for number in range(2))
    assert not torch.allclose(one, other, atol=0.01)


def test_an_ensemble_goes_on_from_a_bundle_member_by_member(ensemble: Bundle, dataset: Dataset, tmp_path: Path) -> None:
    made = train(dataset, tmp_path / "b", steps=1, continues=ensemble.path, holdout="leave-one-out")
    before, after = (load_file(path / "weights.safetensors") for path in (ensemble.path, made.bundle))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert (tensor - after[name]).abs().max() < 5e-3, name


def test_a_killed_training_of_an_ensemble_goes_on_to_the_same_bytes(ensemble: Bundle, dataset: Dataset, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 107:
            raise Stop

    options = {"steps": STEPS, "members": 2, "holdout": "leave-one-out", **SMALL}
    with pytest.raises(Stop):
        train(dataset, tmp_path / "b", progress=stop, **options)
    resumed = train(dataset, tmp_path / "b", **options)
    assert resumed.resumed_at == 105
    assert contents(resumed.bundle) == contents(ensemble.path)


def test_a_bundle_that_is_continued_keeps_its_shape(ensemble: Bundle, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 2 networks, and --mode next-k can have but one"):
        train(dataset, tmp_path / "b", steps=1, continues=ensemble.path, mode="next-k")
    command = [
        sys.executable,
        "-m",
        "streamrec",
        "train",
        str(tmp_path),
        "--out",
        str(tmp_path / "b"),
        "--continue",
        str(ensemble.path),
    ]
    done = subprocess.run([*command, "--members", "4"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "leave out --dim and --members" in " ".join(done.stderr.split())) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("train", ["--steps", "1", "--values", "64"], "--values 64: only with --mode svd"),
        ("train", ["--steps", "1", "--mode", "svd", "--tune", "5"], "--tune 5: only with --mode next-k"),
        ("evaluate", ["--diversity", "0.5"], "has no such dial; train with --mode next-k and --tune"),
    ],
)
def test_an_option_of_another_mode_is_refused(trained: Trained, tmp_path: Path, verb: str, options: list[str], said: str) -> None:
    places = [str(tmp_path), "--out", str(tmp_path / "b")] if verb == "train" else [str(trained.bundle), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "streamrec", verb, *places, *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_each_member_learns_in_an_order_of_its_own(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    learn = Learner.learn

    def noted(learner: Learner, turn: Sequence[Batch], *more: Any) -> float:
        turns.append(turn)
        return learn(learner, turn, *more)

    monkeypatch.setattr(Learner, "learn", noted)
    train(dataset, tmp_path / "b", steps=16, members=2, refit=False, **SMALL)
    firsts, seconds = zip(*turns, strict=True)
    assert not any(np.array_equal(first.items, second.items) for first, second in zip(firsts[:2], seconds, strict=False))
    alone = list(
        islice(batches(*make_lessons(dataset, split(dataset, "none"), SMALL["context"], 0).learned, SMALL["context"], 0), 16)
    )
    assert all(np.array_equal(first.items, batch.items) for first, batch in zip(firsts, alone, strict=True))


def test_an_ensemble_writes_no_slates(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--members 2: only with --mode top-k"):
        train(dataset, tmp_path / "b", steps=1, members=2, mode="next-k", **SMALL)


def test_what_was_kept_back_is_learned_when_it_has_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users walk from item to item, but the last step but one is a leap across the circle, which nothing else tells of."""
    steps = [*range(8), 27, 28]
    lines = [f"u{user},i{(user + step) % 40:02},{place},click" for place, step in enumerate(steps) for user in range(120)]
    data = odd(tmp_path, *lines)
    monkeypatch.setattr(train_module, "LAST", 2)  # of so few steps an eighth would hardly show
    made, early = (
        load_bundle(train(data, tmp_path / name, steps=STEPS, refit=refit, holdout="leave-one-out", **SMALL).bundle)
        for name, refit in (("a", True), ("b", False))
    )
    for each in (made, early):
        assert each.manifest.metrics["generator_ndcg@10"] < 0.1  # by the network that had not seen the leap

    def chances(of: Bundle) -> np.ndarray:
        answers = of.generator().log_probs([[(user + step) % 40 for step in range(8)] for user in range(40)])
        return np.array([answer[(user + 27) % 40] for user, answer in enumerate(answers)])

    assert (chances(made) - chances(early)).mean() > 0.1
    assert made.interactions.sum() - early.interactions.sum() == 120
    for each in (made, early):
        assert each.manifest.data.interactions == each.interactions.sum()


def _train_until_killed(dataset: Dataset, out: Path, last: int) -> None:
    def die(progress: Progress) -> None:
        if progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    train(dataset, out, steps=STEPS, holdout="leave-one-out", progress=die, **SMALL)


@pytest.mark.parametrize(("killed", "stood"), [(103, 100), (105, 105), (111, 105)])  # from 105 on the validation is learned too
def test_a_killed_training_goes_on_to_the_same_bytes(
    dataset: Dataset, trained: Trained, tmp_path: Path, killed: int, stood: int
) -> None:
    # Forked: a fresh interpreter would spend most of the test's time on importing torch.
    process = multiprocessing.get_context("fork").Process(target=_train_until_killed, args=(dataset, tmp_path / "b", killed))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "b").exists()
    steps: list[int] = []
    resumed = train(
        dataset, tmp_path / "b", steps=STEPS, holdout="leave-one-out", progress=lambda each: steps.append(each.step), **SMALL
    )
    assert (resumed.resumed_at, steps[0]) == (stood, stood + 1)
    assert contents(resumed.bundle) == contents(trained.bundle)
    assert not (tmp_path / "b.partial").exists()


def test_a_killed_training_is_not_mixed_up_with_another(dataset: Dataset, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(dataset, tmp_path / "b", steps=5, progress=stop, **SMALL)
    with pytest.raises(UserError, match="another seed, steps; delete it"):
        train(dataset, tmp_path / "b", steps=6, seed=1, **SMALL)
    assert train(dataset, tmp_path / "b", minutes=0.01, **SMALL).manifest.steps == 5  # minutes were made into steps before
    (tmp_path / "b.partial").mkdir()
    (tmp_path / "b.partial" / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(UserError, match="not a checkpoint"):
        train(dataset, tmp_path / "b", steps=5, **SMALL)


def test_people_are_told_where_a_stopped_training_stood(trained: Trained, tmp_path: Path) -> None:
    odd(tmp_path, *(f"u{user},i{(user + place) % 40:02},{place},click" for place in range(10) for user in range(120)))
    out = tmp_path / "b"
    shutil.copytree(trained.bundle, out)
    command = [sys.executable, "-m", "streamrec", "train", str(tmp_path), "--out", str(out), "--dim", "16"]
    told = ""
    with subprocess.Popen([*command, "--steps", "1000"], stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        for line in first.stderr:
            told += line
            if line.startswith("step 200 of 1000"):  # where there is no terminal each tenth is a line
                first.send_signal(signal.SIGINT)
    assert first.returncode == 130, told
    stopped = re.search(r"stopped at step (\d+) of 1000; the same command goes on from the last checkpoint", told)
    assert stopped, told
    step = int(stopped[1])
    stood = 875 if 875 <= step < 900 else step // 100 * 100
    assert load_bundle(out).version == trained.manifest.version
    again = subprocess.run([*command, "--minutes", "0.05"], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    for said in (
        "holds a bundle; the new one will replace it when it is whole",
        f"taken up again after step {stood} of 1000, as its first start planned, whatever --minutes says now",
        "step 1000 of 1000",
    ):
        assert said in " ".join(again.stderr.split())
    assert load_bundle(out).manifest.steps == 1000


def test_memory_goes_back_with_each_checkpoint_around_validations_and_before_the_bundle_is_put_together(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(train_module, "give_back", lambda: given.append("in training"))
    monkeypatch.setattr(finish, "give_back", lambda: given.append("end"))
    train(dataset, tmp_path / "b", steps=STEPS, **SMALL)
    checkpoints, validations = 3, 3  # after a hundred steps, when it has chosen, after the last; after 50, 100, and to choose
    assert given == ["in training"] * (checkpoints + 2 * validations) + ["end"]


def test_people_are_told_of_a_plan_that_was_taken_up_before_its_first_step(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "learn", killed)
        with pytest.raises(KeyboardInterrupt):
            train(dataset, tmp_path / "b", steps=7, **SMALL)
    told: list[int | None] = []
    train(dataset, tmp_path / "b", minutes=5, progress=lambda at: told.append(at.taken_up), **SMALL)
    assert told == [0] * 7
    train(dataset, tmp_path / "c", steps=2, progress=lambda at: told.append(at.taken_up), **SMALL)
    assert told[7:] == [None] * 2


def test_minutes_are_made_into_steps_that_the_manifest_names(dataset: Dataset, tmp_path: Path) -> None:
    made = train(dataset, tmp_path / "b", minutes=0.06, **SMALL)
    assert made.manifest.steps > 1
    assert made.manifest.holdout == "none"
    same = train(dataset, tmp_path / "c", steps=made.manifest.steps, **SMALL)
    assert contents(same.bundle) == contents(made.bundle)


def test_the_model_learns_what_there_is_to_learn(report: Report) -> None:
    assert report.generator.ndcg > 0.5
    assert report.model.ndcg > report.baselines["popularity"].ndcg + 0.3


def test_the_report_is_the_object_that_others_script_against(report: Report, dataset: Dataset) -> None:
    written = json.loads(msgspec.json.encode(report))
    keys = {"protocol", "users", "items", "events", "model", "baselines", "seen_items_excluded", "dataset_sha256", "seed"}
    assert keys <= set(written)
    for of in (written["model"], *written["baselines"].values()):
        assert {"ndcg@10", "recall@10", "mrr", "coverage", "diversity", "novelty"} <= set(of)
    assert {"popularity", "markov"} <= set(written["baselines"])
    assert (written["users"], written["items"], written["events"]) == (report.targets, 40, len(dataset))
    assert report.targets + sum(report.skipped.values()) == 60


def test_a_bundle_that_has_learned_the_targets_is_not_evaluated(bundle: Bundle, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--holdout time-split"):
        evaluate(bundle, dataset, "time-split")
    with pytest.raises(UserError, match="other data"):
        evaluate(bundle, dataset.before(int(dataset.occurred_at[-1])), "leave-one-out")
    early = train(dataset.before(int(dataset.occurred_at[len(dataset) // 2])), tmp_path / "b", steps=2, **SMALL)
    assert evaluate(load_bundle(early.bundle), dataset, "time-split").targets > 0  # all of it happened before the first target
    with pytest.raises(UserError, match="--holdout leave-one-out"):
        evaluate(load_bundle(early.bundle), dataset, "leave-one-out")


@pytest.fixture(scope="module", params=[1, 3], ids=["one", "ensemble"])
def network(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)
    members = [Network(300, dim=32, layers=2, heads=2, context=50, dropout=0.1) for _ in range(request.param)]
    made = (members[0] if len(members) == 1 else Ensemble(members)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


@pytest.fixture(scope="module")
def generator(network: Model) -> GPTRec:
    return GPTRec(to_onnx(network), Vocabulary([f"{n:03}" for n in range(300)]), context=50)


HISTORIES = [np.random.default_rng(length).integers(0, 300, length).tolist() for length in [*range(1, 51), 7, 15, 16, 31, 47, 80]]


def test_the_exported_graph_computes_what_the_network_computes(network: Model, generator: GPTRec) -> None:
    for history in HISTORIES:
        kept = torch.tensor([history[-50:]])
        with torch.no_grad():
            expected = network.log_probs(kept, torch.tensor([kept.shape[1]]))[0].numpy()
        assert np.abs(generator.log_probs([history])[0] - expected).max() < 1e-5
        assert np.isclose(np.exp(expected).sum(), 1, atol=1e-4)


def test_answers_are_the_same_to_the_bit_in_every_batch_and_with_every_number_of_threads(network: Model, generator: GPTRec) -> None:
    alone = [generator.log_probs([history])[0].tobytes() for history in HISTORIES]
    threaded = GPTRec(to_onnx(network), Vocabulary([f"{n:03}" for n in range(300)]), context=50, threads=2)
    random = np.random.default_rng(0)
    for size in (2, 3, 5, 8, 16, 33, 56):
        order = random.permutation(len(HISTORIES))
        for each in (generator, threaded):
            for first in range(0, len(order), size):
                places = order[first : first + size]
                answers = each.log_probs([HISTORIES[place] for place in places])
                assert [answer.tobytes() for answer in answers] == [alone[place] for place in places]


def test_proposals_are_sorted_unknown_items_left_out_and_unknown_histories_left_empty(generator: GPTRec) -> None:
    known, unknown, mixed = generator.propose([["005", "007"], ["new"], ["new", "005", "newer", "007"]], 20)
    assert unknown.candidates == ()
    assert known == mixed
    ranked = [(-candidate.log_prob, candidate.item_id) for candidate in known.candidates]
    assert ranked == sorted(ranked)
    assert len(known.candidates) == 20
    assert len(generator.propose([["005"]], 1000)[0].candidates) == 300
    assert generator.propose([["005", "007"]] * 150, 20) == [known] * 150


def test_a_model_that_cannot_run_says_so(network: Model) -> None:
    longer = Vocabulary([f"{n:03}" for n in range(301)])
    with pytest.raises(GeneratorFailed, match="onnxruntime"):
        GPTRec(to_onnx(network), longer, context=50).propose([["300"]], 5)
    with pytest.raises(UserError, match="cannot load"):
        GPTRec(b"no graph", longer, context=50)


def test_the_loss_and_its_gradient_are_those_of_torch() -> None:
    torch.manual_seed(0)
    states, embeddings, bias = (torch.randn(size, requires_grad=True) for size in ((600, 8), (50, 8), (50,)))
    targets, again = torch.randint(0, 50, (600,)), torch.tensor([-1.5], requires_grad=True)
    had = torch.rand(600, 50).argsort(dim=1)[:, :7]
    had[:, 1:][torch.rand(600, 6) < 0.3] = -1
    loss = FullSoftmax.apply(states, embeddings, bias, targets, had, again)
    known = torch.zeros(600, 51).scatter(1, had % 51, 1)[:, :50]
    by_torch = torch.nn.functional.cross_entropy(states @ embeddings.T + bias + again * known, targets)
    torch.testing.assert_close(loss, by_torch)
    made, expected = (torch.autograd.grad(each * 3, (states, embeddings, bias, again)) for each in (loss, by_torch))
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_what_a_row_has_had() -> None:
    none = -1
    assert had_so_far(torch.tensor([[5, 6, 5, 7]]))[0].tolist() == [
        [5, none, none, none],
        [5, 6, none, none],
        [5, 6, none, none],
        [5, 6, none, 7],
    ]


def test_the_offset_of_a_repeat_is_that_of_the_log(dataset: Dataset) -> None:
    rows = [dataset.item_index[dataset.user_index == user][:-2].tolist() for user in range(60)]
    rows = [[item for item, before in zip(row, [None, *row[:-1]], strict=True) if item != before] for row in rows]
    popular = np.bincount(np.concatenate(rows), minlength=40) / sum(map(len, rows))
    targets = [(item, row[:place]) for row in rows for place, item in enumerate(row) if place]
    chances = [np.mean([item in had for item, had in targets]), np.mean([popular[list(set(had))].sum() for _, had in targets])]
    expected, by_popularity = (np.log(chance / (1 - chance)) for chance in chances)
    assert abs(expected - by_popularity) > 0.5
    lessons = make_lessons(dataset, split(dataset, "leave-one-out"), context=12, seed=0)
    assert repeat_offset(*lessons.learned, popular) == pytest.approx(expected - by_popularity, abs=0.02)


def test_what_comes_later_and_what_pads_a_row_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    network = Network(20, dim=16, layers=2, heads=2, context=12, dropout=0.0)
    with torch.no_grad():
        network.before.normal_()
    items = torch.randint(0, 20, (3, 12))
    other = torch.cat([items[:, :7], torch.randint(0, 20, (3, 5))], dim=1)
    learning, served = network.train()(items), network.eval()(items)  # by different kernels
    torch.testing.assert_close(learning, served)
    for answer in (network.train()(other), network.eval()(other), network.eval()(items[:, :7])):
        torch.testing.assert_close(answer[:, :7], served[:, :7])


def test_dropout_drops_its_share_keeps_the_mean_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    ones = torch.ones(300, 1001)
    dropout = Dropout(0.1)
    dropped = dropout(ones)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((dropped == 0).float().mean(0).max()) < 0.25  # no byte of a word is dropped more often than the others
    assert float(dropped.mean()) == pytest.approx(1, abs=0.005)
    assert torch.equal(dropout.eval()(ones), ones)


def test_the_loss_in_bfloat16_points_the_same_way() -> None:
    torch.manual_seed(0)
    states, embeddings, bias = (torch.randn(size) for size in ((600, 8), (50, 8), (50,)))
    targets = torch.randint(0, 50, (600,))

    def gradients(precision: torch.dtype) -> list[torch.Tensor]:
        given = [tensor.clone().requires_grad_() for tensor in (states, embeddings, bias)]
        FullSoftmax.apply(given[0].to(precision), given[1], given[2], targets, targets[:, None], torch.zeros(1)).backward()
        return [tensor.grad for tensor in given]

    for rough, exact in zip(gradients(torch.bfloat16), gradients(torch.float32), strict=True):
        assert (rough - exact).norm() < 0.02 * exact.norm()


def test_a_sampled_softmax_is_an_estimate_of_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "UNIFORM", 100)
    torch.manual_seed(0)
    shares = torch.rand(400).pow(3)
    shares /= shares.sum()
    states, embeddings = torch.randn(100, 8), torch.randn(400, 8)
    bias, again = shares.log(), torch.tensor([4.0])
    full, estimates = [], []
    for _ in range(100):
        rows = torch.multinomial(shares, 5 * 21, replacement=True).view(5, 21)
        targets, had = rows[:, 1:].flatten(), had_so_far(rows[:, :-1]).flatten(0, 1)
        full.append(FullSoftmax.apply(states, embeddings, bias, targets, had, again).item())
        estimates.append(sampled_softmax(states, embeddings, bias, targets, had, again, shares).item())
    assert np.mean(estimates) == pytest.approx(np.mean(full), rel=0.02)


def test_a_sampled_softmax_learns(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "UNIFORM", 8)
    made = train(dataset, tmp_path / "b", steps=STEPS, holdout="leave-one-out", sampled=True, **SMALL)
    assert evaluate(load_bundle(made.bundle), dataset, "leave-one-out").generator.ndcg > 0.5


def test_what_is_evaluated_is_what_the_pipeline_serves(bundle: Bundle, dataset: Dataset) -> None:
    """The evaluation works with arrays, the pipeline with messages: for each test target both must show the same ten items."""
    from streamrec.evaluation.evaluate import _Question, _served
    from streamrec.evaluation.protocols import split

    rules, versions = SlateRules(candidates=100), Versions(model="", catalogue=0, rules="", runtime="")
    pipeline = Pipeline(Ladder(bundle.rungs()), bundle.scorer(), bundle.transitions, rules, versions)
    parts = split(dataset, "leave-one-out")
    for answer in _served(_Question(bundle, dataset, parts, parts.counted, parts.test, exclude_seen=True, threads=1)):
        history = [dataset.item_ids[item] for item in parts.history(answer.position)]
        slate = pipeline.recommend([session(*history)], Catalogue(bundle.items))[0].items
        assert [item.item_id for item in slate] == [dataset.item_ids[item] for item in answer.slate]


def odd(folder: Path, *lines: str) -> Dataset:
    (folder / "events.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(lines) + "\n")
    (folder / "items.csv").write_text("item_id\n")
    return read_dataset(folder)


def test_odd_data_trains(tmp_path: Path) -> None:
    data = odd(
        tmp_path,
        "u,b,9,click",
        "u,a,1,click",
        "u,a,1,click",
        "v,a,1,click",
        "w,b,5,click",
        "w,b,5,click",
        "x,a,1,click",
        "x,c,2,click",
        "u,c,3,impression",
    )
    for holdout in ("none", "leave-one-out"):
        made = train(data, tmp_path / holdout, steps=2, holdout=holdout, **SMALL)
        served = load_bundle(made.bundle)
        assert served.generator().propose([["a"]], 5)[0].candidates[0].source == "gptrec"


def test_any_unicode_unsorted_times_and_unknown_items_train_and_evaluate(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids = ["é", "e\u0301", "日本", "🎧", "\u202eab", " a ", "a b", '""","""', '"a\nb"', "ﬁ", "\u0000x", "A", "a", "0", "00"]
    lines = []
    for user in range(30):
        start = int(random.integers(15))
        lines += [f"ü{user},{ids[(start + step) % 15]},{user * 10 + step},click" for step in range(8)]
        lines.append(f"ü{user},late{user % 3},{1000 + user},click")  # a tenth of the log, and only in the test
    data = odd(tmp_path, *(lines[place] for place in random.permutation(len(lines))))
    for holdout in ("leave-one-out", "time-split"):
        made = train(data, tmp_path / holdout, steps=20, holdout=holdout, **SMALL)
        report = evaluate(load_bundle(made.bundle), data, holdout)
        assert report.targets >= 30
        assert 0 <= report.model.ndcg <= 1
    served = load_bundle(made.bundle).generator()
    known = ["é", "e\u0301", "日本", "🎧", "A", "a", "0", "00", "ﬁ"]
    assert served.propose([[*known, "late0"]], 5) == served.propose([known], 5)


def test_data_with_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to learn"):
        train(odd(tmp_path, "u,a,1,click", "u,a,2,click"), tmp_path / "b", steps=2, **SMALL)
    with pytest.raises(UserError, match="nothing to learn"):
        train(odd(tmp_path, "u,a,1,click", "v,b,2,click"), tmp_path / "b", steps=2, **SMALL)
    assert not (tmp_path / "b").exists()


def test_wrong_options_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    for options, said in (
        ({}, "either --minutes or --steps"),
        ({"steps": 1, "minutes": 1.0}, "either --minutes or --steps"),
        ({"steps": 0}, "--steps 0"),
        ({"minutes": -1.0}, "--minutes"),
        ({"steps": 1, "dim": 15, "heads": 2}, "multiple of --heads"),
        ({"steps": 1, "holdout": "some"}, "holdout 'some'"),
    ):
        with pytest.raises(UserError, match=said):
            train(dataset, tmp_path / "b", **options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no bundle"):
        train(dataset, tmp_path / "mine", steps=1)


def test_without_torch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom streamrec.training.train import train"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError: training needs torch; install streamrec[train]" in run.stderr
