"""A worker in a process of its own, which ends when this one does."""

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streamrec.core.errors import UserError
from streamrec.localkafka.guarded import Guarded
from streamrec.localkafka.ports import free_ports
from streamrec.settings import PREFIX, Settings

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
NO_ANSWER = "its ops server does not answer yet"


class WorkerProcess:
    """``streamrec worker`` with these settings; `wait_ready` returns when it says so itself."""

    def __init__(self, settings: Settings, role: str = "all") -> None:
        self._settings = settings
        self._role = role
        self._port = free_ports(1)[0]

    def __enter__(self) -> Self:
        self._guarded = Guarded()
        self.log = self._guarded.scratch / "worker.log"
        self._guarded.start("worker", worker_command(self._settings, self._role, self._port), Path.cwd(), self.log)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._guarded.send("worker", signal.SIGTERM)
            give_up_at = time.monotonic() + STOP_SECONDS
            while self._guarded.code("worker") is None and time.monotonic() < give_up_at:
                time.sleep(0.05)
        finally:
            self._guarded.close()

    def kill(self, number: int) -> None:
        """Sends the worker a signal."""
        self._guarded.send("worker", number)

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        return self._guarded.code("worker")

    def not_ready(self) -> list[str]:
        """Why it is not ready, in its own words; empty where it is."""
        return health(self._port, "readyz")

    def wait_ready(self) -> None:
        """Returns when the worker is ready.

        Raises:
            UserError: it ended, or was not ready within a minute; its own last words are given.
        """
        give_up_at = time.monotonic() + READY_SECONDS
        reasons: list[str] = []
        while time.monotonic() < give_up_at:
            self.check()
            reasons = self.not_ready()
            if not reasons:
                return
            time.sleep(0.05)
        raise UserError(f"the worker was not ready within {READY_SECONDS:.0f} s ({'; '.join(reasons)}): {self._last_words()}")

    def check(self) -> None:
        """Raises UserError with the worker's last words if it has ended."""
        if (code := self.code) is not None:
            raise UserError(f"the worker ended with code {code}: {self._last_words()}")

    def _last_words(self) -> str:
        written = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return written[-1] if written else "it said nothing"


def worker_command(settings: Settings, role: str, port: int, entry: Sequence[str] = ("streamrec",)) -> list[str]:
    """The command that runs a worker; its ops server answers on ``port``.

    The settings that somebody chose go in the child's environment; a password is inherited, as `ps` would show it.
    """
    chosen = settings.model_dump(include=settings.model_fields_set - {"sasl_password"}, mode="json", exclude_none=True)
    chosen |= {"ops_port": port, "log_format": "json"}
    variables = [f"{PREFIX}{name.upper()}={value}" for name, value in chosen.items()]
    return ["/usr/bin/env", *variables, sys.executable, "-m", *entry, "worker", "--role", role]


def health(port: int, probe: str) -> list[str]:
    """Why a worker is not ready (``readyz``) or live (``livez``), in its own words; empty where it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{probe}", timeout=2):
            return []
    except urllib.error.HTTPError as error:
        with error:
            reasons: list[str] = json.load(error)["reasons"]
            return reasons
    except OSError:
        return [NO_ANSWER]
