"""Looks every second at which worker has which partitions, to tell afterwards who wrote a record."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaAdminClient

from chaos.strays import Member
from streamrec.settings import Settings
from streamrec.worker.main import SOURCES

EVERY = 1.0
REQUEST_MS = 5000


class Members(threading.Thread):
    """Samples until `stop`. A worker is known by the ``client.id`` that `chaos.worker` gives it: its name."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="members", daemon=True)
        self._settings = settings
        self._stopping = threading.Event()
        self._last: dict[str, dict[str, Mapping[str, Sequence[int]]]] = {}  # by role and worker
        self.seen: list[Member] = []

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        options = {"bootstrap_timeout_ms": REQUEST_MS, "request_timeout_ms": REQUEST_MS}
        while not self._stopping.is_set():
            with suppress(Exception):  # whatever kafka-python raises while brokers come and go: ask again
                admin = KafkaAdminClient(bootstrap_servers=self._settings.brokers, **options)
                try:
                    while not self._stopping.wait(EVERY):
                        for role in SOURCES:
                            self._look(admin, role)
                finally:
                    admin.close()
            self._stopping.wait(EVERY)

    def _look(self, admin: KafkaAdminClient, role: str) -> None:
        group = f"{self._settings.topic_prefix}streamrec-{role}"
        at = round(time.time() * 1000)
        found = assignments(admin.describe_groups([group])[group]["members"], len(self._settings.topic_prefix))
        for worker, partitions in found.items():
            if self._last.get(role, {}).get(worker) != partitions:
                self.seen.append(Member(at, role, worker, partitions))
        self._last[role] = found


def assignments(members: Sequence[Mapping[str, Any]], prefix: int) -> dict[str, Mapping[str, Sequence[int]]]:
    """By worker its partitions, by topic; ``prefix`` is the length of the topics' one."""
    found: dict[str, Mapping[str, Sequence[int]]] = {}
    for member in members:
        assigned = (member["member_assignment"] or {}).get("assigned_partitions", [])
        found[member["client_id"]] = {each["topic"][prefix:]: tuple(each["partitions"]) for each in assigned}
    return found
