"""An outcome for machines (integers), for people (a table) and for the record (Markdown)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from rich.table import Table

from chaos.faults import KINDS
from chaos.fleet import TOO_SLOWLY
from chaos.run import Outcome
from chaos.verdict import is_right


class Row(NamedTuple):
    """A kind of fault: seconds from the fault until all was done, and from an event to its recommendation meanwhile."""

    kind: str
    times: int
    survived: int
    median_recovery: float | None
    worst_recovery: float | None
    longest_wait: float


def summary(outcome: Outcome) -> dict[str, int]:
    """The object of ``--json``: integers only."""
    audit, found = outcome.audit, outcome.verdict
    return {
        "faults": len(outcome.faults),
        "kinds": len({each.fault.kind for each in outcome.faults}),
        "events_in": audit.events_in,
        "events_lost": audit.events_lost + found.unkept + found.gaps + found.late_without_rule,
        "outputs_wrong": audit.outputs_wrong + found.stale,
        "duplicates": audit.duplicates,
        "superseded": audit.superseded,
        "survived": sum(each.recovered is not None for each in outcome.faults),
        "recommendations": audit.recommendations,
        "dead_letters": audit.dead_letters,
        "dead_letters_missing": audit.dead_letters_missing,
        "late_without_rule": found.late_without_rule,
        "committed_ahead": found.committed_ahead,
        "repeats_of_another_model": found.repeats_of_another_model,
        "out_of_order": found.out_of_order,
        "aborted": found.aborted,
        "worker_incidents": sum(outcome.incidents.values()),
        "models": outcome.models,
        "seed": outcome.plan.seed,
        "seconds": round(outcome.seconds),
    }


def is_good(outcome: Outcome) -> bool:
    """Whether nothing was lost or wrong, every fault was survived, and no worker took too long to stop.

    Other incidents may be: a worker that was frozen is to end by itself.
    """
    survived = bool(outcome.faults) and all(each.recovered is not None for each in outcome.faults)
    return survived and not outcome.incidents.get(TOO_SLOWLY) and is_right(outcome.audit, outcome.verdict)


def incidents(outcome: Outcome) -> list[str]:
    """What was done for workers besides starting killed ones again."""
    return [f"{what} {count} times" for what, count in sorted(outcome.incidents.items())] or ["nothing"]


def rows(outcome: Outcome) -> Iterator[Row]:
    """By kind, in the order of KINDS."""
    by_kind = defaultdict(list)
    for each, wait in zip(outcome.faults, outcome.longest_waits, strict=True):
        by_kind[each.fault.kind].append((each.recovered, wait / 1000))
    for kind in KINDS:
        if kind in by_kind:
            times = [recovered for recovered, _ in by_kind[kind] if recovered is not None]
            longest = max(wait for _, wait in by_kind[kind])
            middle, worst = (median(times), max(times)) if times else (None, None)
            yield Row(kind, len(by_kind[kind]), len(times), middle, worst, longest)


def table(outcome: Outcome) -> Table:
    """For a terminal."""
    made = Table("fault", "times", "survived", "median recovery, s", "worst recovery, s", "longest wait, s", box=None)
    for row in rows(outcome):
        made.add_row(*_cells(row))
    return made


def markdown(outcome: Outcome, command: str) -> str:
    """The report that is kept."""
    told = summary(outcome)
    share = 100 * told["duplicates"] / max(1, told["recommendations"])
    lines = [
        "# Chaos report",
        "",
        f"Made by `{command}`; docs/guarantees.md says what it shows. {told['faults']} faults of {told['kinds']} kinds in "
        f"{outcome.seconds / 60:.0f} minutes, seed {told['seed']}, {told['models']} bundles, workers {outcome.plan.layout}, three "
        f"brokers, {outcome.plan.rate:g} records a second and bursts, all on one machine.",
        "",
        "| counted from the brokers' logs | |",
        "| --- | --- |",
        *(f"| {name.replace('_', ' ')} | {count:,} |" for name, count in told.items()),
        f"| duplicates among the recommendations | {share:.1f} % |",
        "",
        "Recovery: seconds from the fault until every role had done all that lay in the topics when the fault was over. Longest",
        "wait: from an event's being written to its recommendation's being sent, for events between this fault and the next.",
        "",
        "| fault | what | times | survived | median recovery, s | worst recovery, s | longest wait, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line([row.kind, _what(row.kind), *_cells(row)[1:]]) for row in rows(outcome)),
        "",
        "What the load held:",
        "",
        "| sent | records |",
        "| --- | --- |",
        *(f"| {what} | {count:,} |" for what, count in sorted(outcome.sent.items(), key=lambda pair: -pair[1])),
        "",
        "What was done for workers besides starting killed ones again:",
        *(f"{each}." for each in incidents(outcome)),
        "",
    ]
    return "\n".join(lines)


def _what(kind: str) -> str:
    return (KINDS[kind].__doc__ or "").strip().removesuffix(".")


def _cells(row: Row) -> list[str]:
    recoveries = ["–" if seconds is None else f"{seconds:.1f}" for seconds in (row.median_recovery, row.worst_recovery)]
    return [row.kind, str(row.times), str(row.survived), *recoveries, f"{row.longest_wait:.1f}"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
