"""What the deployment tests share: the tools that came as wheels, and whether streamrec understands what a file hands it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import typer.main

from streamrec.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of the dependency group `ops-test`: offline, without an engine, without a cluster."""
    tool = Path(sys.executable).parent / name
    assert tool.is_file(), f"no {tool}: install the dependency group ops-test"
    nowhere = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "KUBECONFIG": "/nonexistent", "DOCKER_HOST": "tcp://127.0.0.1:1"}
    return subprocess.run([tool, *arguments], capture_output=True, text=True, env=nowhere, timeout=60, check=False)


def parse_command(arguments: Sequence[str]) -> dict[str, object]:
    """The options that streamrec's command line makes of these words; raises what it would refuse them with."""
    from streamrec.cli.verbs import app

    command, rest = typer.main.get_command(app), list(arguments)
    while commands := getattr(command, "commands", None):
        command, rest = commands[rest[0]], rest[1:]
    return command.make_context(command.name, rest).params


def settings_from(environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> Settings:
    """The settings of a process with this environment and no other; raises UserError for what streamrec would refuse."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        patch.delenv(name)
    for name, value in environment.items():
        patch.setenv(name, value)
    return load_settings()
