"""The faults and the load follow from the seed alone."""

from collections import Counter, defaultdict
from itertools import islice

from chaos.faults import KINDS
from chaos.load import HOUR, LATE, MINUTE, SHARES, VALID, Clock, Sending, sendings
from chaos.schedule import schedule
from streamrec.core.types import Event
from streamrec.core.wire import decode
from streamrec.demo.run import DATA
from streamrec.eventlog.dataset import read_dataset

DATASET = read_dataset(DATA)
START = 1_700_000_000_000


def load(seed: int, count: int, clock: Clock | None = None) -> list[Sending]:
    return list(islice(sendings(seed, DATASET, 50, 12, clock or Clock(START, 30)), count))


def test_a_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert list(islice(schedule(1, tuple(KINDS)), 50)) == list(islice(schedule(1, tuple(KINDS)), 50))
    assert list(islice(schedule(1, tuple(KINDS)), 50)) != list(islice(schedule(2, tuple(KINDS)), 50))


def test_no_kind_comes_twice_before_all_have_come() -> None:
    drawn = [fault.kind for fault in islice(schedule(3, tuple(KINDS)), 3 * len(KINDS))]
    for first in range(0, len(drawn), len(KINDS)):
        assert Counter(drawn[first : first + len(KINDS)]) == Counter(list(KINDS))


def test_a_seed_gives_the_same_load() -> None:
    first, again = load(1, 500), load(1, 500)
    assert first == again
    assert first != load(2, 500)


def test_the_load_holds_every_kind_of_bad_record_in_its_share() -> None:
    held = Counter(each.what for each in load(1, 40_000))
    assert set(held) == {*SHARES, "event"}
    for what, share in SHARES.items():
        assert 0.6 * share < held[what] / 40_000 < 1.5 * share


def events(sent: list[Sending]) -> list[tuple[Sending, Event]]:
    return [(each, decode(Event, each.value)) for each in sent if each.what in VALID]


def test_every_user_is_on_both_topics_each_in_their_own_ratio() -> None:
    of_user: dict[str, Counter[str]] = defaultdict(Counter)
    for sent, event in events(load(1, 20_000)):
        of_user[event.user_id][sent.topic] += 1
    shares = [count["clicks"] / count.total() for count in of_user.values() if count.total() > 100]
    assert len(shares) > 20
    assert min(shares) > 0
    assert max(shares) > 0.5 > 0.2 > min(shares)


def test_late_events_are_up_to_days_old() -> None:
    clock = Clock(START, 30)
    late = [event.occurred_at for sent, event in events(load(1, 20_000, clock)) if sent.what == "late"]
    ages = sorted(clock.now - at for at in late)
    assert ages[0] >= 31 * MINUTE
    assert ages[-1] > 48 * HOUR
    assert {low for low, _ in LATE} == {31 * MINUTE, 5 * HOUR, 48 * HOUR}


def test_the_clock_runs_faster_but_not_ahead_of_the_wall_clock() -> None:
    clock = Clock(START, 10, latest=lambda: START + HOUR)
    assert [clock.tick(), clock.tick()] == [START + 100, START + 200]
    clock.speed = 360
    assert clock.tick() == START + 200 + 36_000
    for _ in range(1000):
        clock.tick()
    assert clock.now == START + HOUR
