"""A small process beside a local Kafka: it starts the nodes, and when its pipe to the parent closes it kills them and
removes the scratch folder. So nothing is left behind, however the parent ends.

It runs as a file, ``python -I guard.py``, and imports only the standard library, to be there soon. Its other side is guarded.py.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

Children = dict[str, subprocess.Popen[bytes]]


def main(parent: int, base: str) -> None:
    """Serve the process ``parent`` until it goes; the scratch folder is made in ``base``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # SystemExit, so that `finally` runs
    children: Children = {}
    scratch = tempfile.mkdtemp(prefix="streamrec-kafka-", dir=base)
    try:
        say({"scratch": scratch})
        serve(children, parent)
    except BrokenPipeError:
        pass
    finally:
        for child in children.values():
            child.kill()  # works on a paused one, too
        for child in children.values():
            child.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def serve(children: Children, parent: int) -> None:
    """Answer each line until an empty one comes or the pipe closes."""
    text = b""
    # A forked child of the parent may hold the pipe open for longer than the parent lives; so look for the parent, too.
    while os.getppid() == parent:
        if not select.select([0], [], [], 1.0)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, text = (text + chunk).split(b"\n")
        for line in lines:
            if not line:
                return
            say(answer(children, **json.loads(line)))


def answer(
    children: Children, turn: int, name: str, send: int | None = None, start: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Start the child ``name``, or send it a signal, or do neither; then its exit code, None while it runs."""
    try:
        if start:
            with Path(start["log"]).open("ab") as log:
                children[name] = subprocess.Popen(
                    start["command"], cwd=start["folder"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
        if send is not None:
            children[name].send_signal(send)  # nothing to a child that has ended: its number may be another's by now
        return {"turn": turn, "code": children[name].poll(), "pid": children[name].pid}
    except OSError as error:
        return {"turn": turn, "error": str(error)}


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
