"""How long the users of a surviving worker wait while another one dies: ``python -m chaos.stall --sessions 10000``.

Two processes do the sessions role, one is killed (SIGKILL) and not started again. Waits are read from the brokers' logs: from an
event's being written to its recommendation's. Whose users they are goes by who had the partition before.
"""

import asyncio
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from msgspec.structs import replace

from benchmarks.recovery import write_sessions
from chaos.command import run_command, say
from chaos.deployment import await_ready
from chaos.fleet import Fleet
from chaos.ledger import Ledger
from chaos.load import Load, Sending, check
from chaos.run import PREFIX
from chaos.verdict import waits
from chaos.watch import Watch
from streamrec.admin.dump import read_topics
from streamrec.admin.topics import apply
from streamrec.cli.output import people, print_json
from streamrec.core.errors import UserError
from streamrec.core.wire import EVENT_TYPES, encode
from streamrec.demo.live import TOPIC_OF, send_items
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import Dataset, read_dataset
from streamrec.eventlog.records import LogRecord
from streamrec.localkafka import LocalKafka
from streamrec.settings import load_settings

WARM_SECONDS, AFTER_SECONDS = 15, 45
GROUP = f"{PREFIX}streamrec-sessions"


def stall(
    sessions: Annotated[int, typer.Option(min=1, help="Users that have a session before the worker dies.")] = 10_000,
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = 40,
    nodes: Annotated[int, typer.Option(min=1, help="Brokers.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but one JSON object.")] = False,
) -> None:
    """The longest wait of users while a worker dies, of the survivor's and of the dead one's."""
    with ExitStack() as running:
        people.print("starting brokers and workers")
        kafka = running.enter_context(LocalKafka(nodes))
        settings = load_settings(broker=kafka.bootstrap_servers, topic_prefix=PREFIX)
        apply(settings)
        dataset = read_dataset(DATA)
        send_items(dataset, settings)
        people.print(f"filling {sessions} sessions")
        asyncio.run(write_sessions(kafka.bootstrap_servers, settings.topic_prefix + "sessions", sessions))
        _pass_over(settings.brokers, settings.topic_prefix + "sessions", f"{PREFIX}streamrec-recommend")
        filled = datetime.now(UTC)
        fleet = Fleet(settings, Path(running.enter_context(TemporaryDirectory())), "apart", ("streamrec",), say)
        running.callback(fleet.close)
        ledger = Ledger(settings)
        watch = Watch(settings, ledger)
        watch.start()
        running.callback(watch.stop)
        fleet.want(*fleet.baseline)
        if not await_ready(fleet):
            raise UserError(f"the workers were not ready in time: {fleet.not_ready()}")
        load = Load(_events(dataset, sessions), settings, rate, ledger)
        running.callback(load.stop)
        load.start()
        time.sleep(WARM_SECONDS)
        before = _assignments(settings.brokers)
        people.print("SIGKILL to one of two workers with sessions")
        fleet.leave("sessions-2")
        died = time.time()
        fleet.kill("sessions-2")
        time.sleep(AFTER_SECONDS)
        after = _assignments(settings.brokers)
        load.stop()
        check(load)
        if watch.wait_drained(120) is None:
            raise UserError(f"the workers did not recover: after 120 s there is still to do {watch.lag()}")
        records = read_topics(settings, ("clicks", "listens", "sessions", "recommendations"), start=filled)
    result = {"sessions": sessions, **figures(records, round(died * 1000), survivors(before, after))}
    if as_json:
        print_json(result)
    else:
        people.print("\n".join(f"{name:>32} {value}" for name, value in result.items()))


def _events(dataset: Dataset, users: int) -> Iterator[Sending]:
    """Events of any of the users."""
    random = Random(1)
    now = time.time_ns() // 1_000_000
    for number in count():
        event = replace(
            dataset.event(number % len(dataset)),
            event_id=f"stall-{number}",
            user_id=f"user-{random.randrange(users):07}",
            occurred_at=now + number,
        )
        yield Sending(TOPIC_OF[event.event_type], event.user_id.encode(), encode(event), "event")


def _pass_over(brokers: list[str], topic: str, group: str) -> None:
    """Commits the topic's end for the group: what is there is not asked for again."""
    consumer = KafkaConsumer(bootstrap_servers=brokers, group_id=group, enable_auto_commit=False)
    try:
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.commit({place: OffsetAndMetadata(end, "", -1) for place, end in consumer.end_offsets(places).items()})
    finally:
        consumer.close()


def _assignments(brokers: list[str]) -> Mapping[str, set[int]]:
    """The partitions of each member of the sessions group."""
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    try:
        members: list[dict[str, Any]] = admin.describe_groups([GROUP])[GROUP]["members"]
        return {
            member["member_id"]: {
                partition for topic in member["member_assignment"]["assigned_partitions"] for partition in topic["partitions"]
            }
            for member in members
        }
    finally:
        admin.close()


def survivors(before: Mapping[str, set[int]], after: Mapping[str, set[int]]) -> set[int]:
    """The partitions that a member had before who is there afterwards.

    Raises:
        UserError: there are none, or nobody else had any: nothing was measured.
    """
    found = {partition for member in before.keys() & after.keys() for partition in before[member]}
    if not found or found == set().union(*before.values()):
        raise UserError(
            f"one of two workers was to survive, but {len(before.keys() & after.keys())} of {len(before)} did; start again"
        )
    return found


def figures(records: Sequence[LogRecord], died: int, survivors: set[int]) -> dict[str, int]:
    """Milliseconds, for events written from the death on, and just before it for comparison.

    Raises:
        UserError: an event was never answered: no figure would say how long that one's user waits.
    """
    waited = waits(records)
    events = {record.value for record in records if record.topic in EVENT_TYPES}  # a producer's retry is the same event again
    if len(waited) < len(events):
        raise UserError(f"{len(events) - len(waited)} of {len(events)} events were never answered")
    after = [each for each in waited if each.written >= died - 1000]
    before = [each.waited for each in waited if died - 10_000 <= each.written < died - 1000]
    return {
        "longest_wait_before_ms": max(before, default=0),
        "longest_wait_survivors_ms": max((each.waited for each in after if each.partition in survivors), default=0),
        "longest_wait_orphans_ms": max((each.waited for each in after if each.partition not in survivors), default=0),
        "partitions_of_survivors": len(survivors),
        "events_after": len(after),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command(stall)
