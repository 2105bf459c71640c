"""Runs every benchmark, or those that are named: ``python -m benchmarks [pipeline] [latency] [recovery]``."""

import json
import sys

from benchmarks import latency, pipeline, recovery

ALL = {"pipeline": pipeline.run, "latency": latency.run, "recovery": recovery.run}

for name in sys.argv[1:] or ALL:
    if name not in ALL:
        sys.exit(f"no benchmark {name!r}; there are {', '.join(ALL)}")
    print(json.dumps({name: ALL[name]()}, indent=2), flush=True)
