"""Which fault comes when: a pure function of the seed."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

MOST_QUIET = 6.0


class Fault(NamedTuple):
    """A fault that is to come. ``seed`` decides what the kind leaves open: which worker, how long."""

    number: int
    kind: str
    quiet: float  # seconds without any before it
    seed: int


def schedule(seed: int, kinds: Sequence[str]) -> Iterator[Fault]:
    """Faults without end. Kinds come as from a shuffled deck: none twice before all have come once."""
    random = Random(seed)
    number = 0
    while True:
        for kind in random.sample(sorted(kinds), len(kinds)):
            number += 1
            yield Fault(number, kind, random.uniform(0, MOST_QUIET), random.getrandbits(32))
