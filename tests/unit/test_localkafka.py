"""What localkafka decides without a process: settings, pins, command lines, last words."""

import re
from dataclasses import replace
from pathlib import Path

from streamrec.localkafka.config import Node, new_id, server_properties
from streamrec.localkafka.jars import pins
from streamrec.localkafka.java import Java
from streamrec.localkafka.jvm import Jvm
from streamrec.localkafka.lastwords import last_words

NODES = [Node(i, Path(f"node-{i}"), 20000 + i, 21000 + i) for i in (1, 2, 3)]


def settings(count: int) -> dict[str, str]:
    text = server_properties(NODES[0], NODES[:count], partitions=4)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_one_node_keeps_one_replica_of_everything():
    one = settings(1)
    assert {one[name] for name in one if name.endswith("replication.factor")} == {"1"}
    assert one["min.insync.replicas"] == one["transaction.state.log.min.isr"] == "1"


def test_three_nodes_keep_three_replicas_and_a_write_needs_two():
    three = settings(3)
    assert {three[name] for name in three if name.endswith("replication.factor")} == {"3"}
    assert three["min.insync.replicas"] == three["transaction.state.log.min.isr"] == "2"
    assert three["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"


def test_nodes_listen_on_the_loopback_address_alone():
    addresses = re.findall(r"(?<=//|.@)[^:,]+(?=:\d)", "\n".join(settings(3).values()))
    assert set(addresses) == {"127.0.0.1"}


def test_no_path_enters_a_settings_file():
    odd = replace(NODES[0], folder=Path("/tmp/a, b=c\\ü"))
    assert server_properties(odd, [odd], 4) == server_properties(NODES[0], NODES[:1], 4)


def test_an_id_is_never_taken_for_an_option():
    ids = [new_id() for _ in range(200)]
    assert all(re.fullmatch(r"[A-Za-z0-9_]{22}", one) for one in ids)
    assert len(set(ids)) == 200


def test_the_lock_pins_each_jar_once_by_hash_and_names_no_host():
    assert len({pin.file_name for pin in pins()}) == len(pins()) == 44
    assert all(re.fullmatch(r"[0-9a-f]{64}", pin.sha256) and pin.size > 0 for pin in pins())
    assert all(re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", pin.coordinate) for pin in pins())
    assert "org.apache.kafka:kafka_2.13:4.4.0" in {pin.coordinate for pin in pins()}


JAVA = Java(Path("java"), "25.0.1")


def test_java_maps_the_archive_of_kafkas_classes_once_there_is_one():
    jars = (Path("a.jar"), Path("b.jar"))
    with_base = Jvm(JAVA, jars, base=Path("base"))
    assert "-XX:SharedArchiveFile=base" in with_base.command("Main")
    assert "-XX:SharedArchiveFile=kafka" in replace(with_base, archive=Path("kafka")).command("Main")
    assert not [word for word in Jvm(JAVA, jars).command("Main") if "Shared" in word]
    assert with_base.command("Main", "x")[-4:] == ["-cp", "a.jar:b.jar", "Main", "x"]


def test_the_first_node_records_the_archive_on_top_of_javas_own():
    words = Jvm(JAVA, (), base=Path("base")).command("Main", record=Path("out"))
    assert [word for word in words if "Archive" in word] == ["-XX:SharedArchiveFile=base", "-XX:ArchiveClassesAtExit=out"]


def test_the_last_words_are_the_cause_of_the_last_exception():
    said = """[main] ERROR kafka.Kafka - Exiting Kafka due to fatal exception during startup.
org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:9092: Address already in use.
\tat org.apache.kafka.network.Acceptor.openServerSocket(Acceptor.java:1)
Caused by: java.net.BindException: Address already in use
\tat java.base/sun.nio.ch.Net.bind0(Native Method)
\t... 8 more
[kafka-shutdown-hook] WARN org.apache.kafka - closing
"""
    assert last_words(said) == "java.net.BindException: Address already in use"


def test_without_an_exception_the_last_words_are_the_last_line_that_speaks_of_an_error():
    said = "Error: Could not create the Java Virtual Machine.\nUnrecognized VM option 'Nonsense'\nbye\n"
    assert last_words(said) == "Unrecognized VM option 'Nonsense'"
    assert last_words("one\ntwo\n\n") == "two"
    assert last_words("") == "it said nothing"
