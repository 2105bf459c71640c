"""The verb demo: the main job, before one's eyes."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from streamrec.cli.output import people, print_json, progress_bar
from streamrec.settings import load_settings


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A data set to take events from; a week of classic rock radio where not given.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle trained on that data; the demo's own where not given.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop so long after the first event; else when all are sent.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 20,
    broker: Annotated[
        str | None,
        typer.Option(
            help="A Kafka (host:port[,…]) to use instead of an own one. Made-up listens go there: set STREAMREC_TOPIC_PREFIX."
        ),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web/--no-web", help="The live page. There is none yet; the option is kept for scripts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but one JSON object at the end.")] = False,
) -> None:
    """Real listens through a real Kafka and a worker; recommendations with their reasons stream past. Ctrl-C ends it."""
    settings = load_settings(broker=broker, bundle=bundle)
    signal.signal(signal.SIGTERM, _as_interrupt)
    signal.signal(signal.SIGHUP, _as_interrupt)
    from streamrec.demo.run import Demo

    out = Console(highlight=False, soft_wrap=True)
    with progress_bar() as progress:
        bar = progress.add_task("fetching Kafka (bytes)", total=None, visible=False)
        run = Demo(
            settings,
            data,
            own_kafka=broker is None,
            say=lambda text: people.print(f"[dim]streamrec:[/] {escape(text)}"),
            show=(lambda line: None) if as_json else out.print,
            fetching=lambda done, total, what: progress.update(bar, completed=done, total=total, visible=done < total),
        )
        summary = run.run(seconds, rate)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _print_summary(summary: dict[str, Any]) -> None:
    latency = summary["event_to_recommendation_ms"]
    people.print(
        f"[bold]{summary['events_in']} events in, {summary['recommendations_out']} recommendations and "
        f"{summary['explanations_out']} explanations out, {summary['dead_letters']} dead letters, "
        f"{summary['superseded']} superseded by a newer event of the same user, {summary['unanswered']} unanswered[/]"
    )
    if latency["p50"] is not None:
        people.print(f"event to recommendation: p50 {latency['p50']} ms, p95 {latency['p95']} ms, p99 {latency['p99']} ms")
