"""Brings Maven artifacts into a folder: with jgo, or with Maven where jgo is missing or cannot reach its repository.

It does not know which bytes are right (jars.py does), and names no repository: jgo and Maven know theirs, and the user's settings.
"""

import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from xml.sax.saxutils import escape

THREADS = 8  # a download is mostly waiting
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class Unreachable(Exception):
    """The tool is not installed, or it could not bring an artifact; the text says which."""


def by_jgo(coordinates: Iterable[str], folder: Path, *, reuse: bool = True) -> Iterator[tuple[str, Path]]:
    """Each coordinate (``group:artifact:version``) and its file below ``folder``, in the order of arrival.

    Args:
        reuse: take what lies in the user's own Maven folder instead of downloading it.

    Raises:
        Unreachable: jgo is not installed, or the network or the repository did not answer.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError:
        raise Unreachable("jgo is not installed: pip install 'streamrec[kafka]'") from None
    settings = GlobalSettings.load()
    # Those of the user's jgo.conf first: jgo stops at the first that does not answer.
    repositories = {**settings.repositories, "central": settings.repositories.get("central", MAVEN_CENTRAL_URL)}

    def bring(coordinate: str) -> Path:
        context = MavenContext(repo_cache=folder, local_repos=[settings.repo_cache] if reuse else [], remote_repos=repositories)
        group, artifact, version = coordinate.split(":")
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="jars")
    try:
        waiting = {pool.submit(bring, coordinate): coordinate for coordinate in coordinates}
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's "not found" a RuntimeError
                raise Unreachable(f"{waiting[future]} did not come: {type(error).__name__}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def by_maven(mvn: str, coordinates: Iterable[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """As ``by_jgo``, with the Maven at ``mvn``; it goes by the user's settings.xml.

    Raises:
        Unreachable: Maven failed.
    """
    wanted = list(coordinates)
    folder.mkdir(parents=True, exist_ok=True)
    pom = folder / "pom.xml"
    pom.write_text(_pom(wanted), encoding="utf-8")
    command = [mvn, "-q", "-B", "-f", str(pom), MAVEN_COPY, f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise Unreachable("nor could Maven")
    for coordinate in wanted:
        _, artifact, version = coordinate.split(":")
        yield coordinate, folder / f"{artifact}-{version}.jar"


def _pom(coordinates: Iterable[str]) -> str:
    """A project that depends on exactly these, without what they depend on themselves."""
    nothing_else = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    dependencies = "".join(
        f"<dependency><groupId>{escape(g)}</groupId><artifactId>{escape(a)}</artifactId>"
        f"<version>{escape(v)}</version>{nothing_else}</dependency>"
        for g, a, v in (coordinate.split(":") for coordinate in coordinates)
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
