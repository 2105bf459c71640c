"""Child processes that end with this one, even if it is killed: the parent's side of guard.py.

It does not know what the children are.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamrec.core.errors import UserError
from streamrec.localkafka import guard


class Guarded:
    """Named child processes and a scratch folder, which all go when ``close`` is called or this process ends.

    Safe to use from several threads. Installs no signal handler; the children are in a session of their own, so that
    Ctrl-C in the terminal reaches this process alone.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", guard.__file__, str(os.getpid()), tempfile.gettempdir()]
        self._guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert self._guard.stdin
        assert self._guard.stdout
        self._stdin, self._stdout = self._guard.stdin, self._guard.stdout
        self._lock = threading.Lock()
        self._turn = 0
        self._closed = False
        self.scratch = Path(self._read()["scratch"])

    def start(self, name: str, command: Sequence[str | Path], folder: Path, log: Path) -> int:
        """Run ``command`` in ``folder`` with its output appended to ``log``; its process id."""
        request = {"command": [str(word) for word in command], "folder": str(folder), "log": str(log)}
        return int(self._ask(name=name, start=request)["pid"])

    def send(self, name: str, signal: int) -> None:
        """Send a signal to the child, if it still runs."""
        self._ask(name=name, send=signal)

    def code(self, name: str) -> int | None:
        """The child's exit code (negative: the signal that ended it), None while it runs."""
        code: int | None = self._ask(name=name)["code"]
        return code

    def close(self) -> None:
        """Kill the children, remove the scratch folder, and wait until that is done. Twice is once."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # Closing the pipe is not enough while a forked child of this process holds it open.
            self._write(b"\n")
            with suppress(BrokenPipeError):
                self._stdin.close()
            self._guard.wait()
            self._stdout.close()

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                raise UserError("the local Kafka was stopped")
            self._turn += 1
            self._write(json.dumps({"turn": self._turn, **request}).encode() + b"\n")
            answer = self._read()
            while answer["turn"] != self._turn:  # Ctrl-C came between a question and its answer
                answer = self._read()
        if "error" in answer:
            raise UserError(f"the local Kafka could not run a command: {answer['error']}")
        return answer

    def _write(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # _read says what that means
            self._stdin.write(line)
            self._stdin.flush()

    def _read(self) -> dict[str, Any]:
        line = self._stdout.readline()
        if not line:
            raise UserError("the process that guards the local Kafka has ended, and its nodes with it: start again")
        answer: dict[str, Any] = json.loads(line)
        return answer
