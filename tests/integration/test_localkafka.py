"""LocalKafka against the real thing: what it promises about records, crashes, restarts, ports and what it leaves behind."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from streamrec.core.errors import UserError
from streamrec.localkafka import LocalKafka, cluster, jars, ports, sealed
from streamrec.localkafka.cluster import NodeEnded


def make_topic(kafka: LocalKafka, topic: str, partitions: int = 1) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    admin.create_topics([NewTopic(topic, partitions, -1)])
    admin.wait_for_topics([topic])
    admin.close()


def produce(
    servers: str | list[str], topic: str, values: Iterator[int] | range, after: Callable[[int], Any] = lambda n: None
) -> None:
    """Send the numbers, each acknowledged by all in-sync replicas before ``after`` is told of it."""
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", retries=100, delivery_timeout_ms=120_000)
    for n in values:
        producer.send(topic, str(n).encode(), partition=0).get(timeout=120)
        after(n)
    producer.close()


def consume(servers: str | list[str], topic: str, count: int) -> list[int]:
    """What the first partition holds, in order, once it holds ``count`` records."""
    consumer = KafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    consumer.assign([TopicPartition(topic, 0)])
    values: list[int] = []
    while len(values) < count:
        values += [int(record.value) for records in consumer.poll(timeout_ms=500).values() for record in records]
    consumer.close()
    return values


def test_a_record_goes_in_and_comes_out(kafka, topic_prefix):
    make_topic(kafka, topic_prefix + "t")
    produce(kafka.bootstrap_servers, topic_prefix + "t", range(100))
    assert consume(kafka.bootstrap_servers, topic_prefix + "t", 100) == list(range(100))


def test_a_topic_that_does_not_say_has_four_partitions(kafka, topic_prefix):
    make_topic(kafka, topic_prefix + "t", partitions=-1)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    (topic,) = admin.describe_topics([topic_prefix + "t"])
    admin.close()
    assert len(topic["partitions"]) == 4


def test_the_probe_leaves_no_topic_behind():
    with LocalKafka() as kafka:
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        while [name for name in admin.list_topics() if not name.startswith("__")]:
            time.sleep(0.05)
        admin.close()


def test_nothing_acknowledged_is_lost_when_a_node_of_three_is_killed(kafka3, topic_prefix):
    topic = topic_prefix + "t"
    make_topic(kafka3, topic)

    def kill_the_leader(n: int) -> None:
        if n == 100:
            kafka3.kill(leader(kafka3, topic))

    produce(kafka3.bootstrap_servers, topic, range(300), after=kill_the_leader)
    assert len(kafka3.pids) == 2
    assert sorted(set(consume(kafka3.bootstrap_servers, topic, 300))) == list(range(300))


def leader(kafka: LocalKafka, topic: str) -> int:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    (described,) = admin.describe_topics([topic])
    admin.close()
    node: int = described["partitions"][0]["leader_id"]
    return node


def test_a_killed_node_comes_back_in_sync(kafka3, topic_prefix):
    make_topic(kafka3, topic_prefix + "t")
    kafka3.kill(2)
    produce(kafka3.bootstrap_servers, topic_prefix + "t", range(50))
    kafka3.start(2)
    kafka3.wait_ready()
    assert kafka3.serving == {1, 2, 3}
    admin = KafkaAdminClient(bootstrap_servers=kafka3.bootstrap_servers)
    (topic,) = admin.describe_topics([topic_prefix + "t"])
    admin.close()
    assert set(topic["partitions"][0]["isr_nodes"]) == {1, 2, 3}


def test_the_others_serve_while_a_node_is_paused(kafka3, topic_prefix):
    make_topic(kafka3, topic_prefix + "t")
    paused = leader(kafka3, topic_prefix + "t")
    kafka3.pause(paused)
    # kafka-python waits half a minute for a silent broker if that is the one it happens to ask first.
    others = [address for node, address in enumerate(kafka3.bootstrap_servers.split(","), start=1) if node != paused]
    produce(others, topic_prefix + "t", range(20))
    assert consume(others, topic_prefix + "t", 20) == list(range(20))


def test_a_terminated_node_ends_in_order_and_a_running_one_cannot_be_started_again(kafka3):
    kafka3.terminate(3)
    assert 3 not in kafka3.pids
    kafka3.start(3)
    with pytest.raises(UserError, match="runs already"):
        kafka3.start(3)
    kafka3.wait_ready()


def test_data_and_groups_are_there_again_in_the_next_cluster_with_the_same_folder(tmp_path):
    folder = tmp_path / "a folder, with = odd \\ letters: äöü"
    with LocalKafka(data_dir=folder) as kafka:
        make_topic(kafka, "t")
        produce(kafka.bootstrap_servers, "t", range(10))
        before = kafka.bootstrap_servers
    assert (folder / "node-1" / "data" / ".kafka_cleanshutdown").exists()
    with LocalKafka(data_dir=folder) as kafka:
        assert kafka.bootstrap_servers != before
        assert consume(kafka.bootstrap_servers, "t", 10) == list(range(10))
        kafka.kill(1)
        kafka.start(1)
        kafka.wait_ready()
        assert consume(kafka.bootstrap_servers, "t", 10) == list(range(10))


def test_three_nodes_find_their_data_again_too_and_no_other_number_may_have_them(tmp_path):
    with LocalKafka(3, data_dir=tmp_path) as kafka:
        make_topic(kafka, "t")
        produce(kafka.bootstrap_servers, "t", range(10))
    with LocalKafka(3, data_dir=tmp_path) as kafka:
        assert consume(kafka.bootstrap_servers, "t", 10) == list(range(10))
    with pytest.raises(UserError, match="holds the data of 3 nodes, not 1"):
        LocalKafka(1, data_dir=tmp_path).launch()


def test_a_node_that_does_not_start_says_why(tmp_path):
    with LocalKafka(data_dir=tmp_path), pytest.raises(NodeEnded, match=r"node 1 ended with 1: .{20,}kafka\.log"):
        LocalKafka(data_dir=tmp_path).launch()


def test_a_node_that_ends_by_itself_is_noticed(tmp_path):
    with LocalKafka() as kafka:
        kafka.check()
        os.kill(kafka.pids[1], signal.SIGKILL)
        with pytest.raises(NodeEnded, match="node 1 ended with -9"):
            kafka.wait_ready()


def test_when_a_port_is_lost_others_are_picked(monkeypatch, kafka):
    taken = int(kafka.bootstrap_servers.split(":")[1])
    free = ports.free_ports(3)
    picks = iter([[taken, free[0]], free[1:]])
    monkeypatch.setattr(cluster, "free_ports", lambda count: next(picks))
    with LocalKafka() as second:
        assert second.bootstrap_servers == f"127.0.0.1:{free[1]}"


def test_a_chosen_port_is_kept_and_a_taken_one_is_refused():
    (port,) = ports.free_ports(1)
    with LocalKafka(port=port) as kafka:
        assert kafka.bootstrap_servers == f"127.0.0.1:{port}"
        with pytest.raises(UserError, match=f"port {port} is taken"):
            LocalKafka(port=port).launch()


def test_it_can_be_launched_in_one_thread_and_stopped_in_another():
    kafka = LocalKafka()
    with ThreadPoolExecutor(1) as thread:
        launched = thread.submit(kafka.launch)
        while not kafka.pids:
            time.sleep(0.02)
        kafka.stop()
        with pytest.raises(UserError, match="stopped"):
            launched.result()


def test_the_first_node_on_a_machine_records_its_classes_and_a_damaged_record_is_made_anew(empty_cache):
    def archives() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in empty_cache.glob("classes-*")}

    with LocalKafka(cache=empty_cache):
        assert not archives()
    ((name, good),) = archives().items()
    with LocalKafka(cache=empty_cache) as kafka:
        assert f"SharedArchiveFile={empty_cache}/{name}" in command_line(kafka.pids[1])
    (empty_cache / name).write_bytes(good[: len(good) // 2])
    with LocalKafka(cache=empty_cache) as kafka:
        assert "SharedArchiveFile" not in command_line(kafka.pids[1]).replace("SharedArchiveFile=" + str(base(empty_cache)), "")
    assert len(archives()) == 1
    assert sealed.find(empty_cache, "classes", name.split("-")[1])


@pytest.fixture
def empty_cache(tmp_path):
    """The jars, but nothing that a first start makes."""
    jars.fetch(jars.default_cache())
    shutil.copytree(jars.default_cache() / "jars", tmp_path / "cache" / "jars")
    return tmp_path / "cache"


def base(cache: Path) -> Path:
    return next(iter(cache.glob("java-*")), Path("/none"))


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_up_says_the_address_and_ends_in_order_at_ctrl_c(tmp_path):
    code = """if True:
        import functools, pathlib, sys
        from streamrec.localkafka.up import up

        up(data_dir=pathlib.Path(sys.argv[1]), say=functools.partial(print, flush=True))
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    person = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
    assert person.stdout
    admin = KafkaAdminClient(bootstrap_servers=person.stdout.readline().strip())
    assert len(admin.describe_cluster()["brokers"]) == 1
    admin.close()
    person.send_signal(signal.SIGINT)
    assert person.wait() == 0
    person.stdout.close()
    assert (tmp_path / "node-1" / "data" / ".kafka_cleanshutdown").exists()


MOMENTS = {
    "its scratch folder is made": lambda home: list(home.glob("*/")),
    "the first folder is formatted": lambda home: list(home.glob("*/prepare/format.log")),
    "a node has begun": lambda home: list(home.glob("*/node-*/kafka.log")),
    "a node has data": lambda home: list(home.glob("*/node-*/data/__cluster_metadata-0/*.log")),
    "it is ready": lambda home: (home.parent / "ready").exists(),
}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("moment", "nodes"), [*((moment, 1) for moment in MOMENTS), ("a node has data", 3), ("it is ready", 3)], ids=str
)
def test_nothing_is_left_when_the_owner_is_killed_as_soon_as(moment, nodes, tmp_path, empty_cache):
    home = tmp_path / "tmp"
    home.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(nodes), str(empty_cache), str(tmp_path / "ready")],
        env={**os.environ, "TMPDIR": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    while not MOMENTS[moment](home):
        assert owner.poll() is None
        time.sleep(0.005)
    owner.kill()
    owner.wait()
    while processes_with(f"TMPDIR={home}") or list(home.iterdir()):
        time.sleep(0.02)


OWNER = """
    import pathlib, sys, time
    from streamrec.localkafka import LocalKafka

    with LocalKafka(int(sys.argv[1]), cache=pathlib.Path(sys.argv[2])):
        pathlib.Path(sys.argv[3]).touch()
        time.sleep(600)
"""


def processes_with(setting: str) -> list[int]:
    """Everything that this owner started, its guard and all Javas, inherited its environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if setting.encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:  # it ended while we looked
            continue
    return found
