"""All verbs, put together."""

import typer

from streamrec import __version__
from streamrec.cli import admin, stream
from streamrec.cli.deadletters import dead_letters
from streamrec.cli.demo import demo
from streamrec.cli.model import evaluate, train

app = typer.Typer(
    name="streamrec",
    help="Kafka events in, recommendations and explanations out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamrec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit."),
) -> None:
    """Kafka events in, recommendations and explanations out."""


for verb in (demo, train, evaluate, stream.replay, stream.worker, stream.produce, stream.tail):
    app.command()(verb)
app.command()(admin.erase)
app.command("settings")(admin.show_settings)
app.add_typer(admin.topics)
app.add_typer(dead_letters)
app.add_typer(admin.kafka)
