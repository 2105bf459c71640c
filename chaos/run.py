"""One chaos run: a deployment, its load, the faults of a seed one after the other, and the verdict."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import NamedTuple

from chaos import bundles, verdict
from chaos.deployment import Deployment, await_ready
from chaos.faults import KINDS
from chaos.fleet import Fleet
from chaos.load import Load, check, sendings
from chaos.schedule import Fault, schedule
from chaos.verdict import Verdict
from chaos.watch import Watch
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.admin.topics import apply
from streamrec.build import DEMO_BUNDLE, build_recommender
from streamrec.core.errors import UserError
from streamrec.demo.live import send_items
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import LogRecord
from streamrec.localkafka import LocalKafka
from streamrec.replay.audit import Audit
from streamrec.settings import Settings, load_settings

NODES = 3
PREFIX = "chaos-"

Say = Callable[[str], None]


class Plan(NamedTuple):
    """What to run. ``entry`` runs a worker; see `chaos.worker`."""

    seed: int
    minutes: float
    most: int | None  # faults
    kinds: tuple[str, ...]
    layout: str
    rate: float
    users: int
    patience: float  # seconds in which a deployment must have recovered
    entry: tuple[str, ...]


class Survived(NamedTuple):
    """A fault and what followed."""

    fault: Fault
    at: float  # seconds since the epoch
    lasted: float  # seconds until what the fault did was undone
    recovered: float | None  # seconds from the fault until all that lay in the topics was done; None: not by itself in time


class Outcome(NamedTuple):
    """Everything that a report is made of."""

    plan: Plan
    faults: list[Survived]
    audit: Audit
    verdict: Verdict
    longest_waits: list[int]  # milliseconds from an event to its recommendation, for each fault
    sent: dict[str, int]  # by what was sent
    incidents: dict[str, int]  # by what the fleet had to do
    seconds: float
    models: int


def run(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Runs the plan; logs and the brokers' data go to ``folder``.

    Raises:
        UserError: something could not be started, or the time was too short for any fault.
    """
    began = time.monotonic()
    with ExitStack() as running:
        deployment, watch = _start(plan, folder, running, say)
        say(f"seed {plan.seed}, {plan.minutes:g} minutes, {plan.layout}, {plan.rate:g} records a second")
        faults = list(_hurt(plan, deployment, watch, say))
        if not faults:
            raise UserError(f"no fault came within {plan.minutes:g} minutes; give more --minutes")
        say("all faults done; the load stops, the workers end")
        deployment.load.stop()
        check(deployment.load)
        if watch.wait_drained(plan.patience) is None:
            say(f"not everything is done: {watch.lag()}")
        time.sleep(2 * deployment.settings.commit_interval_seconds)
        deployment.fleet.close()
        watch.stop()
        say("reading all topics")
        records = list(read_topics(deployment.settings, list(load_contracts(deployment.settings.topics_dir))))
    say(f"recomputing {len(records)} records")
    return _judge(plan, deployment, watch, records, faults, time.monotonic() - began)


def _start(plan: Plan, folder: Path, running: ExitStack, say: Say) -> tuple[Deployment, Watch]:
    say(f"starting {NODES} brokers")
    kafka = running.enter_context(LocalKafka(NODES, data_dir=folder / "brokers"))
    made = {
        "first": DEMO_BUNDLE,
        "second": bundles.other_scorer(DEMO_BUNDLE, folder / "second"),
        "failing": bundles.failing_model(DEMO_BUNDLE, folder / "failing"),
    }
    settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix=PREFIX, bundle=made["first"])
    apply(settings)
    dataset = read_dataset(DATA)
    send_items(dataset, settings)
    fleet = Fleet(settings, folder, plan.layout, plan.entry, say)
    running.callback(fleet.close)
    watch = Watch(settings)
    watch.start()
    running.callback(watch.stop)
    records = sendings(plan.seed, dataset, plan.users, _partitions(settings), time.time_ns() // 1_000_000, plan.rate)
    load = Load(records, settings, plan.rate)
    say(f"starting {len(fleet.baseline)} workers: {', '.join(fleet.baseline)}")
    fleet.want(*fleet.baseline)
    if not await_ready(fleet):
        raise UserError(f"the workers were not ready in time: {fleet.not_ready()}")
    load.start()
    running.callback(load.stop)
    return Deployment(kafka, tuple(range(1, NODES + 1)), settings, fleet, load, made), watch


def _hurt(plan: Plan, deployment: Deployment, watch: Watch, say: Say) -> Iterator[Survived]:
    end = time.monotonic() + 60 * plan.minutes
    time.sleep(3)
    for fault in takewhile(lambda each: plan.most is None or each.number <= plan.most, schedule(plan.seed, plan.kinds)):
        time.sleep(fault.quiet)
        if time.monotonic() > end:
            return
        check(deployment.load)
        at, began = time.time(), time.monotonic()
        say(f"fault {fault.number}: {fault.kind}")
        KINDS[fault.kind](deployment, Random(fault.seed))
        lasted = time.monotonic() - began
        recovered = began + lasted if _recovered(plan, deployment, watch) else None
        if recovered is None:
            yield Survived(fault, at, lasted, None)
            if not _rescued(plan, deployment, watch, fault, say):
                return
        else:
            seconds = time.monotonic() - began
            say(f"fault {fault.number}: {fault.kind} lasted {lasted:.1f} s, recovered after {seconds:.1f} s")
            yield Survived(fault, at, lasted, seconds)


def _recovered(plan: Plan, deployment: Deployment, watch: Watch) -> bool:
    """Whether the brokers are whole, the workers ready and the topics drained, all by themselves and in time."""
    end = time.monotonic() + plan.patience
    try:
        deployment.kafka.wait_ready(timeout=plan.patience)
    except UserError:
        return False
    return await_ready(deployment.fleet, plan.patience) and watch.wait_drained(max(1.0, end - time.monotonic())) is not None


def _rescued(plan: Plan, deployment: Deployment, watch: Watch, fault: Fault, say: Say) -> bool:
    """Kills every worker; whether their successors get on."""
    say(f"fault {fault.number}: {fault.kind} NOT SURVIVED: not ready {deployment.fleet.not_ready()}, still to do {watch.lag()}")
    deployment.fleet.kill(*deployment.fleet.wanted)
    if _recovered(plan, deployment, watch):
        return True
    say(f"not even new workers get on: not ready {deployment.fleet.not_ready()}, still to do {watch.lag()}; no more faults")
    return False


def _judge(
    plan: Plan, deployment: Deployment, watch: Watch, records: list[LogRecord], faults: list[Survived], seconds: float
) -> Outcome:
    settings = deployment.settings
    served = [build_recommender(settings.model_copy(update={"bundle": bundle})) for bundle in deployment.bundles.values()]
    waited = verdict.waits(records)
    return Outcome(
        plan=plan,
        faults=faults,
        audit=verdict.held_against_replay(records, served, _partitions(settings)),
        verdict=verdict.judge(records, watch.samples, deployment.load.confirmed),
        longest_waits=verdict.longest_waits(waited, [round(each.at * 1000) for each in faults]),
        sent=dict(deployment.load.sent),
        incidents=dict(deployment.fleet.counts),
        seconds=seconds,
        models=len(served),
    )


def _partitions(settings: Settings) -> int:
    return load_contracts(settings.topics_dir)["clicks"].partitions


def new_folder() -> Path:
    """Where a run's logs and data go."""
    return Path(tempfile.mkdtemp(prefix="streamrec-chaos-"))
