"""The faults and the load follow from the seed alone."""

from collections import Counter
from itertools import islice

from chaos.faults import KINDS
from chaos.load import SHARES, sendings
from chaos.schedule import schedule
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset

LOAD = {"dataset": read_dataset(DATA), "users": 50, "partitions": 12, "started_at": 1_700_000_000_000, "rate": 30.0}


def test_a_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert list(islice(schedule(1, tuple(KINDS)), 50)) == list(islice(schedule(1, tuple(KINDS)), 50))
    assert list(islice(schedule(1, tuple(KINDS)), 50)) != list(islice(schedule(2, tuple(KINDS)), 50))


def test_no_kind_comes_twice_before_all_have_come() -> None:
    drawn = [fault.kind for fault in islice(schedule(3, tuple(KINDS)), 3 * len(KINDS))]
    for first in range(0, len(drawn), len(KINDS)):
        assert Counter(drawn[first : first + len(KINDS)]) == Counter(list(KINDS))


def test_a_seed_gives_the_same_load() -> None:
    first, again = (list(islice(sendings(1, **LOAD), 500)) for _ in range(2))
    assert first == again
    assert first != list(islice(sendings(2, **LOAD), 500))


def test_the_load_holds_every_kind_of_bad_record_in_its_share() -> None:
    held = Counter(each.what for each in islice(sendings(1, **LOAD), 40_000))
    assert set(held) == {*SHARES, "event"}
    for what, share in SHARES.items():
        assert 0.6 * share < held[what] / 40_000 < 1.5 * share
