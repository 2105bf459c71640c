"""The verbs for operators: topics, kafka, settings."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from streamrec.cli.output import people, print_json, progress_bar
from streamrec.cli.stream import Broker
from streamrec.settings import PREFIX, Settings, load_settings

topics = typer.Typer(name="topics", help="The topics on the broker, as the contracts in topics/ say.", no_args_is_help=True)
kafka = typer.Typer(name="kafka", help="A real Apache Kafka on this machine, without Docker.", no_args_is_help=True)


@topics.command("apply")
def apply_topics(
    broker: Broker = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Replication factor; the broker's default where not given.")] = None,
) -> None:
    """Create what is missing and set what differs. Never deletes, never changes a partition count."""
    from streamrec.admin.topics import apply

    for action in apply(load_settings(broker=broker), replicas=replicas):
        print(action)


@topics.command("check")
def check_topics(
    broker: Broker = None, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Say how the broker differs from the contracts; exit code 1 where it does."""
    from streamrec.admin.topics import check

    differences = check(load_settings(broker=broker))
    if as_json:
        print_json({"differences": [str(each) for each in differences]})
    else:
        for each in differences:
            print(each)
        people.print(
            "the topics are as the contracts say"
            if not differences
            else f"{len(differences)} differences; `streamrec topics apply`"
        )
    if differences:
        raise typer.Exit(1)


@kafka.callback()
def _kafka() -> None:
    """A real Apache Kafka on this machine, without Docker."""


@kafka.command("up")
def kafka_up(
    nodes: Annotated[int, typer.Option(min=1, max=9, help="How many brokers.")] = 1,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of the first broker; a free one where not given.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Keeps the data here for the next time.")] = None,
) -> None:
    """Start a real Apache Kafka and keep it until Ctrl-C; its address is printed on stdout."""
    from streamrec.localkafka.up import up

    with progress_bar() as progress:
        bar = progress.add_task("fetching Kafka (bytes)", total=None, visible=False)
        up(
            nodes,
            port,
            data_dir,
            say=lambda address: print(address, flush=True),
            progress=lambda done, total, what: progress.update(bar, completed=done, total=total, visible=done < total),
        )


def erase(
    user: Annotated[str, typer.Argument(help="The user's id, exactly.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the worker's tombstones.")] = 30,
    broker: Broker = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Erase a user: session, recommendations and explanations. Exit code 1 where no worker has done it yet.

    What the user sent stays on clicks, listens and dead-letters until their retention deletes it: Kafka removes no single record
    there, so see to it that it is short enough. What is compacted goes within the topics' max.compaction.lag.ms.
    """
    from streamrec.admin.erase import erase as ask

    settings = load_settings(broker=broker)
    if not yes:
        typer.confirm(f"Erase user {user!r} on {settings.broker}, for good?", abort=True, err=True)
    asked = ask(user, settings, wait)
    if as_json:
        print_json({"user": user, **asked._asdict()})
    else:
        left = ", ".join(topic for topic, done in asked.done.items() if not done)
        what = f"no tombstone yet on {left}: is a worker running?" if left else "tombstones stand on every topic of the user"
        people.print(f"the erasure stands on clicks, {asked.partition}@{asked.offset}; {what}", markup=False)
    if not all(asked.done.values()):
        raise typer.Exit(1)


def show_settings() -> None:
    """Show every setting: its variable, its value here, what it means."""
    values = load_settings()
    table = Table(title="settings: environment, or the TOML file that STREAMREC_SETTINGS names")
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning")
    for name, field in Settings.model_fields.items():
        table.add_row(PREFIX + name.upper(), str(getattr(values, name)), field.description or "")
    people.print(table)
