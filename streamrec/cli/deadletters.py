"""The verb ``dead-letters``: what could not be read, and what to do about it."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamrec.cli.output import PIPE_WIDTH, people, print_json, progress_bar
from streamrec.cli.stream import Broker
from streamrec.core.errors import UserError
from streamrec.settings import load_settings

dead_letters = typer.Typer(
    name="dead-letters",
    help="Records that broke their topic's contract: look at them, send them back once mended, delete them.",
    no_args_is_help=True,
)

Reason = Annotated[str | None, typer.Option(help="Only with this reason: unreadable, invalid, unknown_version, too_large, …")]
Topic = Annotated[str | None, typer.Option(help="Only from this topic (without the deployment's prefix).")]
Since = Annotated[str | None, typer.Option(help="Only those that died since: 30m, 2h, 7d, or 2026-11-25T17:00 (UTC).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dead_letters.command("list")
def list_letters(
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = 100,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Show them, newest last: place, reason, where they came from, size, time."""
    from streamrec.admin.deadletters import Filter, letters

    found = letters(load_settings(broker=broker), Filter(reason, topic, (), _time(since)))
    if as_json:
        print_json({"total": len(found), "dead_letters": [letter.summary() for letter in found[-limit:]]})
        return
    table = Table("place", "reason", "from", "bytes", "died at (UTC)", "what is wrong")
    for letter in found[-limit:]:
        at = letter.origin.at
        died = datetime.fromtimestamp(letter.record.timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        again = f" (came back from {letter.origin.replayed})" if letter.origin.replayed else ""
        cells = (letter.place, letter.origin.reason + again, f"{at.topic} {at.partition}@{at.offset}")
        table.add_row(
            *(escape(_plain(cell)) for cell in (*cells, f"{len(letter.record.value or b''):,}", died, letter.origin.detail))
        )
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
    people.print(f"{len(found)} dead letters" + (f", the newest {limit} shown" if len(found) > limit else ""))


@dead_letters.command("show")
def show_letter(
    place: Annotated[str, typer.Argument(help="PARTITION@OFFSET, as `list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the value's bytes to stdout, and nothing else.")] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Show one whole: where from, why, its headers, key and bytes."""
    from streamrec.admin.deadletters import Filter, Place, described, hexdump, letters, readable

    wanted = Place.of(place)
    found = letters(load_settings(broker=broker), Filter(places=(wanted,)))
    if not found:
        raise UserError(f"no dead letter at {wanted}; `streamrec dead-letters list` shows those that there are")
    letter = found[0]
    value = letter.record.value
    if raw:
        sys.stdout.buffer.write(value or b"")
    elif as_json:
        print_json(described(letter))
    else:
        for name, what in described(letter).items():
            if name not in ("value", "headers", "key"):
                print(f"{name}: {_plain(what)}")
        print(f"key: {letter.record.key!r}")
        for name, header in letter.origin.headers:
            print(f"header {_plain(name)}: {header!r}")
        if (decoded := readable(letter)) is not None:
            print(decoded)
        print("value: null" if value is None else "\n".join(hexdump(value)) or "value: empty")


@dead_letters.command("replay")
def replay_letters(
    reason: Reason = None,
    topic: Topic = None,
    at: Annotated[list[str] | None, typer.Option(help="Only the one at PARTITION@OFFSET; may be given more than once.")] = None,
    since: Since = None,
    again: Annotated[bool, typer.Option(help="Also those that were sent back before and have come round.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be sent.")] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Send the original bytes, key and headers back to the topic and partition that they came from."""
    from streamrec.admin.deadletters import Filter, Place, letters, replay

    settings = load_settings(broker=broker)
    chosen = letters(settings, Filter(reason, topic, tuple(map(Place.of, at or ())), _time(since)))
    with progress_bar() as progress:
        bar = progress.add_task("replaying dead letters", total=len(chosen))
        done = replay(chosen, settings, again=again, dry_run=dry_run, progress=lambda count: progress.update(bar, completed=count))
    if as_json:
        print_json(done._asdict())
        return
    people.print(
        f"{done.sent} {'would be sent' if dry_run else 'sent'} back; left: {done.looped} came back before (see --again), "
        f"{done.cut} are not kept whole, {done.unknown} are of no input topic (what is made from inputs is made anew)"
    )


@dead_letters.command("purge")
def purge_letters(
    up_to: Annotated[list[str] | None, typer.Argument(help="PARTITION@OFFSET: everything there up to this one, included.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that there are now, of every partition.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Delete them for good, up to an offset."""
    from streamrec.admin.deadletters import Place, purge

    if bool(up_to) == everything:
        raise UserError("say what to delete: PARTITION@OFFSET (one or more), or --all")
    ends: dict[int, int] = {}
    for place in map(Place.of, up_to or ()):
        ends[place.partition] = max(place.offset, ends.get(place.partition, 0))
    settings = load_settings(broker=broker)
    if not yes:
        what = "all dead letters" if everything else "the dead letters up to " + ", ".join(f"{n}@{end}" for n, end in ends.items())
        typer.confirm(f"Delete {what} on {settings.broker}, for good?", abort=True, err=True)
    deleted = purge(settings, None if everything else ends)
    if as_json:
        print_json({"deleted": sum(deleted.values()), "partitions": {str(n): count for n, count in sorted(deleted.items())}})
    else:
        people.print(f"{sum(deleted.values())} dead letters deleted")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--since {text!r}: say 30m, 2h, 7d, or a time such as 2026-11-25T17:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _plain(what: object) -> str:
    """For a terminal: what came from outside may hold control characters."""
    return "".join(char if char.isprintable() else "�" for char in str(what))
