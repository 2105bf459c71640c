"""The rows that are finished, as JSON lines, and what people read of them."""

import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Row = dict[str, Any]
HEAD = ("", "CPU min", "seeds", "NDCG@10", "± (seeds) or 95 %", "recall@10", "MRR", "coverage", "diversity", "novelty", "peak MB")


class Results:
    """A file of rows of which each was written whole; rows of other data may stand in it too, and are left alone."""

    def __init__(self, path: Path, dataset_sha256: str) -> None:
        self.path = path
        self._sha256 = dataset_sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        if text and not text.endswith("\n"):  # a kill cut the last line short
            text = text[: text.rfind("\n") + 1]
            path.write_text(text)
        self._rows: list[Row] = [json.loads(line) for line in text.splitlines()]

    @property
    def rows(self) -> list[Row]:
        return [row for row in self._rows if row["dataset_sha256"] == self._sha256]

    def has(self, model: str, minutes: float, seed: int) -> bool:
        """Whether that row is there already."""
        return any((row["model"], row["minutes"], row["seed"]) == (model, minutes, seed) for row in self.rows)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line for each model and its minutes, the best last: means over seeds."""
    groups: dict[tuple[float, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["minutes"], _name(row)].append(row)
        if "generator" in row:
            groups[row["minutes"], f"{_name(row)}, generator alone"].append(row | {"metrics": row["generator"]})
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], _mean(group[1], "ndcg@10")))
    return [_line(minutes, model, group) for (minutes, model), group in ordered]


def table(rows: list[Row]) -> Table:
    """For a terminal."""
    made = Table(*HEAD, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for line in lines(rows):
        made.add_row(*line)
    return made


def markdown(rows: list[Row], data: str) -> str:
    """For a page."""
    sha = rows[0]["dataset_sha256"][:12] if rows else ""
    text = [f"{data} (sha256 {sha}…), leave-one-out test, every item ranked, seen items excluded, one core.", ""]
    text += ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    text += ["| " + " | ".join(line) + " |" for line in lines(rows)]
    return "\n".join([*text, "", "CPU: " + _cpus(rows), ""])


def _cpus(rows: list[Row]) -> str:
    """Of several, which models ran on which: their minutes are not the same."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        models.setdefault(row["cpu"], {})[row["model"]] = None
    return "; ".join(cpu if len(models) == 1 else f"{cpu} ({', '.join(of)})" for cpu, of in sorted(models.items()))


def _name(row: Row) -> str:
    members = row.get("settings", {}).get("members", 1)
    return f"{row['model']}, {members} networks" if members > 1 else str(row["model"])


def _line(minutes: float, model: str, group: list[Row]) -> tuple[str, ...]:
    ndcgs = [row["metrics"]["ndcg@10"] for row in group]
    if len(group) > 1:
        spread = f"± {stdev(ndcgs):.4f}"
    else:
        spread = " … ".join(f"{bound:.3f}" for bound in group[0]["metrics"]["ndcg@10_interval"])
    seeds = ", ".join(str(row["seed"]) for row in group) if minutes else ""
    figures = [_figure(group, name) for name in ("recall@10", "mrr", "coverage", "diversity", "novelty")]
    spent = f"{mean(row['cpu_minutes'] for row in group):.1f}"
    return model, spent, seeds, f"{mean(ndcgs):.4f}", spread, *figures, f"{max(row['peak_mb'] for row in group):.0f}"


def _figure(group: list[Row], name: str) -> str:
    return "" if any(row["metrics"][name] is None for row in group) else f"{_mean(group, name):.4f}"


def _mean(group: list[Row], name: str) -> float:
    return mean(row["metrics"][name] for row in group)
