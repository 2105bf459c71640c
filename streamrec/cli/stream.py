"""The verbs about the stream: worker, produce, tail, replay."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streamrec.cli.output import people, print_json, progress_bar, say_notes, set_up_logging
from streamrec.core.errors import UserError
from streamrec.settings import load_settings

Broker = Annotated[str | None, typer.Option(help="Bootstrap servers, host:port[,…]; else STREAMREC_BROKER.")]
BundleOption = Annotated[Path | None, typer.Option(help="Folder of a trained bundle; else STREAMREC_BUNDLE, else the demo's.")]


class Role(StrEnum):
    """The tiers of the worker, each a consumer group of its own."""

    SESSIONS = "sessions"
    RECOMMEND = "recommend"
    EXPLAIN = "explain"
    ALL = "all"


def worker(
    role: Annotated[Role, typer.Option(help="What this process does; `all` is everything in one process.")] = Role.ALL,
    broker: Broker = None,
    bundle: BundleOption = None,
) -> None:
    """Consume events, emit recommendations and explanations, until SIGTERM or Ctrl-C."""
    settings = load_settings(broker=broker, bundle=bundle)
    set_up_logging(settings)
    from streamrec.worker.main import ROLES, run_worker
    from streamrec.worker.run import WorkerFailed

    try:
        run_worker(settings, ROLES if role is Role.ALL else (role.value,))
    except WorkerFailed as failure:
        people.print(f"streamrec: the worker failed: {failure}; nothing was acknowledged over it, start it again", markup=False)
        raise typer.Exit(1) from None


def produce(
    data: Annotated[Path, typer.Argument(help="A data set: a folder with events.* and items.*")],
    speed: Annotated[float | None, typer.Option(min=0.001, help="Replay at this multiple of the recorded time.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Send this many events per second.")] = None,
    broker: Broker = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Publish a data set's items and events; as fast as the broker takes them unless --speed or --rate says otherwise."""
    from streamrec.admin.produce import produce as send
    from streamrec.eventlog.dataset import read_dataset

    if speed and rate:
        raise UserError("--speed and --rate exclude each other; give one")
    settings = load_settings(broker=broker)
    dataset = read_dataset(data)
    say_notes(dataset.notes)
    with progress_bar() as progress:
        bar = progress.add_task(f"producing {data.name}", total=None)
        try:
            sent = send(
                dataset,
                settings,
                speed=speed,
                rate=rate,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        except KeyboardInterrupt:
            done = progress.tasks[bar]
            people.print(
                f"stopped after {done.completed:.0f} of {done.total or 0:.0f} records; sent again they are told by their ids"
            )
            raise typer.Exit(130) from None
    if as_json:
        print_json(sent._asdict())
    else:
        people.print(f"sent {sent.items} items and {sent.events} events; {sent.impressions} impressions left out")


def tail(
    topic: Annotated[str, typer.Argument(help="clicks, listens, items, sessions, recommendations, explanations or dead-letters")],
    user: Annotated[str | None, typer.Option(help="Only this user's records.")] = None,
    from_beginning: Annotated[bool, typer.Option(help="Everything that the topic holds, not only what is new.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
    broker: Broker = None,
) -> None:
    """Print a topic's records as JSON lines, as they come, until Ctrl-C."""
    from streamrec.admin.tail import tail as follow
    from streamrec.eventlog.records import as_json

    settings = load_settings(broker=broker)
    try:
        for record in follow(topic, settings, user=user, from_beginning=from_beginning, seconds=seconds):
            print(json.dumps(as_json(record), ensure_ascii=False), flush=True)
    except KeyboardInterrupt:
        pass


def replay(
    source: Annotated[str, typer.Argument(help="A data set's folder, a log file (.jsonl, .jsonl.gz), or `topics` on the broker.")],
    out: Annotated[Path, typer.Option(help="The log file to write: sessions, recommendations, explanations, dead letters.")],
    bundle: BundleOption = None,
    broker: Broker = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compute what the worker would emit for a log: the same records, byte for byte."""
    settings = load_settings(broker=broker, bundle=bundle)
    from streamrec.replay.run import replay_to_file

    with progress_bar() as progress:
        bar = progress.add_task("replaying", total=None)
        counts = replay_to_file(
            source,
            out,
            settings,
            progress=lambda done: progress.update(bar, completed=done),
            say_notes=say_notes,
        )
    if as_json:
        print_json(counts)
    else:
        people.print(", ".join(f"{count} {what}" for what, count in counts.items()) + f"; written to {out}")
