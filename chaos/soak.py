"""Load for long: ``make soak`` (half of what is possible, for an hour) and ``--overload`` (three times it, for five minutes).

A worker's memory and file handles are read from the system while it runs (Linux), and at the end every output is recomputed.
What is possible is measured first: a worker drains a flood.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer
from rich.table import Table

from chaos.command import Report, run_command, say
from chaos.deployment import await_ready
from chaos.fleet import Fleet
from chaos.ledger import Ledger
from chaos.load import Clock, Load, check, sendings
from chaos.run import PREFIX
from chaos.verdict import Known, Verdict, is_right, judge
from chaos.watch import Watch
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.admin.topics import apply
from streamrec.build import build_recommender
from streamrec.cli.output import people, print_json
from streamrec.core.errors import UserError
from streamrec.demo.live import send_items
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.localkafka import LocalKafka
from streamrec.replay.audit import Audit, audit
from streamrec.settings import load_settings

WORKER = "all-1"
FLOOD = 3000
USERS = 500  # few enough for their histories to be full after some minutes: what grows then should not
CLOCK = 1000.0  # events a second by their own clock; with far fewer than are sent they would come from the future
EVERY = 5.0
ROWS = 20


class Reading(NamedTuple):
    """The worker at a moment."""

    seconds: float
    resident_mb: float
    handles: int
    lag: int


class Soaked(NamedTuple):
    """What a soak found. Growth: the last quarter's mean over the second's, in percent."""

    capacity: int  # events a second
    rate: int
    minutes: float
    drained_seconds: float | None  # from the end of the load
    memory_growth: float
    handles_growth: float
    readings: list[Reading]
    audit: Audit
    verdict: Verdict
    incidents: dict[str, int]  # by what the fleet had to do


def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long the load lasts.")] = 60,
    overload: Annotated[bool, typer.Option("--overload", help="Three times the capacity instead of half of it.")] = False,
    seed: Annotated[int, typer.Option(help="Of the load.")] = 1,
    report: Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but one JSON object.")] = False,
) -> None:
    """One worker under a steady load: memory and file handles, and whether anything was lost or is wrong. Exit code 1 if so."""
    found = _run(minutes, 3.0 if overload else 0.5, seed)
    if report is not None:
        report.write_text(_markdown(found, overload), "utf-8")
    result = {
        "capacity": found.capacity,
        "rate": found.rate,
        "minutes": found.minutes,
        "memory_growth_percent": round(found.memory_growth, 1),
        "handles_growth_percent": round(found.handles_growth, 1),
        "drained_seconds": None if found.drained_seconds is None else round(found.drained_seconds, 1),
        **found.audit._asdict(),
        **found.verdict._asdict(),
        "worker_incidents": sum(found.incidents.values()),
    }
    people.print(_table(found))
    if as_json:
        print_json(result)
    else:
        people.print("\n".join(f"{name:>24} {value}" for name, value in result.items()))
    good = found.drained_seconds is not None and not found.incidents and is_right(found.audit, found.verdict)
    raise typer.Exit(0 if good else 1)


def _run(minutes: float, share: float, seed: int) -> Soaked:
    with ExitStack() as running:
        people.print("starting a broker and a worker")
        kafka = running.enter_context(LocalKafka())
        settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix=PREFIX)
        apply(settings)
        dataset = read_dataset(DATA)
        send_items(dataset, settings)
        fleet = Fleet(settings, Path(running.enter_context(TemporaryDirectory())), "together", ("streamrec",), say)
        running.callback(fleet.close)
        ledger = Ledger(settings)
        watch = Watch(settings, ledger)
        watch.start()
        running.callback(watch.stop)
        fleet.want(WORKER)
        if not await_ready(fleet):
            raise UserError(f"the worker was not ready in time: {fleet.not_ready()}")
        pid = fleet.pid(WORKER)
        partitions = load_contracts()["clicks"].partitions
        records = sendings(seed, dataset, USERS, partitions, Clock(time.time_ns() // 1_000_000, CLOCK))
        load = Load(records, settings, 10, ledger)
        load.burst(FLOOD)
        load.start()
        running.callback(load.stop)
        began = time.monotonic()
        while load.bursting:
            check(load)
            time.sleep(0.1)
        drained = watch.wait_drained(300)
        if drained is None:
            raise UserError(f"the worker did not drain {FLOOD} events within 300 s; is the machine busy?")
        capacity = round(FLOOD / (time.monotonic() - began))
        load.rate = share * capacity
        people.print(f"it does {capacity} events a second; {load.rate:.0f} a second for {minutes:g} minutes")
        readings = list(_readings(fleet, watch, pid, minutes))
        load.rate = 1
        people.print("the load is over; waiting until all is done")
        drained = watch.wait_drained(1800)
        load.stop()
        check(load)
        watch.wait_drained(60)
        readings.append(_read(fleet, watch, pid, readings[-1].seconds + (drained or 0)))
        fleet.close()
        kept = list(read_topics(settings, list(load_contracts())))
    people.print(f"recomputing {len(kept)} records")
    return Soaked(
        capacity=capacity,
        rate=round(share * capacity),
        minutes=minutes,
        drained_seconds=drained,
        memory_growth=_growth([each.resident_mb for each in readings]),
        handles_growth=_growth([float(each.handles) for each in readings]),
        readings=readings,
        audit=audit(kept, build_recommender(settings), partitions, whole=True),
        verdict=judge(kept, watch.samples, Known(ledger.confirmed, ledger.valid))[0],
        incidents=dict(fleet.counts),
    )


def _readings(fleet: Fleet, watch: Watch, pid: int | None, minutes: float) -> list[Reading]:
    began = time.monotonic()
    made = []
    while time.monotonic() - began < 60 * minutes:
        time.sleep(EVERY)
        made.append(_read(fleet, watch, pid, time.monotonic() - began))
    return made


def _read(fleet: Fleet, watch: Watch, pid: int | None, seconds: float) -> Reading:
    if pid is None or fleet.pid(WORKER) != pid:  # its successor starts small
        raise UserError(f"the worker ended within {seconds / 60:.1f} minutes: {fleet.last_words(WORKER)}")
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return Reading(seconds, resident / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), sum(watch.lag().values()))


def _growth(values: list[float]) -> float:
    quarter = max(1, len(values) // 4)
    second, last = values[quarter : 2 * quarter] or values, values[-quarter:]
    return 100 * (sum(last) / len(last) / (sum(second) / len(second)) - 1)


def _table(found: Soaked) -> Table:
    made = Table("minutes", "resident MB", "file handles", "records to do", box=None)
    for row in _cells(found):
        made.add_row(*row)
    return made


def _cells(found: Soaked) -> list[tuple[str, ...]]:
    step = max(1, len(found.readings) // ROWS)
    chosen = [*found.readings[:-1:step], found.readings[-1]]
    return [(f"{each.seconds / 60:.1f}", f"{each.resident_mb:.0f}", str(each.handles), f"{each.lag:,}") for each in chosen]


def _markdown(found: Soaked, overload: bool) -> str:
    drained = "not all was done" if found.drained_seconds is None else f"all done {found.drained_seconds:.0f} s after its end"
    lines = [
        f"# {'Sustained overload' if overload else 'Soak'}",
        "",
        f"One worker with all roles, one broker and the load on one machine; capacity {found.capacity} events a second, load "
        f"{found.rate} a second for {found.minutes:g} minutes, {drained}. Second to last quarter: memory "
        f"{found.memory_growth:+.1f} %, file handles {found.handles_growth:+.1f} %. {found.audit.events_in:,} events in, "
        f"{found.audit.events_lost} lost, {found.verdict.unkept + found.verdict.gaps} not kept by the broker, "
        f"{found.audit.outputs_wrong} outputs wrong, {found.audit.superseded:,} superseded.",
        "",
        "| minutes | resident MB | file handles | records to do |",
        "| --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for row in _cells(found)),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(soak)
