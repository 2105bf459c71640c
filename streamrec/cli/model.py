"""The verbs about models: train, evaluate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from streamrec.cli.output import people, print_json, progress_bar
