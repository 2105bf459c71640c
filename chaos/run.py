"""One chaos run: a deployment, its load, the faults of a seed one after the other, and the verdict."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from chaos import bundles, verdict
from chaos.deployment import Deployment, await_ready
from chaos.faults import KINDS, MOVES_OFFSETS
from chaos.fleet import Fleet
from chaos.ledger import Ledger
from chaos.load import HOUR, Clock, Load, Sending, check, sendings
from chaos.log_faults import ends_of
from chaos.members import Members
from chaos.schedule import Fault, schedule
from chaos.strays import Happened, Stray, evidence, line
from chaos.verdict import Known, Verdict
from chaos.watch import Watch
from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.admin.topics import apply
from streamrec.build import DEMO_BUNDLE, build_recommender
from streamrec.core.errors import UserError
from streamrec.demo.live import send_items
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.localkafka import LocalKafka
from streamrec.replay.audit import Audit
from streamrec.settings import Settings, load_settings

NODES = 3
PREFIX = "chaos-"
BEHIND = 24 * HOUR  # The clock of the load's events starts so far behind the wall clock, to have room to run faster.
STRAYS = "out-of-order.json"
SAID = 5  # of them, in lines

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
        deployment, members = _start(plan, folder, running, say)
        watch, ledger = deployment.watch, deployment.ledger
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
        members.stop()
        say("reading all topics")
        ledger.keep(read_topics(deployment.settings, list(ledger.partitions)), ends_of(deployment, list(ledger.partitions)))
    say(f"recomputing {len(ledger.kept)} records")
    outcome, found = _judge(plan, deployment, faults, time.monotonic() - began)
    if found:
        happened = [_happened(each) for each in faults]
        told = [evidence(each, happened, members.seen) for each in found]
        (folder / STRAYS).write_bytes(msgspec.json.format(msgspec.json.encode(told)))
        for each in told[:SAID]:
            say(line(each))
        say(f"{len(told)} recommendations came after a later one of their user: {folder / STRAYS}")
    return outcome


def _start(plan: Plan, folder: Path, running: ExitStack, say: Say) -> tuple[Deployment, Members]:
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
    ledger, members = Ledger(settings), Members(settings)
    watch = Watch(settings, ledger)
    for looking in (watch, members):
        looking.start()
        running.callback(looking.stop)
    clock = Clock(round(time.time() * 1000) - BEHIND, plan.rate, latest=lambda: time.time() * 1000)

    def records(seed: int) -> Iterator[Sending]:
        return sendings(seed, dataset, plan.users, _partitions(settings), clock)

    load = Load(records(plan.seed), settings, plan.rate, ledger)
    say(f"starting {len(fleet.baseline)} workers: {', '.join(fleet.baseline)}")
    fleet.want(*fleet.baseline)
    if not await_ready(fleet):
        raise UserError(f"the workers were not ready in time: {fleet.not_ready()}")
    load.start()
    running.callback(load.stop)
    nodes, items = tuple(range(1, NODES + 1)), tuple(dataset.items)
    return Deployment(kafka, nodes, settings, fleet, load, made, ledger, watch, clock, records, items), members


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
        watch.is_judging = fault.kind not in MOVES_OFFSETS
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
            watch.is_judging = True
            yield Survived(fault, at, lasted, seconds)


def _happened(survived: Survived) -> Happened:
    fault, at, lasted, recovered = survived
    over = None if recovered is None else round((at + recovered) * 1000)
    return Happened(fault.number, fault.kind, round(at * 1000), round((at + lasted) * 1000), over)


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


def _judge(plan: Plan, deployment: Deployment, faults: list[Survived], seconds: float) -> tuple[Outcome, list[Stray]]:
    settings, ledger = deployment.settings, deployment.ledger
    served = [build_recommender(settings.model_copy(update={"bundle": bundle})) for bundle in deployment.bundles.values()]
    partitions = _partitions(settings)
    known = Known(ledger.confirmed, ledger.valid, ledger.transactions, ledger.ends, ledger.lives, partitions)
    records = verdict.visible(ledger.kept, known)
    waited = verdict.waits(records)
    counts, found = verdict.judge(records, deployment.watch.samples, known)
    outcome = Outcome(
        plan=plan,
        faults=faults,
        audit=verdict.held_against_replay(records, served, partitions),
        verdict=counts,
        longest_waits=verdict.longest_waits(waited, [round(each.at * 1000) for each in faults]),
        sent=dict(deployment.load.sent),
        incidents=dict(deployment.fleet.counts),
        seconds=seconds,
        models=len(served),
    )
    return outcome, found


def _partitions(settings: Settings) -> int:
    return load_contracts(settings.topics_dir)["sessions"].partitions


def new_folder() -> Path:
    """Where a run's logs and data go."""
    return Path(tempfile.mkdtemp(prefix="streamrec-chaos-"))
