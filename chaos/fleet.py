"""The worker processes, and what Kubernetes would do for them: start again what has ended, and what says that it is not live."""

import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from streamrec.demo.worker import health, worker_command
from streamrec.localkafka.guarded import Guarded
from streamrec.localkafka.ports import free_ports
from streamrec.settings import Settings

LAYOUTS = {
    "apart": ("sessions-1", "sessions-2", "recommend-1", "explain-1"),
    "together": ("all-1", "all-2"),
    "mixed": ("sessions-1", "recommend-1", "explain-1", "all-1"),
}
GRACE = 30.0  # what Kubernetes leaves a container between SIGTERM and SIGKILL
PROBE_SECONDS, FAILURES = 10.0, 6  # of the liveness probe, as in k8s/
TOO_SLOWLY = "stopped too slowly"  # what is counted when a worker breaks our promise to stop within GRACE
PAUSE = 0.3
ROOT = Path(__file__).parents[1]

Say = Callable[[str], None]


class Fleet:
    """Workers by name (``role-number``). What is wanted runs, or is started again within a second.

    Args:
        folder: gets a log and a working folder for each worker.
        entry: the module that runs a worker, and its arguments; see `chaos.worker`.
    """

    def __init__(self, settings: Settings, folder: Path, layout: str, entry: tuple[str, ...], say: Say) -> None:
        self.settings = settings
        self.baseline = LAYOUTS[layout]
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._entry = entry
        self._say = say
        self._guarded = Guarded()
        self._ports: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._failures: Counter[str] = Counter()  # of the liveness probe, in a row
        self._wanted: set[str] = set()
        self._paused: set[str] = set()
        self._killed: set[str] = set()  # by us, and not started again yet
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    @property
    def wanted(self) -> list[str]:
        return sorted(self._wanted)

    def of_role(self, *roles: str) -> list[str]:
        """The wanted workers that do one of these, alone or together with others."""
        return [name for name in self.wanted if role_of(name) in (*roles, "all")]

    def want(self, *names: str) -> None:
        """Starts these, unless they run, and from now on again."""
        with self._lock:
            for name in names:
                self._wanted.add(name)
                if self._code(name) is not None:
                    self._start(name)

    def leave(self, *names: str) -> None:
        """From now on these are not started again."""
        with self._lock:
            self._wanted -= set(names)

    def kill(self, *names: str) -> None:
        """SIGKILL to all of them at once."""
        with self._lock:  # or one that the supervisor starts meanwhile would seem to have ended by itself
            self._killed |= set(names)
            self._send(names, signal.SIGKILL)

    def terminate(self, *names: str) -> None:
        """SIGTERM to all, which are not wanted any more, and waits until they have ended.

        Who takes too long is killed; that and bad exit codes are counted.
        """
        self.leave(*names)
        self._send(names, signal.SIGTERM)
        give_up_at = time.monotonic() + GRACE
        for name in names:
            while (code := self._code(name)) is None and time.monotonic() < give_up_at:
                time.sleep(0.05)
            if code is None:
                self.counts[TOO_SLOWLY] += 1
                self._say(f"{name} did not stop within {GRACE:.0f} s of SIGTERM")
                self.kill(name)
            elif code != 0:
                self.counts["stopped with an error"] += 1
                self._say(f"{name} ended with {code} after SIGTERM: {self.last_words(name)}")

    def pause(self, *names: str) -> None:
        self._paused |= set(names)
        self._send(names, signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        self._send(names, signal.SIGCONT)
        self._paused -= set(names)

    def pid(self, name: str) -> int | None:
        """The process of a worker that runs."""
        with self._lock:
            return self._pids[name] if self._code(name) is None else None

    def forget(self, *names: str) -> None:
        """Deletes what these have on disk."""
        for name in names:
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def not_ready(self) -> dict[str, list[str]]:
        """The wanted workers that are not ready, with their reasons."""
        asked = {name: health(self._ports[name], "readyz") for name in self.wanted}
        return {name: reasons for name, reasons in asked.items() if reasons}

    def last_words(self, name: str) -> str:
        written = (self._folder / f"{name}.log").read_text("utf-8", errors="replace").strip().splitlines()
        return " ".join(written[-3:])[-500:] if written else "it said nothing"  # people's lines are wrapped

    def close(self) -> None:
        """Ends all, in order, and returns when they have ended."""
        names = self.wanted
        self._stopping.set()
        self._supervisor.join()
        try:
            self.terminate(*names)
        finally:
            self._guarded.close()

    def _start(self, name: str) -> None:
        self._ports[name] = free_ports(1)[0]
        self._failures[name] = 0
        self._killed.discard(name)
        home = self._folder / name
        home.mkdir(exist_ok=True)
        command = worker_command(self.settings, role_of(name), self._ports[name], self._entry)
        command = ["/usr/bin/env", f"PYTHONPATH={ROOT}", *command]
        self._pids[name] = self._guarded.start(name, command, home, self._folder / f"{name}.log")

    def _code(self, name: str) -> int | None:
        return self._guarded.code(name) if name in self._ports else -1

    def _send(self, names: Iterable[str], number: int) -> None:
        for name in names:
            self._guarded.send(name, number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                self._guarded.send(name, signal.SIGCONT)

    def _supervise(self) -> None:
        probe_at = time.monotonic() + PROBE_SECONDS
        while not self._stopping.wait(PAUSE):
            with self._lock:
                for name in self.wanted:
                    if (code := self._code(name)) is not None:
                        if name not in self._killed:  # a SIGKILL that is not ours is the system's: no memory left
                            self.counts["ended by themselves"] += 1
                            self._say(f"{name} ended with {code}: {self.last_words(name)}")
                        self._start(name)
            if time.monotonic() > probe_at:
                probe_at = time.monotonic() + PROBE_SECONDS
                self._probe()

    def _probe(self) -> None:
        for name in self.wanted:
            reasons = [] if name in self._paused else health(self._ports[name], "livez")
            self._failures[name] = self._failures[name] + 1 if reasons else 0
            if self._failures[name] >= FAILURES:
                self.counts["killed by the liveness probe"] += 1
                self._say(f"{name} is not live: {'; '.join(reasons)}")
                self.kill(name)


def role_of(name: str) -> str:
    return name.rpartition("-")[0]
