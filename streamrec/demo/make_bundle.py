"""Trains the bundle that the demo ships: the first five days of the radio week, the same bytes every time.

The demo replays the days after them. Small on purpose: it travels in the repository.
"""

import shutil

from streamrec.build import DEMO_BUNDLE
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset
from streamrec.serving.bundle import LEARNED
from streamrec.training.train import train

DAYS = 5
STEPS = 100
KEEP = 48  # followers of each item


def main() -> None:
    dataset = read_dataset(DATA)
    until = int(dataset.occurred_at[0]) + DAYS * 86_400_000
    fresh = DEMO_BUNDLE.with_name("bundle.new")
    trained = train(
        dataset.before(until),
        fresh,
        steps=STEPS,
        seed=0,
        dim=48,
        context=100,  # as much as a session holds
        keep=KEEP,
        progress=lambda at: print(f"step {at.step} of {at.steps}, loss {at.loss:.3f}", flush=True) if at.step % 50 == 0 else None,
    )
    (fresh / LEARNED).unlink()  # nobody goes on from it
    shutil.rmtree(DEMO_BUNDLE, ignore_errors=True)
    fresh.rename(DEMO_BUNDLE)
    print(f"bundle {trained.manifest.version} in {DEMO_BUNDLE}: {trained.manifest.metrics}")


if __name__ == "__main__":
    main()
