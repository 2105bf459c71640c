"""A local Kafka with TLS, SCRAM and ACLs lets in whom it should, and nobody else."""

import shutil
import subprocess
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from streamrec.core.errors import UserError
from streamrec.localkafka import LocalKafka, Security

ADMIN_PASSWORD = 'odd: " \\ ü , ] = ; #'

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=local")
    openssl(folder, *new, "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, *new, "-keyout", "leaf.key", "-out", "leaf.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signed = ("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(folder, *signed, "-extfile", "names", "-out", "leaf.pem")
    (folder / "server.pem").write_text((folder / "leaf.key").read_text() + (folder / "leaf.pem").read_text())


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    security = Security(folder / "server.pem", folder / "ca.pem", {"admin": ADMIN_PASSWORD, "streamrec": "two"})
    with LocalKafka(security=security, data_dir=tmp_path_factory.mktemp("data")) as kafka:
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **security.client("admin"))
        admin.create_topics([NewTopic("closed", 1, 1)])
        admin.wait_for_topics(["closed"])
        admin.close()
        yield kafka, security


def connect(kafka: LocalKafka, **settings: object) -> None:
    KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, bootstrap_timeout_ms=2000, **settings).close()


def test_a_user_with_the_right_password_comes_in(secured):
    kafka, security = secured
    connect(kafka, **security.client("streamrec"))


def test_a_wrong_password_is_refused(secured):
    kafka, security = secured
    with pytest.raises(KafkaError):
        connect(kafka, **{**security.client("streamrec"), "sasl_plain_password": "wrong"})


def test_an_unknown_authority_is_refused(secured, tmp_path):
    kafka, security = secured
    make_certificates(tmp_path)
    with pytest.raises(KafkaError):
        connect(kafka, **{**security.client("streamrec"), "ssl_cafile": str(tmp_path / "ca.pem")})


def test_a_plain_connection_is_refused(secured):
    with pytest.raises(KafkaError):
        connect(secured[0])


def test_what_no_acl_allows_is_refused(secured):
    kafka, security = secured
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_block_ms=5000, **security.client("streamrec"))
    with pytest.raises(TopicAuthorizationFailedError):
        producer.send("closed", b"x").get(timeout=5)
    producer.close()


def test_no_password_is_in_a_command_line_a_log_or_a_file_that_others_can_read(secured):
    kafka, security = secured
    node = kafka.log(1).parent
    assert "two" not in kafka.log(1).read_text().split()
    assert ADMIN_PASSWORD not in kafka.log(1).read_text()
    assert ADMIN_PASSWORD not in repr(security)
    for name in ("server.properties", "server.pem"):
        assert (node / name).stat().st_mode & 0o077 == 0
    words = security.format_words()
    assert not [word for word in words if "two" in word or ADMIN_PASSWORD in word]


def test_three_secured_nodes_talk_to_each_other(secured):
    _, security = secured
    with LocalKafka(3, security=security) as kafka:
        kafka.kill(2)
        kafka.start(2)
        kafka.wait_ready()


def test_a_superuser_without_a_password_is_a_user_error():
    with pytest.raises(UserError, match="'root' has no password"):
        Security(Path("a"), Path("b"), {"admin": "x"}, superuser="root")
