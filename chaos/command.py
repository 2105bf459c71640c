"""What the commands of this room share: how they end, and where their reports go."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from streamrec.cli.output import people
from streamrec.core.errors import UserError


def say(text: str) -> None:
    """One line for people, as it is: a worker's last words hold any brackets."""
    people.print(text, markup=False, soft_wrap=True)


def run_command(command: Callable[..., None]) -> None:
    """Runs it with the program's arguments; a UserError is one line on stderr and exit code 2."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(command)
    try:
        app()
    except UserError as error:
        say(f"chaos: {error}")
        sys.exit(2)


def _writable(report: Path | None) -> Path | None:
    """Asked before the run: after it would be an hour late."""
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise UserError(f"--report {report}: name a file in a folder that exists")
    return report


Report = Annotated[Path | None, typer.Option(callback=_writable, help="Write a report to this file (Markdown).")]
