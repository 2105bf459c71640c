"""Trains streamrec and its peers for the same CPU minutes and asks them the same.

    make bench-accuracy ARGS='--minutes 1 --seeds 0 --data DIR'

Each training is a process of its own, on one core and one thread. Finished rows are kept (results.py), so a run that was killed
goes on where it stood; to have a row made again, delete its line.
"""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.accuracy.results import Results, Row, markdown, table
from benchmarks.accuracy.run import BASELINES, PEERS, Job, draw, run
from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import read_dataset

HERE = Path(__file__).resolve().parents[1] / "results"
DATA = "STREAMREC_BENCH_DATA"
BESIDE = Path("../shared/data/ml-1m")  # a folder beside the checkout
SEEDS = {5.0: (0, 1, 2), 15.0: (0, 1, 2), 60.0: (0,)}  # by CPU minutes, where nothing else is asked for
people = Console(stderr=True, width=None if sys.stderr.isatty() else 150)


def main() -> None:
    """Reads the arguments, runs what is not there yet, prints the table, draws the plot."""
    asked = _arguments()
    if not asked.data.is_dir():
        raise UserError(
            f"{asked.data}: no such folder; name a data set (events.* and items.*) with --data DIR or {DATA}. "
            "docs/evaluation.md says how ML-1M is made one"
        )
    dataset = read_dataset(asked.data)
    results = Results(asked.results or HERE / f"accuracy-{asked.data.resolve().name}.jsonl", dataset.sha256)
    wanted = [(minutes, seed) for minutes, seeds in SEEDS.items() for seed in seeds]
    if asked.minutes or asked.seeds:
        wanted = [(minutes, seed) for minutes in asked.minutes or SEEDS for seed in asked.seeds or (0,)]
    jobs = _jobs(asked.models, wanted, results)
    with Progress(console=people, disable=not people.is_terminal) as progress:
        bar = progress.add_task("", total=sum(job.cost for job in jobs))
        for job in jobs:
            progress.update(bar, description=str(job))
            for row in run(job, asked.data, dataset.sha256, asked.core):
                results.add(row)
                _say(row)
            progress.advance(bar, job.cost)
    rows = results.rows
    people.print(table(rows))
    results.path.with_suffix(".md").write_text(markdown(rows, asked.data.resolve().name))
    draw(results.path)
    people.print(f"{results.path}, and beside it the table (.md) and the plot (.svg)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-accuracy", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get(DATA, BESIDE)), help=f"else {DATA}, else {BESIDE}")
    parser.add_argument("--minutes", type=float, nargs="+", help="CPU minutes; else 5 and 15 with three seeds, 60 with one")
    parser.add_argument("--seeds", type=int, nargs="+", help="else 0, 1 and 2; with --minutes 0")
    parser.add_argument("--models", nargs="+", choices=(BASELINES, "streamrec", *PEERS), default=[BASELINES, "streamrec", *PEERS])
    parser.add_argument("--core", type=int, help="the core to run on; else the last one that this process may use")
    parser.add_argument("--results", type=Path, help="the file of finished rows; else benchmarks/results/accuracy-DATA.jsonl")
    return parser.parse_args()


def _jobs(models: list[str], wanted: list[tuple[float, int]], results: Results) -> list[Job]:
    """What has to be run. A peer passes through all its minutes in one process; streamrec fits its schedule to each."""
    jobs = []
    for model in models:
        if model == BASELINES:
            jobs += [] if results.has("markov", 0.0, 0) else [Job(model, (0.0,), 0)]
            continue
        missing = [(minutes, seed) for minutes, seed in wanted if not results.has(model, minutes, seed)]
        if model in PEERS:
            seeds = dict.fromkeys(seed for _, seed in missing)
            jobs += [Job(model, tuple(minutes for minutes, of in missing if of == seed), seed) for seed in seeds]
        else:
            jobs += [Job(model, (minutes,), seed) for minutes, seed in missing]
    return jobs


def _say(row: Row) -> None:
    ndcg = row["metrics"]["ndcg@10"]
    people.print(
        f"{row['model']}, {row['minutes']:g} min, seed {row['seed']}: NDCG@10 {ndcg:.4f} after {row['cpu_minutes']} CPU min"
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as mistake:
        people.print(f"bench-accuracy: {mistake}", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        people.print("stopped; finished rows are kept")
        sys.exit(130)
