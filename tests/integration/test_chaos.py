"""The chaos run in short, as people start it, and that it finds what is planted. The long one: `make chaos ARGS="--minutes 60"`."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]

COUNTS = {"faults", "kinds", "events_in", "events_lost", "outputs_wrong", "duplicates", "superseded", "late_without_rule"}


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "chaos", "--json", *options], capture_output=True, text=True, check=False)


def test_nothing_is_lost_or_wrong_while_everything_goes_wrong() -> None:
    ran = chaos("--seed", "7", "--minutes", "2")
    assert ran.returncode == 0, ran.stderr[-4000:]
    found = json.loads(ran.stdout)
    assert found.keys() >= COUNTS
    assert all(type(count) is int for count in found.values())
    assert found["faults"] == found["survived"] > 0
    assert found["events_in"] > 500
    assert (found["events_lost"], found["outputs_wrong"], found["dead_letters_missing"], found["committed_ahead"]) == (0, 0, 0, 0)
    assert (found["late_without_rule"], found["out_of_order"]) == (0, 0)


def test_a_worker_that_drops_some_recommendations_is_found() -> None:
    ran = chaos("--plant", "drop", "--faults", "1", "--kinds", "kill-worker", "--layout", "together")
    assert ran.returncode == 1, ran.stderr[-4000:]
    found = json.loads(ran.stdout)
    assert found["events_lost"] > 0
    assert found["committed_ahead"] > 0


def test_a_worker_that_leaves_out_late_events_is_found() -> None:
    """By what the logs hold, and not only because the replay knows better."""
    ran = chaos("--plant", "late", "--faults", "1", "--kinds", "kill-worker", "--layout", "together")
    assert ran.returncode == 1, ran.stderr[-4000:]
    found = json.loads(ran.stdout)
    assert found["late_without_rule"] > 0
    assert found["events_lost"] >= found["late_without_rule"]
    assert found["outputs_wrong"] > 0


def test_a_kind_that_does_not_exist_is_one_line() -> None:
    ran = chaos("--kinds", "earthquake")
    assert ran.returncode == 2
    assert "there is no 'earthquake'" in ran.stderr
    assert ran.stdout == ""
