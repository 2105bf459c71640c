"""``make chaos``: the command."""

import shlex
import shutil
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from chaos.command import Report, run_command
from chaos.faults import KINDS
from chaos.fleet import LAYOUTS
from chaos.report import incidents, is_good, markdown, summary, table
from chaos.run import Plan, new_folder, run
from streamrec.cli.output import people, print_json
from streamrec.core.errors import UserError


class Plant(StrEnum):
    """What the workers do wrong."""

    DROP = "drop"
    CORRUPT = "corrupt"
    STALE = "stale"
    LATE = "late"


class Layout(StrEnum):
    """Which processes there are: one a role and more, all roles in each, or both kinds together."""

    APART = "apart"
    TOGETHER = "together"
    MIXED = "mixed"


def chaos(
    seed: Annotated[int, typer.Option(help="Of the load and of the faults.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, help="New faults come for so long.")] = 5,
    faults: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    kinds: Annotated[str | None, typer.Option(help=f"Only these, with commas: {', '.join(KINDS)}.")] = None,
    layout: Annotated[Layout, typer.Option(help="Which worker processes there are.")] = Layout.MIXED,
    rate: Annotated[float, typer.Option(min=1, help="Records a second.")] = 30,
    users: Annotated[int, typer.Option(min=1, help="Users that the load is of; some come more often than others.")] = 300,
    patience: Annotated[float, typer.Option(min=1, help="Seconds in which the deployment must have recovered.")] = 180,
    unmended: Annotated[
        bool, typer.Option("--unmended", help="Workers with Faust as released. Exit code 1 where losses are found.")
    ] = False,
    plant: Annotated[Plant | None, typer.Option(help="Workers that do this. Exit code 1 where it is found.")] = None,
    report: Report = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and brokers' data in this new folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but one JSON object of integers.")] = False,
) -> None:
    """Everything goes wrong on a real Kafka; then every output is recomputed. Exit code 1 if anything was lost or is wrong."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    if unmended and plant:
        raise UserError("--unmended and --plant exclude each other; give one")
    if keep is not None and keep.exists():
        raise UserError(f"--keep {keep} exists already; name a new folder")
    folder = keep or new_folder()
    folder.mkdir(exist_ok=True, parents=True)
    wrong = "unmended" if unmended else plant.value if plant else "none"
    plan = Plan(seed, minutes, faults, _chosen(kinds), layout.value, rate, users, patience, ("chaos.worker", wrong))
    began = time.monotonic()
    try:
        outcome = run(plan, folder, lambda text: people.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {escape(text)}"))
    except BaseException:
        people.print(f"logs are kept in {folder}", markup=False)
        raise
    good = is_good(outcome)
    if good and keep is None:
        shutil.rmtree(folder)
    else:
        people.print(f"logs are kept in {folder}", markup=False)
    people.print(table(outcome))
    people.print("what was done for workers besides starting killed ones again:", *incidents(outcome), sep="\n  ", highlight=False)
    if report is not None:
        report.write_text(markdown(outcome, f"make chaos ARGS='{shlex.join(sys.argv[1:])}'"), "utf-8")
    if as_json:
        print_json(summary(outcome))
    else:
        people.print("\n".join(f"{name:>26} {count}" for name, count in summary(outcome).items()), highlight=False)
        people.print("[green]nothing lost, nothing wrong[/]" if good else "[red]NOT GOOD: see above[/]")
    raise typer.Exit(0 if good else 1)


def _chosen(kinds: str | None) -> tuple[str, ...]:
    chosen = tuple(KINDS) if kinds is None else tuple(kinds.split(","))
    for kind in chosen:
        if kind not in KINDS:
            raise UserError(f"--kinds: there is no {kind!r}; there are {', '.join(KINDS)}")
    return chosen


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


assert [each.value for each in Layout] == list(LAYOUTS)

if __name__ == "__main__":
    run_command(chaos)
