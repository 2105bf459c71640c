"""Whoever looks after a sleep finds it, also while the first who saw it is still writing that down."""

import subprocess
import sys

SLEPT = """
import threading, time
from streamrec.worker import awake

class SlowLog:
    def critical(self, *_, **__):
        began.set()
        time.sleep(1)

began = threading.Event()
awake.log = SlowLog()
watched = awake.Awake(0.2)
time.sleep(0.5)
threading.Thread(target=watched.check).start()
began.wait(5)
watched.check()
print("it wrote")
"""


def test_nobody_passes_while_the_end_is_being_written_down() -> None:
    ran = subprocess.run([sys.executable, "-c", SLEPT], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
