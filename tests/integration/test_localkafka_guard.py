"""Processes that must not outlive their owner; without Kafka, with a `sleep`."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from streamrec.core.errors import UserError
from streamrec.localkafka.guarded import Guarded


@pytest.fixture
def guarded():
    it = Guarded()
    yield it
    it.close()


def run(guarded: Guarded, *command: str) -> int:
    return guarded.start("child", command, guarded.scratch, guarded.scratch / "log")


def is_there(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not asked for yet does not."""
    try:
        os.kill(pid, 0)
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def gone(pid: int) -> None:
    while is_there(pid):
        time.sleep(0.02)


def test_closing_ends_the_child_and_removes_the_scratch_folder(guarded):
    pid = run(guarded, "sleep", "600")
    (guarded.scratch / "data").write_text("x")
    guarded.close()
    gone(pid)
    assert not guarded.scratch.exists()


def test_a_paused_child_ends_too(guarded):
    pid = run(guarded, "sleep", "600")
    guarded.send("child", signal.SIGSTOP)
    while ") T " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.02)
    guarded.close()
    gone(pid)


def test_ctrl_c_in_the_terminal_reaches_no_child(guarded):
    assert os.getpgid(run(guarded, "sleep", "600")) != os.getpgid(0)


def test_an_exit_code_is_told_and_output_is_kept(guarded):
    run(guarded, "sh", "-c", "echo hello; exit 3")
    while guarded.code("child") is None:
        time.sleep(0.02)
    assert guarded.code("child") == 3
    assert (guarded.scratch / "log").read_text() == "hello\n"


def test_a_command_that_cannot_run_is_a_user_error_and_the_guard_stays(guarded):
    with pytest.raises(UserError, match="no-such-program"):
        run(guarded, "no-such-program")
    assert is_there(run(guarded, "sleep", "600"))


def test_a_signal_to_a_child_that_has_ended_goes_nowhere(guarded):
    run(guarded, "true")
    while guarded.code("child") is None:
        time.sleep(0.02)
    guarded.send("child", signal.SIGKILL)
    assert guarded.code("child") == 0


def test_a_forked_process_that_holds_the_pipe_does_not_delay_the_end(guarded):
    run(guarded, "sleep", "600")
    fork = os.fork()
    if not fork:  # as multiprocessing's "fork" does: it inherits the pipe, and lives on
        time.sleep(600)
        os._exit(0)
    try:
        guarded.close()
    finally:
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "while a forked process holds the pipe"])
def test_the_child_ends_when_its_owner_is_killed(tmp_path, forks):
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(forks)],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert owner.stdout
    pid, fork = map(int, owner.stdout.readline().split())
    try:
        assert len(list(tmp_path.iterdir())) == 1
        owner.kill()
        owner.wait()
        gone(pid)
        while list(tmp_path.iterdir()):
            time.sleep(0.02)
    finally:
        owner.stdout.close()
        if fork:
            os.kill(fork, signal.SIGKILL)


OWNER = """
    import os, sys, time
    from streamrec.localkafka.guarded import Guarded

    guarded = Guarded()
    pid = guarded.start("child", ["sleep", "600"], guarded.scratch, guarded.scratch / "log")
    fork = os.fork() if sys.argv[1] == "True" else -1
    if fork:
        print(pid, max(fork, 0), flush=True)
    time.sleep(600)
"""
