"""NDCG@10 against CPU minutes, from a file of results: `python -m benchmarks.accuracy.plot RESULTS.jsonl` writes RESULTS.svg."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.rcParams["svg.hashsalt"] = "streamrec"  # the same rows give the same bytes

LABELS = {"sasrec": "SASRec (RecTools)", "esasrec": "eSASRec (RecTools)"}
SHOWN = ("popularity", "markov", "ease", "item_knn")  # as lines across: they take seconds


def main(results: Path) -> None:
    """Points are means over seeds, bars go from the worst seed to the best."""
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    points: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        points[row["model"]][row["minutes"]].append(row["metrics"]["ndcg@10"])
        if "generator" in row:
            points[f"{row['model']}, generator alone"][row["minutes"]].append(row["generator"]["ndcg@10"])
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for model in [model for model in points if 0.0 not in points[model]]:
        minutes = sorted(points[model])
        middle = [mean(points[model][each]) for each in minutes]
        bars = [[abs(end(points[model][each]) - mid) for each, mid in zip(minutes, middle, strict=True)] for end in (min, max)]
        axes.errorbar(minutes, middle, yerr=bars, marker="o", markersize=4, capsize=3, label=LABELS.get(model, model))
    for name in SHOWN:
        if name in points:
            (value,) = points[name][0.0]
            axes.axhline(value, color="0.6", linewidth=0.8, linestyle=":")
            axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4", fontsize=8)
    ticks = sorted({minutes for model in points.values() for minutes in model if minutes})
    if ticks:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    axes.set_xlabel("CPU minutes, one core")
    axes.set_ylabel("NDCG@10, all items ranked")
    axes.set_ylim(bottom=0)
    figure.savefig(results.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
