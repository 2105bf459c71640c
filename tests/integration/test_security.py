"""The worker and the operator's verbs over TLS with SCRAM and ACLs: what is refused is one clear line, and no secret is told."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from msgspec.structs import replace

from streamrec.demo.run import DATA
from streamrec.demo.worker import WorkerProcess
from streamrec.localkafka import LocalKafka, Security
from streamrec.settings import Settings
from tests.integration.stand import wait_until
from tests.integration.stream import audited, send_all, some_events
from tests.integration.test_localkafka_security import make_certificates

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")

PASSWORD, OTHER = "open-sesame-5521", "wrong-sesame-9043"


Grant = tuple[ResourceType, str, ACLOperation]


@dataclass
class Secured:
    kafka: LocalKafka
    security: Security
    folder: Path

    def variables(self, **changes: object) -> dict[str, str]:
        chosen = {
            "broker": self.kafka.bootstrap_servers,
            "topic_prefix": "sec-",
            "security_protocol": "SASL_SSL",
            "ssl_cafile": self.security.authority,
            "sasl_username": "streamrec",
            "sasl_password": PASSWORD,
            "log_level": "debug",
            "ops_port": 0,
        } | changes
        return {f"STREAMREC_{name.upper()}": str(value) for name, value in chosen.items()}

    def run(self, *words: str, timeout: float = 60, **changes: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "streamrec", *words]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMREC_")}
        done = subprocess.run(
            command, env=environment | self.variables(**changes), capture_output=True, text=True, timeout=timeout, check=False
        )
        said = done.stdout + done.stderr
        assert PASSWORD not in said
        assert OTHER not in said
        assert "Traceback" not in said, said
        return done.returncode, said

    def refused(self, *words: str, **changes: object) -> str:
        """The one line that the command is refused with."""
        code, said = self.run(*words, **changes)
        assert code == 2, said
        lines = [line for line in said.splitlines() if line.startswith("streamrec: ")]
        assert len(lines) == 1, said
        return lines[0]

    def settings(self, user: str, password: Path) -> Settings:
        """A user's own, with the password in a file."""
        password.write_text(PASSWORD + "\n")
        options = {"broker": self.kafka.bootstrap_servers, "topic_prefix": "sec-", "log_level": "debug"}
        login = {"security_protocol": "SASL_SSL", "ssl_cafile": self.security.authority, "sasl_username": user}
        return Settings(**options, **login, sasl_password_file=password)

    def allow(self, *grants: Grant, user: str = "streamrec") -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers, **self.security.client("admin"))
        admin.create_acls(
            [
                ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
                for kind, name, operation in grants
            ]
        )
        admin.close()


def documented_rights() -> dict[str, list[Grant]]:
    """The table of docs/security.md: what each user may do, by the last word of the row's name."""
    found: dict[str, list[Grant]] = {}
    text = (Path(__file__).parents[2] / "docs/security.md").read_text("utf-8")
    for row in text.partition("| role | READ |")[2].partition("\n\n")[0].splitlines()[2:]:
        who, reads, writes, groups = (cell.strip() for cell in row.strip("|").split("|"))
        grants = [(ResourceType.TOPIC, f"sec-{topic}", ACLOperation.READ) for topic in reads.split(", ") if topic]
        grants += [(ResourceType.TOPIC, f"sec-{topic}", ACLOperation.WRITE) for topic in writes.split(", ") if topic]
        grants += [(ResourceType.GROUP, f"sec-{group}", ACLOperation.READ) for group in re.findall("`(.+?)`", groups)]
        found[who.split()[-1]] = grants
    return found


DOCUMENTED = documented_rights()
TOPICS = ("clicks", "listens", "items", "sessions", "recommendations", "explanations", "dead-letters")
RIGHTS = [(ResourceType.TOPIC, f"sec-{topic}", op) for topic in TOPICS for op in (ACLOperation.READ, ACLOperation.WRITE)]
RIGHTS += [(ResourceType.GROUP, f"sec-streamrec-{role}", ACLOperation.READ) for role in ("sessions", "recommend", "explain")]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A secured broker with the topics on it, on which the user streamrec has every right of RIGHTS but the last group's."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    security = Security(
        folder / "server.pem",
        folder / "ca.pem",
        {"admin": "root-of-all"} | dict.fromkeys(("streamrec", "nobody", *DOCUMENTED), PASSWORD),
    )
    with LocalKafka(security=security) as kafka:
        found = Secured(kafka, security, folder)
        assert found.run("topics", "apply", sasl_username="admin", sasl_password="root-of-all")[0] == 0
        found.allow(*RIGHTS[:-1])
        yield found


PRODUCE = ("produce", str(DATA))
COUNTED = ("events_in", "events_lost", "outputs_wrong")
TAIL = ("tail", "recommendations", "--seconds", "1")


def each_of(*verbs: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("words", verbs, ids=lambda words: " ".join(words[:2])[:24])


@each_of(("worker",), TAIL)
def test_a_wrong_password_is_refused_in_one_line(secured: Secured, words: tuple[str, ...]) -> None:
    said = secured.refused(*words, sasl_password=OTHER)
    assert "'streamrec'" in said
    assert "refused" in said or "closes the connection at the" in said


@each_of(("worker",), PRODUCE)
def test_an_unknown_authority_is_refused_in_one_line(secured: Secured, words: tuple[str, ...], tmp_path: Path) -> None:
    make_certificates(tmp_path)
    said = secured.refused(*words, ssl_cafile=tmp_path / "ca.pem")
    assert "certificate" in said
    assert "ssl_cafile" in said


@each_of(("worker",), PRODUCE, ("dead-letters", "list"), ("erase", "somebody", "--yes"))
def test_a_user_without_rights_is_told_which_ones(secured: Secured, words: tuple[str, ...]) -> None:
    said = secured.refused(*words, sasl_username="nobody")
    assert "nobody" in said
    assert "ACL" in said or "may not see it" in said


def test_a_worker_that_lacks_one_right_names_it(secured: Secured) -> None:
    said = secured.refused("worker")
    assert "user 'streamrec' lacks READ on group sec-streamrec-explain; grant it by an ACL" in said


def test_tls_without_a_password_and_plaintext_are_refused(secured: Secured) -> None:
    assert "sasl_username" in secured.refused("worker", sasl_password="")
    assert "STREAMREC_SECURITY_PROTOCOL" in secured.refused("worker", security_protocol="SASL")
    assert "in the open" in secured.refused("worker", security_protocol="SASL_PLAINTEXT", broker="kafka.example:9092")


@pytest.mark.timeout(300)
def test_with_every_right_it_runs_and_no_log_tells_the_password(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secured.allow(RIGHTS[-1])
    settings = secured.settings("streamrec", tmp_path / "password")
    with WorkerProcess(settings) as worker:
        worker.wait_ready()
        send_all(some_events(200), settings)
        wait_until(
            lambda: audited(settings)[:1] + audited(settings)[3:5] == (200, 0, 0), "every event's answer and its reasons", 90
        )
        log = worker.log.read_text()
    assert PASSWORD not in log
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in secured.run("settings")[1]
    assert secured.run("erase", "user-1", "--yes", "--wait", "0")[0] == 1
    assert secured.run("dead-letters", "list", "--json")[0] == 0
    assert secured.run("tail", "recommendations", "--from-beginning", "--seconds", "3")[0] == 0
    assert secured.run("replay", "topics", "--out", str(tmp_path / "replay.jsonl"))[0] == 0


@pytest.mark.timeout(300)
def test_the_rights_that_the_documentation_names_are_enough(secured: Secured, tmp_path: Path) -> None:
    assert set(DOCUMENTED) == {"sessions", "recommend", "explain", "application", "erases"}
    for user, grants in DOCUMENTED.items():
        secured.allow(*grants, user=user)
    login = {user: secured.settings(user, tmp_path / user) for user in DOCUMENTED}
    with ExitStack() as running:
        workers = {role: running.enter_context(WorkerProcess(login[role], role)) for role in ("sessions", "recommend", "explain")}
        for worker in workers.values():
            worker.wait_ready()
        events = [replace(event, user_id=f"documented-{event.user_id}") for event in some_events(30, users=3)]
        send_all(events, login["application"])
        code, said = secured.run("erase", "documented-user-1", "--yes", "--wait", "60", sasl_username="erases")
        assert code == 0, said
        code, said = secured.run("tail", "explanations", "--from-beginning", "--seconds", "3", sasl_username="application")
        assert code == 0, said
        assert "documented-user-2" in said
        for worker in workers.values():
            worker.check()
            assert "lacks" not in worker.log.read_text()
