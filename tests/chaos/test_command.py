"""What is asked for wrongly is one line and exit code 2, before anything is started."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["chaos", "chaos.soak"])
def test_a_report_into_a_folder_that_is_missing(module: str, tmp_path: Path) -> None:
    report = tmp_path / ("no-such-folder-" * 12) / "report.md"
    ran = subprocess.run([sys.executable, "-m", module, "--report", str(report)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"chaos: --report {report}: name a file in a folder that exists\n"


def test_no_kinds_are_not_all_kinds() -> None:
    ran = subprocess.run([sys.executable, "-m", "chaos", "--kinds", ""], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("chaos: --kinds: there is no ''; there are kill-worker, ")
    assert ran.stderr.count("\n") == 1
