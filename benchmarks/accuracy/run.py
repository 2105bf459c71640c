"""One training or fit in a process of its own: pinned to a core, one thread, its CPU time and memory measured."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import streamrec
from benchmarks.accuracy.results import Row
from streamrec.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
UNFINISHED = ROOT / ".cache" / "bench-accuracy"  # streamrec's trainings: a killed one is taken up again
PEERS = ("sasrec", "esasrec")
BASELINES = "baselines"
SATED = 15  # CPU minutes for one network; of twice as many there are two, side by side, and so on
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Job(NamedTuple):
    """What one process does."""

    model: str
    minutes: tuple[float, ...]
    seed: int

    @property
    def cost(self) -> float:
        return max(self.minutes) or 1.0

    def __str__(self) -> str:
        return f"{self.model}, {' and '.join(f'{each:g}' for each in self.minutes)} CPU minutes, seed {self.seed}"


def run(job: Job, data: Path, sha256: str, core: int | None) -> Iterator[Row]:
    """The rows of a job.

    Raises:
        UserError: its process failed; what it said stands on stderr.
    """
    common = {"dataset": data.resolve().name, "dataset_sha256": sha256, "protocol": "leave-one-out", "cpu": _cpu()}
    if job.model == BASELINES:
        rows, peak = _ask([sys.executable, "-m", "benchmarks.accuracy.baselines", str(data)], core)
    elif job.model in PEERS:
        if not PEER_PYTHON.exists():
            raise UserError(f"{PEER_PYTHON}: the peers are not installed; use `make bench-accuracy`")
        minutes = [str(each) for each in job.minutes]
        command = [str(PEER_PYTHON), "-m", "benchmarks.accuracy.peers", job.model, str(data), "--seed", str(job.seed)]
        rows, peak = _ask([*command, "--minutes", *minutes], core)
    else:
        rows, peak = _streamrec(job, data, sha256, core)
    for row in rows:
        yield row | common | {"peak_mb": peak}


def draw(results: Path) -> None:
    """The plot beside the results."""
    subprocess.run([str(PEER_PYTHON), "-m", "benchmarks.accuracy.plot", str(results)], cwd=ROOT, check=True)


def _streamrec(job: Job, data: Path, sha256: str, core: int | None) -> tuple[list[Row], float]:
    (minutes,) = job.minutes
    bundle = UNFINISHED / sha256[:12] / _commit() / f"{minutes:g}-minutes-seed-{job.seed}"
    said = bundle.with_suffix(".json")
    verb = [sys.executable, "-m", "streamrec"]
    if not said.exists():  # else only the evaluation was killed
        bundle.parent.mkdir(parents=True, exist_ok=True)
        members = max(1, int(minutes // SATED))
        options = ["--minutes", str(minutes), "--members", str(members), "--seed", str(job.seed)]
        options += ["--holdout", "leave-one-out", "--json"]
        (trained,), peak = _ask([*verb, "train", str(data), "--out", str(bundle), *options], core)
        said.write_text(json.dumps(trained | {"peak_mb": peak}))
    trained = json.loads(said.read_text())
    (report,), _ = _ask([*verb, "evaluate", str(bundle), str(data), "--protocol", "leave-one-out", "--json"], core)
    row = {
        "model": job.model,
        "minutes": minutes,
        "seed": job.seed,
        "ask": "test",
        "cpu_minutes": trained["cpu_minutes"],
        "steps": trained["steps"],
        "resumed_at": trained["resumed_at"],  # above 0: CPU minutes before the kill are not counted
        "metrics": report["model"],
        "generator": report["generator"],
        "seen_included": report["seen_items_included"]["model"],
        "bundle": report["bundle"],
        "settings": trained["model"],
        "versions": trained["libraries"] | {"streamrec": streamrec.__version__, "commit": _commit()},
    }
    shutil.rmtree(bundle)
    said.unlink()
    return [row], trained["peak_mb"]


def _ask(command: list[str], core: int | None) -> tuple[list[Row], float]:
    """The JSON lines that a command prints, and the most memory it had (MB)."""

    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):  # not on macOS
            os.sched_setaffinity(0, {core if core is not None else max(os.sched_getaffinity(0))})

    no_settings = {name: value for name, value in os.environ.items() if not name.startswith("STREAMREC_")}
    environment = no_settings | ONE_THREAD
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=pin,
    )
    assert process.stdout is not None
    try:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"exit code {process.returncode}: {' '.join(command)}")
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return rows, round(usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2), 1)


def _cpu() -> str:
    try:
        names = [
            line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    try:
        told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return version("streamrec")
    return told.stdout.strip()
