"""What every verb shares in talking to people and machines: results on stdout, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streamrec.cli.repeats import CLIENTS, FewRepeats
from streamrec.settings import Settings

PIPE_WIDTH = 160  # of tables where there is no terminal: nothing is cut

people = Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def say_notes(notes: Iterable[str]) -> None:
    """What is odd in a data set, each note one line, however long; warnings stand out."""
    for note in notes:
        style = "bold yellow" if note.startswith("warning:") else None
        people.print(note, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(result: dict[str, Any]) -> None:
    """The one object that a verb's ``--json`` promises."""
    print(json.dumps(result, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr; where that is no terminal, nothing but what the verb itself prints."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=people, disable=not people.is_terminal) as progress:
        yield progress


def set_up_logging(settings: Settings) -> None:
    """structlog for us and for the libraries: JSON lines on stderr, pretty on a terminal."""
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    handler.addFilter(FewRepeats())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for talkative in CLIENTS:
        logging.getLogger(talkative).setLevel(logging.WARNING)  # aiokafka's DEBUG costs 11 % even when not printed
