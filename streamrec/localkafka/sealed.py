"""Files that this machine makes for itself once: each carries the hash of its bytes in its name, so a damaged one is not used.

It does not know what is in them.
"""

import hashlib
import logging
import shutil
from pathlib import Path

from streamrec.localkafka.lock import locked

log = logging.getLogger(__name__)

KEPT = 3  # of a kind: another Java, or another place of it, needs its own


def find(cache: Path, kind: str, key: str) -> Path | None:
    """The file of this kind and key, None if there is none that is whole."""
    for path in cache.glob(f"{kind}-{key}-*"):
        if path.name == f"{kind}-{key}-{_digest(path)}":
            return path
    return None


def seal(made: Path, cache: Path, kind: str, key: str) -> Path:
    """Put a finished file into the cache, in one step, and remove what it replaces and what is old.

    Where the cache cannot be written, the file serves where it is.
    """
    path = cache / f"{kind}-{key}-{_digest(made)}"
    part = cache / "part"
    try:
        with locked(cache):
            shutil.copyfile(made, part)
            part.replace(path)
            for other in cache.glob(f"{kind}-{key}-*"):
                if other != path:
                    other.unlink()
            newest_first = sorted(cache.glob(f"{kind}-*"), key=lambda other: other.stat().st_mtime, reverse=True)
            for other in newest_first[KEPT:]:
                other.unlink()
    except OSError as error:
        log.warning("%s cannot be kept: %s", path, error)
        return made
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
