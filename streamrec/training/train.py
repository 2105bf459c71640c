"""From an event log to a bundle: one loop, readable from top to bottom."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from streamrec.core.errors import UserError
from streamrec.evaluation.protocols import Holdout, split
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Continued, Manifest, Mode
from streamrec.serving.counting import KEEP

try:
    import onnx  # noqa: F401  (said now, not when the training is over)
    import torch
    import transformers  # noqa: F401
except ImportError as error:
    raise UserError(f"training needs {error.name}; install streamrec[train]") from None

from streamrec.training import checkpoint
from streamrec.training.batches import TOKENS, Batch, batches
from streamrec.training.checkpoint import Checkpoint, Plan
from streamrec.training.continued import Base, read_base, refuse_learned, summary
from streamrec.training.finish import refuse_foreign, write_bundle
from streamrec.training.learner import Learner, fastest_precision
from streamrec.training.lessons import Lessons, Rows, make_lessons
from streamrec.training.memory import give_back
from streamrec.training.sampled import LARGE
from streamrec.training.schedule import LEARNING_RATE, LEAST_DROPOUT, fitting_dropout, learning_rate, share_kept
from streamrec.training.tuning import common_tags, tune

RECIPE = 8  # to be counted up whenever the same options give other bytes, so that no unfinished training goes on by another
LAST = 8  # one of so many steps, the last ones, learn from the validation too
CHECKS = 10  # validations in a training: the last average that is no worse than the best one is kept; in a short one ...
CHECK_EVERY = 50  # ... they are so many steps apart, and fewer
SAVE_EVERY = 100  # steps
WARM_UP_TRIALS = 3  # are slower: memory is asked for
TRIALS = 12  # at least, that tell how many steps the minutes are good for, ...
TRIED = 0.02  # ... and such a part of the minutes: batches of different lengths take different times
TUNING_TRIALS = 3
EXPORT, COUNT = 1.0, 5e-6  # seconds; the second for each interaction
MARGIN = 0.95  # of the minutes are planned


class Progress(Struct, frozen=True, kw_only=True):
    """After each step. ``ndcg`` is the newest validation's NDCG@10 (the generator alone), None before the first.

    In tuning ``loss`` is what slates are expected to earn, negative. ``taken_up`` is the step of the checkpoint that a killed
    training was taken up from, None where there was none. ``continued`` says what a bundle that is continued knew.
    """

    step: int
    steps: int
    loss: float
    ndcg: float | None
    seconds_left: float
    taken_up: int | None
    continued: Continued | None


class Trained(Struct, frozen=True, kw_only=True):
    """What became of it. ``manifest.metrics`` has the validation's NDCG@10 in the generator's and in the scorer's order."""

    bundle: Path
    manifest: Manifest
    resumed_at: int  # the step that a killed training was taken up from; 0 where there was none
    cpu_minutes: float  # of this process, from load to export


def train(
    dataset: Dataset,
    out: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    holdout: Holdout = "none",
    dim: int = 128,
    layers: int = 2,
    heads: int = 2,
    context: int = 200,
    dropout: float | None = None,
    members: int = 1,
    sampled: bool | None = None,
    refit: bool = True,
    mode: Mode = "top-k",
    values: int = 512,
    tuning: int = 300,
    keep: int = KEEP,
    threads: int = 1,
    continues: Path | None = None,
    spent: float = 0.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Trains a bundle into the folder ``out``; a training that was killed goes on where it stood.

    The same data, steps, seed, threads and kind of processor give the same bytes, interrupted or not.

    Args:
        context: the most items that the network sees. A session holds 100, and 100 are served; learning from rows of 200 is
            still better, because the items at the start of a row have little before them.
        dropout: where None, `fitting_dropout`.
        members: networks that learn side by side and share the minutes, whose answers are averaged: as many times slower to
            train and to ask. Only in mode top-k.
        minutes: CPU minutes of the process, from load to export: they are made into steps by a short trial.
        steps: instead of minutes.
        sampled: whether the softmax is over a sample of the items; where None, it is if there are more than `LARGE`.
        refit: whether the last eighth of the steps learns the validation too, and it is counted. It has chosen by then: the
            scorer's weights and the metrics are of a network that had not seen it.
        mode: what the model is to be asked; see training.modes.
        values: of a sub-token, in mode svd: four times as many embeddings stand for all items.
        tuning: steps that teach the network to write slates, in mode next-k; 0 leaves it as it is.
        continues: a bundle to go on from, whose shape is taken over; what it has not counted is learned.
        keep: followers that are kept for each item in the bundle's transitions.
        spent: CPU seconds that loading took; they count.

    Raises:
        UserError: an option is wrong, or the data has nothing to learn from.
    """
    started = time.process_time() - spent
    base = read_base(continues) if continues else None
    if base is not None:
        shape = base.bundle.manifest.model
        if shape.members > 1 and mode != "top-k":
            raise UserError(f"--continue: that bundle has {shape.members} networks, and --mode {mode} can have but one")
        if mode == "svd" or shape.mode == "svd":
            raise UserError(
                "--continue: sub-tokens are cut for one catalogue, new items have none; train with --mode svd from scratch"
            )
        dim, layers, heads, context = shape.dim, shape.layers, shape.heads, shape.context
        dropout, members = shape.dropout, shape.members
    plan = Plan(
        recipe=RECIPE,
        data=dataset.sha256,
        holdout=holdout,
        seed=seed,
        threads=threads,
        precision=fastest_precision(),
        dim=dim,
        layers=layers,
        heads=heads,
        context=context,
        dropout=LEAST_DROPOUT if dropout is None else dropout,
        members=members,
        rate=LEARNING_RATE,
        sampled=bool(sampled),
        continues=base.bundle.version if base else None,
        mode=mode,
        values=values if mode == "svd" else 0,
        tune=tuning if mode == "next-k" else 0,
        refit=refit,
        steps=steps or 0,
    )
    _check(plan, minutes, steps)
    refuse_foreign(out)
    torch.set_num_threads(threads)
    parts = split(dataset, holdout, base.counted(dataset) if base else None)
    if base is not None:
        refuse_learned(base, parts, dataset.sha256, holdout)
    lessons = make_lessons(dataset, parts, context, seed, base, refit=refit)
    plan = replace(plan, sampled=len(lessons.vocabulary) > LARGE if sampled is None else sampled)
    tags = _tags(dataset, lessons, base)
    partial = out.with_name(out.name + ".partial")
    learner = Learner(lessons, plan, base)
    stood = checkpoint.load(partial)
    taken_up = stood.step if stood else None
    if steps is None and minutes is not None:
        steps = stood.plan.steps if stood else _affordable_steps(learner, lessons, tags, plan, 60 * minutes * MARGIN, started)
    plan = replace(plan, steps=steps)
    if dropout is None:
        epochs = plan.steps * TOKENS / len(lessons.learned.items)
        plan = replace(plan, dropout=stood.plan.dropout if stood else fitting_dropout(epochs))
        learner.drop(plan.dropout)
    if stood is not None:
        _refuse_another(partial, stood.plan, plan)
        learner.restore(stood.tensors)
    else:
        stood = Checkpoint(plan, 0, learner.tensors())
        checkpoint.save(partial, stood)
    step = stood.step
    last = max(plan.steps // LAST, 1 if base else 0) if plan.refit and (parts.counted & ~parts.learned).any() else 0
    chosen = plan.steps - last  # the step by which the validation has chosen
    check_every = max(CHECK_EVERY, math.ceil(chosen / CHECKS))
    ndcg, clock = None, time.perf_counter()
    continued = summary(base, parts) if base else None

    def tell(step: int, loss: float, left: float) -> None:
        all_steps = plan.steps + plan.tune
        progress(
            Progress(step=step, steps=all_steps, loss=loss, ndcg=ndcg, seconds_left=left, taken_up=taken_up, continued=continued)
        )

    def done(loss: float) -> None:
        if step % SAVE_EVERY == 0 or step in (chosen, plan.steps):
            checkpoint.save(partial, Checkpoint(plan, step, learner.tensors()))
            give_back()
        tell(step, loss, (time.perf_counter() - clock) / (step - stood.step) * (plan.steps - step))

    for turn in islice(_turns(lessons.learned, plan), step, chosen):
        loss = learner.learn(turn, step, learning_rate(step, plan.steps), share_kept(step))
        step += 1
        if step % check_every == 0 or step == chosen:
            give_back()  # a validation needs larger pieces than a step leaves
            ndcg = learner.choose(lessons)
            give_back()
        done(loss)
    if step == chosen:
        learner.go_on_from_best()
    for turn in islice(_turns(lessons.whole, plan), step - chosen, last):
        loss = learner.learn(turn, step, learning_rate(step, plan.steps), share_kept(step))
        step += 1
        done(loss)

    writer, tuned = None, time.perf_counter()
    if plan.tune:

        def told(step: int, earned: float) -> None:
            tell(plan.steps + step, -earned, (time.perf_counter() - tuned) / step * (plan.tune - step))

        writer = tune(learner.averaged.members[0], tags, lessons, plan.tune, seed, told)
    done_so = replace(plan, refit=last > 0)  # of seven steps there is no last eighth
    manifest = write_bundle(learner.averaged, learner.best, dataset, parts, lessons, done_so, keep, partial, out, base, writer)
    return Trained(bundle=out, manifest=manifest, resumed_at=stood.step, cpu_minutes=(time.process_time() - started) / 60)


def _tags(dataset: Dataset, lessons: Lessons, base: Base | None) -> list[list[int]]:
    items = {**base.bundle.items, **dataset.items} if base else dataset.items
    return common_tags([items[item_id].tags for item_id in lessons.vocabulary.item_ids])


def _turns(rows: Rows, plan: Plan) -> Iterator[tuple[Batch, ...]]:
    """A batch for each member in each step: they learn the same in different orders, which keeps their mistakes apart."""
    return zip(*(batches(*rows, plan.context, plan.seed + number) for number in range(plan.members)), strict=True)


def _affordable_steps(learner: Learner, lessons: Lessons, tags: list[list[int]], plan: Plan, seconds: float, started: float) -> int:
    """How many steps the CPU seconds since ``started`` are good for, by trying some on a copy."""
    trial = copy.deepcopy(learner)
    tried = _turns(lessons.learned, plan)
    for turn in islice(tried, WARM_UP_TRIALS):
        trial.learn(turn, 0, 0.0, 0.0)
    begun = time.process_time()
    for trials, turn in enumerate(tried, start=1):
        trial.learn(turn, 0, 0.0, 0.0)
        taken = time.process_time() - begun
        if trials >= TRIALS and taken >= TRIED * seconds:
            break
    each = taken / trials
    begun = time.process_time()
    checked = len(trial.validate(lessons))
    check = time.process_time() - begun
    begun = time.process_time()
    if plan.tune:
        tune(trial.averaged.members[0], tags, lessons, TUNING_TRIALS, plan.seed, lambda step, earned: None)
    tuning = (time.process_time() - begun) / TUNING_TRIALS * plan.tune
    judge = check * len(lessons.slates) / max(1, checked)  # a slate for the scorer takes no longer than a target of a check, ...
    if plan.mode == "next-k":
        judge *= 2  # ... but where it is written
    finish = EXPORT + COUNT * len(lessons.whole.items) + judge
    left = seconds - (time.process_time() - started) - tuning - finish
    return max(1, int((left - CHECKS * check) / each), int(left / (each + check / CHECK_EVERY)))


def _refuse_another(partial: Path, unfinished: Plan, asked: Plan) -> None:
    differing = [name for name in Plan.__struct_fields__ if getattr(unfinished, name) != getattr(asked, name)]
    if differing:
        raise UserError(
            f"{partial}: holds an unfinished training with another {', '.join(differing)}; delete it, or choose another --out"
        )


def _check(plan: Plan, minutes: float | None, steps: int | None) -> None:
    if (minutes is None) == (steps is None):
        raise UserError("training needs either --minutes or --steps")
    if minutes is not None and not 0 < minutes < math.inf:
        raise UserError(f"--minutes {minutes}: must be a number above 0")
    least = {"steps": 1 if steps is not None else 0, "seed": 0, "tune": 0, "context": 2}
    least |= dict.fromkeys(("threads", "dim", "layers", "heads", "members"), 1)
    for name, low in least.items():
        if getattr(plan, name) < low:
            raise UserError(f"--{name} {getattr(plan, name)}: must be at least {low}")
    if plan.mode not in get_args(Mode):
        raise UserError(f"--mode {plan.mode}: choose {', '.join(get_args(Mode))}")
    if plan.members > 1 and plan.mode != "top-k":
        raise UserError(f"--members {plan.members}: only with --mode top-k")
    if plan.mode == "svd" and plan.values < 2:
        raise UserError(f"--values {plan.values}: must be at least 2")
    if plan.dim % plan.heads:
        raise UserError(f"--dim {plan.dim}: must be a multiple of --heads {plan.heads}")
    if not 0 <= plan.dropout < 1:
        raise UserError(f"--dropout {plan.dropout}: must be at least 0 and below 1")
