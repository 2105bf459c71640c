"""A user's mistake is one line that says what is wrong and what to do, and exit code 2, within seconds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from streamrec.admin.topics import apply
from streamrec.build import DEMO_BUNDLE
from streamrec.localkafka import LocalKafka
from streamrec.localkafka.ports import free_ports
from streamrec.settings import load_settings


def mistake(*arguments: str, **variables: str) -> str:
    """Runs a command that must be refused; gives what it says."""
    settings = [f"STREAMREC_{name.upper()}={value}" for name, value in variables.items()]
    command = ["/usr/bin/env", *settings, sys.executable, "-m", "streamrec", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = [line for line in done.stderr.splitlines() if "Error" in line or line.startswith("streamrec: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return said[-1]


@pytest.mark.parametrize(
    "arguments", [("worker",), ("topics", "apply"), ("topics", "check"), ("tail", "clicks"), ("demo",)], ids=" ".join
)
def test_a_broker_that_is_not_there(arguments: tuple[str, ...]) -> None:
    port = free_ports(1)[0]
    said = mistake(*arguments, "--broker", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in said
    assert "refused" in said


def test_a_broker_that_is_no_address() -> None:
    assert "not host:port" in mistake("worker", "--broker", "nowhere")


def test_a_bundle_that_is_not_there(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    apply(load_settings(broker=kafka.bootstrap_servers, topic_prefix=topic_prefix))
    said = mistake("worker", "--bundle", str(tmp_path), "--broker", kafka.bootstrap_servers, topic_prefix=topic_prefix)
    assert "no bundle there" in said
    assert "streamrec train" in said


def test_a_bundle_that_is_damaged(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    apply(load_settings(broker=kafka.bootstrap_servers, topic_prefix=topic_prefix))
    bundle = Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    said = mistake("worker", "--bundle", str(bundle), "--broker", kafka.bootstrap_servers, topic_prefix=topic_prefix)
    assert "model.onnx" in said
    assert "was changed" in said


def test_a_topic_that_is_missing(kafka: LocalKafka, topic_prefix: str) -> None:
    said = mistake("worker", "--broker", kafka.bootstrap_servers, topic_prefix=topic_prefix)
    assert "does not exist" in said
    assert "streamrec topics apply" in said


def test_a_topic_with_another_number_of_partitions(kafka: LocalKafka, topic_prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    admin.create_topics({f"{topic_prefix}clicks": {"num_partitions": 3, "replication_factor": 1}})
    admin.close()
    said = mistake("topics", "apply", "--broker", kafka.bootstrap_servers, topic_prefix=topic_prefix)
    assert f"{topic_prefix}clicks has 3 partitions and should have 12" in said


def test_a_data_file_with_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,event_type\nu,a,1,click\nu,a,soon,click\n")
    said = mistake("train", str(tmp_path), "--out", str(tmp_path / "bundle"), "--steps", "1")
    assert "events.csv, line 3, column timestamp" in said


def test_a_setting_that_is_none() -> None:
    assert "STREAMREC_BROKR is no setting" in mistake("worker", brokr="x")
