"""The verbs about models: train, evaluate."""

import time
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from streamrec.cli.output import people, print_json, progress_bar, say_notes
from streamrec.core.errors import UserError
from streamrec.settings import load_settings

DEFAULT_MINUTES = 3.0
DEFAULT_VALUES, DEFAULT_TUNING = 512, 300
FEW_STEPS = 10  # teach next to nothing
FEW_TARGETS = 100  # an interval over fewer spans anything


class Holdout(StrEnum):
    """What training may not see; see `evaluate`."""

    NONE = "none"
    LEAVE_ONE_OUT = "leave-one-out"
    TIME_SPLIT = "time-split"


class Mode(StrEnum):
    """How a slate is made: by rank, item by item, or from sub-tokens."""

    TOP_K = "top-k"
    NEXT_K = "next-k"
    SVD = "svd"


class Protocol(StrEnum):
    """What a bundle is asked."""

    LEAVE_ONE_OUT = "leave-one-out"
    TIME_SPLIT = "time-split"
    PREQUENTIAL = "prequential"


Data = Annotated[Path, typer.Argument(help="A data set: a folder with events.* and items.*")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="The bundle's folder. A training that was killed goes on where it stood.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help=f"CPU minutes, from load to export; {DEFAULT_MINUTES:g} where nothing is given.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Instead of minutes: the same steps and seed give the same bytes.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    holdout: Annotated[Holdout, typer.Option(help="What to withhold for `evaluate`; none is for production.")] = Holdout.NONE,
    base: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            help="A bundle to go on from: what DATA has and it has not counted is learned, new items join, its shape is kept.",
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the model is asked: docs/modes.md compares them.")] = Mode.TOP_K,
    dim: Annotated[int | None, typer.Option(min=8, help="Width of the model; 128 where nothing is given.")] = None,
    members: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --mode top-k: networks that share the minutes and whose answers are averaged; as many times slower."
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option(help="Learn what was kept back for the validation, too, when it has chosen: the newest of the log.")
    ] = True,
    values: Annotated[
        int | None,
        typer.Option(
            min=2, help=f"With --mode svd: values of each of an item's four sub-tokens; {DEFAULT_VALUES} where nothing is given."
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"With --mode next-k: steps that teach it to write slates; {DEFAULT_TUNING} where nothing is given."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a bundle: the GPTRec model, the transitions, and the relevance scorer's weights."""
    started = time.process_time()
    if minutes is not None and steps is not None:
        raise UserError("--minutes and --steps exclude each other; give one")
    if base is not None and (dim is not None or members is not None):
        raise UserError("--continue keeps the bundle's shape; leave out --dim and --members")
    for name, given, needed in (("--values", values, Mode.SVD), ("--tune", tune, Mode.NEXT_K)):
        if given is not None and mode != needed:
            raise UserError(f"{name} {given}: only with --mode {needed}")
    _require_torch()
    from streamrec.eventlog.dataset import read_dataset
    from streamrec.serving.bundle import MANIFEST

    dataset = read_dataset(data)  # before torch is imported, which takes seconds: a broken file is told at once
    say_notes(dataset.notes)
    skips = int(dataset.is_skip.sum())
    people.print(
        f"training on {len(dataset)} events of {data}" + (f"; {skips} are skips: nothing is learned from them" if skips else "")
    )
    from streamrec.training.continued import in_words
    from streamrec.training.train import Progress
    from streamrec.training.train import train as learn

    if (out / MANIFEST).is_file():
        people.print(f"{out} holds a bundle; the new one will replace it when it is whole")
    shown: Progress | None = None
    with progress_bar() as progress:
        bar = progress.add_task("training", total=None)

        def show(at: Progress) -> None:
            nonlocal shown
            first, shown = shown is None, at
            ndcg = f", validation NDCG@10 {at.ndcg:.4f}" if at.ndcg is not None else ""
            progress.update(bar, completed=at.step, total=at.steps, description=f"loss {at.loss:.3f}{ndcg}")
            if first and base is not None and at.continued is not None:
                for line in in_words(base, at.continued):
                    people.print(line)
            if first and at.taken_up is not None:
                planned = ", as its first start planned, whatever --minutes says now" if minutes else ""
                people.print(f"taken up again after step {at.taken_up} of {at.steps}{planned}")
            elif not people.is_terminal and at.step * 10 // at.steps > (at.step - 1) * 10 // at.steps:  # a log file has no bar
                people.print(f"step {at.step} of {at.steps}, loss {at.loss:.3f}{ndcg}, {at.seconds_left:.0f} s left")

        try:
            trained = learn(
                dataset,
                out,
                minutes=DEFAULT_MINUTES if minutes is None and steps is None else minutes,
                steps=steps,
                seed=seed,
                holdout=holdout.value,
                dim=dim or 128,
                members=members or 1,
                continues=base,
                refit=refit,
                mode=mode.value,
                values=DEFAULT_VALUES if values is None else values,
                tuning=DEFAULT_TUNING if tune is None else tune,
                spent=time.process_time() - started,
                progress=show,
            )
        except KeyboardInterrupt:
            where = f"at step {shown.step} of {shown.steps}" if shown else "before a step was done"
            people.print(f"stopped {where}; the same command goes on from the last checkpoint, where there is one")
            raise typer.Exit(130) from None
    manifest = trained.manifest
    if minutes is not None and manifest.steps < FEW_STEPS:
        people.print(
            f"--minutes {minutes:g} hardly do: steps that fitted in, beside imports, validations and the end: {manifest.steps}; "
            "give more minutes, or say --steps"
        )
    elif minutes is not None and trained.cpu_minutes > minutes and not trained.resumed_at:
        people.print(
            f"more than --minutes {minutes:g}: {manifest.steps} steps and what is around them took {trained.cpu_minutes:.2f}"
        )
    if as_json:
        print_json(
            {**msgspec.to_builtins(manifest), "resumed_at": trained.resumed_at, "cpu_minutes": round(trained.cpu_minutes, 2)}
        )
        return
    resumed = f", taken up at step {trained.resumed_at}" if trained.resumed_at else ""
    people.print(f"bundle {manifest.version} in {out}: {manifest.steps} steps, {trained.cpu_minutes:.1f} CPU minutes{resumed}")
    metrics = dict(manifest.metrics)
    slates = int(metrics.pop("validation_slates"))
    people.print(f"  validation_slates {slates}{'' if metrics else ', too few to measure anything'}")
    for name, value in metrics.items():
        people.print(f"  {name} {value:.4f}")


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Data,
    protocol: Annotated[
        Protocol,
        typer.Option(help="The bundle must have been trained with the same --holdout; for prequential with time-split."),
    ] = Protocol.LEAVE_ONE_OUT,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Also test whether the order of the data tells anything.")] = False,
    diversity: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Of a tuned Next-K bundle's slates; 0: accuracy alone; else STREAMREC_DIVERSITY.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a bundle what its training did not see: every item ranked, seen ones left out, ties against it.

    The settings of slates are those of a worker: see `streamrec settings`.
    """
    from streamrec.evaluation.evaluate import Report
    from streamrec.evaluation.evaluate import evaluate as ask
    from streamrec.eventlog.dataset import read_dataset
    from streamrec.serving.bundle import load_bundle

    rules = load_settings(diversity=diversity).slate_rules
    asked = load_bundle(bundle)
    if diversity is not None and not asked.manifest.tune:
        raise UserError(f"--diversity {diversity}: {bundle} has no such dial; train with --mode next-k and --tune")
    dataset = read_dataset(data)
    say_notes(dataset.notes)
    with progress_bar() as progress:
        bar = progress.add_task(protocol.value, total=None)
        report: Report = ask(
            asked,
            dataset,
            protocol.value,
            shuffle=shuffle,
            rules=rules,
            progress=lambda done, targets: progress.update(bar, completed=done, total=targets),
        )
    as_dict: dict[str, Any] = msgspec.to_builtins(report)
    if as_json:
        print_json(as_dict)
    else:
        _print_report(as_dict)


def _require_torch() -> None:
    missing = [name for name in ("torch", "transformers", "onnx") if find_spec(name) is None]
    if missing:
        raise UserError(f"training needs {', '.join(missing)}: install `streamrec[train]`, or run `make setup`")


def _print_report(report: dict[str, Any]) -> None:
    from streamrec.evaluation.metrics import TOP

    frozen = {"served, counts frozen": report["frozen"]} if "frozen" in report else {}
    rows = {"served": report["model"], "generator alone": report["generator"], **frozen, **report["baselines"]}
    other = report["seen_items_included"]
    others = {"served": other["model"], "generator alone": other["generator"], **other["baselines"]}
    accuracy = Table("", "ndcg@10", "95 %", "served's lead", "recall@10", "mrr", "with seen", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    beyond = Table("", "coverage", "diversity", "novelty", "popularity bias", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, metrics in rows.items():
        lead = report["leads"].get(name)
        accuracy.add_row(
            name,
            _figure(metrics["ndcg@10"]),
            _interval(metrics["ndcg@10_interval"], "{:.3f}"),
            _interval(lead["ndcg@10_interval"], "{:+.3f}") if lead else "",
            _figure(metrics["recall@10"]),
            _figure(metrics["mrr"]),
            _figure(others[name]["ndcg@10"]) if name in others else "",
        )
        beyond.add_row(name, *(_figure(metrics[each]) for each in ("coverage", "diversity", "novelty", "popularity_bias")))
    people.print(
        f"[bold]{report['protocol']}[/]: {report['targets']} targets of {report['users']} users, all {report['items']} items "
        f"ranked, seen items excluded (with them, {other['targets']} targets: last column)"
    )
    for reason, count in report["skipped"].items():
        if count:
            people.print(f"skipped: {count} {reason.replace('_', ' ')}")
    if report["targets"] < FEW_TARGETS:
        people.print(f"[bold]{report['targets']} targets are too few to say anything[/]; another protocol may ask more")
    people.print(accuracy)
    people.print(beyond)
    threshold, size = report["relevance_threshold"], report["mean_slate_size"]
    hint = "; STREAMREC_RELEVANCE_THRESHOLD=0 fills them" if threshold and size < TOP else ""
    people.print(f"relevance threshold {threshold:.4g}: slates of {TOP} hold {size:.1f} on average{hint}")
    for name, reason in report["baselines_left_out"].items():
        people.print(f"{name} left out: {reason}")
    people.print(f"data {report['dataset_sha256'][:12]}, bundle {report['bundle']}, seed {report['seed']}")
    if "shuffle" in report:
        _print_shuffle(report["shuffle"])


def _print_shuffle(shuffle: dict[str, Any]) -> None:
    people.print(
        f"shuffle test: [bold]{shuffle['verdict']}[/]; {shuffle['tied']:.0%} of the interactions share user and time with another"
    )
    for name in ("generator", "markov"):
        effect = shuffle[name]
        people.print(
            f"  {name}: NDCG@10 {effect['ndcg@10']:.4f}, shuffled {effect['shuffled_ndcg@10']:.4f} "
            f"({-effect['relative_drop']:+.0%}; drop, 95 %: {_interval(effect['drop']['ndcg@10_interval'], '{:+.4f}')})"
        )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _interval(bounds: Sequence[float], form: str) -> str:
    return " … ".join(form.format(bound) for bound in bounds)
