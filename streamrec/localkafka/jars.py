"""The jars of Apache Kafka on this machine: fetched once, each checked against its sha256 in jars.lock at every start.

It does not know how they are run.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache as once
from importlib import resources
from pathlib import Path

from streamrec.core.errors import UserError
from streamrec.localkafka.download import Unreachable, by_jgo, by_maven
from streamrec.localkafka.lock import locked

VERSION = "4.4.0"

Progress = Callable[[int, int, str], None]
"""Called with the bytes fetched, the bytes to fetch, and the artifact that has just come."""


@dataclass(frozen=True)
class Pin:
    """One artifact: its coordinate (``group:artifact:version``) and what its file must be."""

    coordinate: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@once
def pins() -> tuple[Pin, ...]:
    """What jars.lock names."""
    text = resources.files(__package__).joinpath("jars.lock").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Pin(coordinate, sha256, int(size)) for sha256, size, coordinate in rows)


def default_cache() -> Path:
    """Where this user's jars lie: ``$XDG_CACHE_HOME/streamrec/kafka-4.4.0``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "streamrec" / f"kafka-{VERSION}"


def fetch(cache: Path, progress: Progress | None = None) -> tuple[Path, ...]:
    """The jars in ``cache``, all of them right; what is missing or damaged is fetched first.

    Raises:
        UserError: no network, or a repository that serves other bytes.
    """
    folder = cache / "jars"
    if any(not _right(folder / pin.file_name, pin) for pin in pins()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(cache):
                # Another process may have fetched them while this one waited.
                missing = [pin for pin in pins() if not _right(folder / pin.file_name, pin)]
                _fetch(missing, folder, progress or (lambda done, total, what: None))
        except PermissionError as error:
            raise UserError(f"cannot write Kafka's jars into {cache}: {error.strerror}; choose another cache") from None
    return tuple(folder / pin.file_name for pin in pins())


def _fetch(missing: list[Pin], folder: Path, progress: Progress) -> None:
    for left in folder.glob("part-*"):  # of a process that was killed: whoever holds the lock is alone
        shutil.rmtree(left, ignore_errors=True)
    total, done = sum(pin.size for pin in missing), 0
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
        for pin, path in _arrivals(missing, Path(part)):
            if path.is_relative_to(part):
                path.replace(folder / pin.file_name)
            else:  # the user's own Maven folder keeps its file
                copy = Path(shutil.copyfile(path, Path(part) / pin.file_name))
                copy.replace(folder / pin.file_name)
            done += pin.size
            progress(done, total, pin.coordinate)


def _arrivals(missing: list[Pin], part: Path) -> Iterator[tuple[Pin, Path]]:
    """Each pin and a file that is right, from the first way that has it."""
    left = {pin.coordinate: pin for pin in missing}

    def right_ones(arrivals: Iterable[tuple[str, Path]]) -> Iterator[tuple[Pin, Path]]:
        for coordinate, path in arrivals:
            if _right(path, left[coordinate]):
                yield left.pop(coordinate), path

    trouble = "what came is not what jars.lock names"
    try:
        yield from right_ones(by_jgo(list(left), part / "jgo"))
        yield from right_ones(by_jgo(list(left), part / "anew", reuse=False))
    except Unreachable as error:
        trouble = str(error)
        if mvn := shutil.which("mvn"):
            try:
                yield from right_ones(by_maven(mvn, list(left), part / "maven"))
            except Unreachable as error:
                trouble = f"{trouble}; {error}"
    if left:
        raise UserError(
            f"cannot fetch {len(left)} of Kafka's {len(pins())} jars ({trouble}): connect this machine to the network and try "
            f"again, or copy {part.parent} from a machine where it worked"
        )


def _right(path: Path, pin: Pin) -> bool:
    try:
        if path.stat().st_size != pin.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == pin.sha256
    except FileNotFoundError:
        return False
