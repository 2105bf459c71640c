"""`streamrec replay`: from whatever the source is to a log file of what is emitted for it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from streamrec.admin.contracts import load_contracts
from streamrec.admin.dump import read_topics
from streamrec.build import build_recommender
from streamrec.core.errors import UserError
from streamrec.eventlog.dataset import read_dataset
from streamrec.eventlog.records import LogRecord, read_log, write_log
from streamrec.replay.engine import Replay
from streamrec.replay.order import Recorded, as_recorded
from streamrec.replay.sources import dataset_records
from streamrec.settings import Settings

SayNotes = Callable[[Iterable[str]], None]

INPUTS = ("items", "clicks", "listens", "sessions")


def replay_to_file(
    source: str,
    out: Path,
    settings: Settings,
    progress: Callable[[int], None],
    say_notes: SayNotes = lambda notes: None,
) -> dict[str, int]:
    """Replays a source and writes what the worker would emit; returns what became of the records, by outcome.

    Args:
        source: a data set's folder, a log file, or ``topics`` for those on the broker of the settings.
        progress: called with the number of records taken in so far.
        say_notes: called with the notes of a data set when it has been read.

    Raises:
        UserError: the source, the bundle or the broker cannot be read.
    """
    recommender = build_recommender(settings)
    partitions = load_contracts(settings.topics_dir)["sessions"].partitions
    recorded = _read(source, partitions, settings, say_notes)
    engine = Replay(recommender, partitions, settings.output_format, recorded.catalogue, recorded.initial)
    written = write_log(engine.run(_counted(recorded.inputs, progress)), out)
    return {**engine.counts, "written": written}


def _read(source: str, partitions: int, settings: Settings, say_notes: SayNotes) -> Recorded:
    if source == "topics":
        return as_recorded(read_topics(settings, INPUTS))
    path = Path(source)
    if path.is_dir():
        dataset = read_dataset(path)
        say_notes(dataset.notes)
        return Recorded(list(dataset_records(dataset, partitions)), {}, {})
    if path.is_file():
        return as_recorded(read_log(path))
    raise UserError(f"{source}: no such data set or log file; name one, or say `topics` to replay a broker's")


def _counted(records: Iterable[LogRecord], progress: Callable[[int], None]) -> Iterator[LogRecord]:
    for done, record in enumerate(records, start=1):
        yield record
        if done % 100 == 0:
            progress(done)
