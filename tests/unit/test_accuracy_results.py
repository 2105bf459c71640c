"""What `make bench-accuracy` keeps: finished rows, through kills, and apart by data."""

from pathlib import Path
from typing import Any

from benchmarks.accuracy.__main__ import _jobs
from benchmarks.accuracy.results import Results, markdown


def row(model: str, minutes: float, seed: int, ndcg: float = 0.1, sha256: str = "a") -> dict[str, Any]:
    metrics = dict.fromkeys(("recall@10", "mrr", "coverage", "novelty"), 0.5)
    return {
        "model": model,
        "minutes": minutes,
        "seed": seed,
        "cpu_minutes": minutes,
        "metrics": metrics | {"ndcg@10": ndcg, "ndcg@10_interval": [ndcg - 0.01, ndcg + 0.01], "diversity": None},
        "dataset_sha256": sha256,
        "cpu": "some",
        "peak_mb": 100.0,
    }


def test_a_line_that_a_kill_cut_short_is_forgotten_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.jsonl"
    Results(path, "a").add(row("sasrec", 5.0, 0))
    with path.open("a") as file:
        file.write('{"model": "esasr')
    again = Results(path, "a")
    assert again.has("sasrec", 5.0, 0)
    again.add(row("esasrec", 5.0, 0))
    assert [each["model"] for each in Results(path, "a").rows] == ["sasrec", "esasrec"]


def test_several_networks_have_a_line_of_their_own() -> None:
    rows = [row("streamrec", 60.0, 0, ndcg=0.25), row("streamrec", 60.0, 1) | {"settings": {"members": 4}}]
    lines = [line for line in markdown(rows, "ml").splitlines() if line.startswith("| streamrec")]
    assert [line.split(" | ")[0] for line in lines] == ["| streamrec, 4 networks", "| streamrec"]


def test_only_what_is_missing_is_run_and_a_peer_passes_through_all_its_minutes_at_once(tmp_path: Path) -> None:
    results = Results(tmp_path / "rows.jsonl", "a")
    results.add(row("sasrec", 5.0, 1))
    results.add(row("streamrec", 5.0, 0))
    results.add(row("streamrec", 15.0, 0, sha256="b"))  # other data
    wanted = [(5.0, 0), (15.0, 0), (5.0, 1)]
    made = _jobs(["streamrec", "sasrec"], wanted, results)
    assert [tuple(job) for job in made] == [
        ("streamrec", (15.0,), 0),
        ("streamrec", (5.0,), 1),
        ("sasrec", (5.0, 15.0), 0),
    ]


def test_the_table_has_means_over_seeds_and_the_best_of_each_budget_last() -> None:
    text = markdown([row("a", 5.0, 0, 0.1), row("a", 5.0, 1, 0.3), row("b", 5.0, 0, 0.15), row("c", 1.0, 0, 0.9)], "data")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    lines = [line for line in lines if line[0] != "---"]
    assert [(line[0], line[3]) for line in lines] == [("c", "0.9000"), ("b", "0.1500"), ("a", "0.2000")]
    assert lines[-1][2] == "0, 1"
    assert lines[-1][4] == "± 0.1414"


def test_where_processors_differ_the_table_says_who_ran_on_which() -> None:
    one, other = row("a", 5.0, 0), row("b", 5.0, 0)
    assert markdown([one, other], "data").splitlines()[-1] == "CPU: some"
    assert markdown([one, other | {"cpu": "else"}], "data").splitlines()[-1] == "CPU: else (b); some (a)"
