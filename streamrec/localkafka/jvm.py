"""How this machine's Java is called for Kafka.

An archive of parsed classes makes it start twice as fast. The first node that ends in order on a machine writes it; it does not
know where the archives lie.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from streamrec.localkafka.java import Java

SERIAL = "-XX:+UseSerialGC"
OPTIONS = (
    SERIAL,
    "-XX:TieredStopAtLevel=1",  # the second compiler adds 2 s of CPU to a start, and 50 MB
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


@dataclass(frozen=True)
class Jvm:
    """A Java with Kafka's jars on its class path.

    Args:
        base: the archive of Java's own classes; None where Java came with one.
        archive: the archive of Kafka's classes, which rests on the other; None until one is recorded.
    """

    java: Java
    jars: tuple[Path, ...]
    base: Path | None = None
    archive: Path | None = None

    def command(self, main: str, *args: str, options: Iterable[str] = (), record: Path | None = None) -> list[str]:
        """The words that run a main class.

        Args:
            record: write the archive of its classes to this file when the process ends in order (2 s more).
        """
        base = self.base if record else self.archive or self.base
        sharing = [f"-XX:SharedArchiveFile={base}"] if base else []
        if record:
            sharing.append(f"-XX:ArchiveClassesAtExit={record}")
        class_path = os.pathsep.join(map(str, self.jars))
        return [str(self.java.path), *OPTIONS, *options, *sharing, "-cp", class_path, main, *args]


def dump_base(java: Java, to: Path) -> list[str]:
    """The words that write the archive of Java's own classes."""
    return [str(java.path), SERIAL, "-Xshare:dump", f"-XX:SharedArchiveFile={to}"]
