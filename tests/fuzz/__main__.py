"""``python -m tests.fuzz --seconds N [--reader NAME …] [--json]``: bytes bred by coverage (atheris) for every reader.

Each reader gets an equal share of the time in a process of its own. Whatever comes out of one that is no typed error is a crash,
more than ten seconds for one input is a hang; the input is kept, its file named, and the exit code is 1.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HANG_SECONDS = 10
KEPT = Path(".fuzz")
ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="for all readers together")
    parser.add_argument("--reader", action="append", help="only this one; may be given more than once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    from tests.fuzz.readers import READERS

    names = options.reader or list(READERS)
    if unknown := set(names) - READERS.keys():
        parser.error(f"no reader {', '.join(unknown)}; there are {', '.join(READERS)}")
    found = {}
    for name in names:
        found[name] = _run(name, max(options.seconds / len(names), 1))
        if not options.json:
            print(_line(name, found[name]), flush=True)
    total = {what: sum(each[what] for each in found.values()) for what in ("inputs", "crashes", "hangs")}
    if options.json:
        print(json.dumps({**total, "readers": found}))
    else:
        print(f"{'all':20}{total['inputs']:>12,} inputs, {total['crashes']} crashes, {total['hangs']} hangs")
    sys.exit(1 if total["crashes"] or total["hangs"] else 0)


def _line(name: str, found: dict[str, Any]) -> str:
    line = f"{name:20}{found['inputs']:>12,} inputs, {found['crashes']} crashes, {found['hangs']} hangs"
    return f"{line}  {found['input']}: {found['fault']}" if found["fault"] else line


def _run(name: str, seconds: float) -> dict[str, Any]:
    from tests.fuzz.readers import READERS

    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="streamrec-corpus-") as corpus:
        for number, seed in enumerate(READERS[name].seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        limits = [f"-max_total_time={round(seconds)}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=2048", "-max_len=16384"]
        kept = [f"-artifact_prefix={KEPT}/{name}-", "-print_final_stats=1", "-len_control=10"]
        command = [sys.executable, "-m", "tests.fuzz.one", name, corpus, *limits, *kept]
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            code = subprocess.run(command, stdout=said, stderr=said, check=False).returncode
            said.seek(0)
            text = said.read()
    tried = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text) or re.findall(r"^#(\d+)", text, re.MULTILINE)
    artifact = re.findall(r"Test unit written to (\S+)", text)
    fault = re.findall(r"^(?:  )?(\w[\w.]*(?:Error|Exception|Record|Interrupt)\b.*)$", text, re.MULTILINE)
    hang = "timeout after" in text
    if code and not artifact and not tried:
        sys.exit(f"the fuzzer did not start: {text[-2000:]}")
    return {
        "inputs": int(tried[-1]) if tried else 0,
        "crashes": int(code != 0 and not hang),
        "hangs": int(hang),
        "fault": (fault[-1][:200] if fault else text[-200:]) if code else "",
        "input": artifact[-1] if artifact else "",
    }


if __name__ == "__main__":
    main()
