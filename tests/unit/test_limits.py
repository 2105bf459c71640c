"""What holds a role back: too many unreadable records, and a user who asks too often."""

import re
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.deadletters import DeadLetterLimit
from streamrec.core.errors import InvalidRecord, UserError
from streamrec.core.session import Position
from streamrec.worker.recommend import RateCap

JSON = InvalidRecord("unreadable", "looks like JSON: send the header content-type: application/json")


def at(offset: int, topic: str = "clicks") -> Position:
    return Position(topic, 0, offset, 0)


def stopped_at(limit: DeadLetterLimit, records: Iterable[tuple[float, bool]]) -> float | None:
    """When the limit stops a role that meets these records: the time of each, and whether it can be read."""
    for offset, (now, readable) in enumerate(records):
        if readable:
            limit.readable(now)
            continue
        try:
            limit.unreadable(at(offset), JSON, now)
        except UserError:
            return now
    return None


def last_words(limit: DeadLetterLimit, rate: int, faults: Iterable[tuple[str, InvalidRecord]]) -> str:
    """What a role says that meets these faults, by topic, at so many a second, until it is stopped."""
    for offset, (topic, fault) in enumerate(faults):
        try:
            limit.unreadable(at(offset, topic), fault, offset / rate)
        except UserError as stopped:
            return str(stopped)
    raise AssertionError("never stopped")


def every(seconds: float, readable: bool, until: float, start: float = 0.0) -> list[tuple[float, bool]]:
    return [(start + n * seconds, readable) for n in range(round((until - start) / seconds))]


def test_a_bad_deploy_is_stopped_in_a_minute_with_its_cause() -> None:
    rare = (InvalidRecord("invalid", f"occurred_at {n} is in seconds") for n in range(10_000))
    faults = (fault if n % 10 == 0 else JSON for n, fault in enumerate(rare))
    faults_by_topic = (("listens" if n % 7 == 0 else "clicks", fault) for n, fault in enumerate(faults))
    said = last_words(DeadLetterLimit(20, 60), 100, faults_by_topic)
    assert said.startswith("6,001 of 6,001 records in 60 s were unreadable (dead_letter_limit_percent 20, ")
    assert "; 4,628 of them: clicks: unreadable: looks like JSON: send the header content-type: " in said
    assert "; the last, clicks[0]@6000: invalid: occurred_at 6000 is in seconds. Stopped, " in said
    assert "acknowledging nothing over it" in said
    assert "\n" not in said


def test_a_bad_deploy_with_little_traffic_is_stopped_too() -> None:
    assert stopped_at(DeadLetterLimit(20, 60), every(1, False, 1000)) == 100
    assert stopped_at(DeadLetterLimit(20, 60), every(0.1, False, 1000)) == pytest.approx(60, abs=1)
    assert stopped_at(DeadLetterLimit(20, 60), every(60, False, 60_000)) == 60 * 100


@pytest.mark.parametrize("burst", [100, 1_000, 20_000])
@pytest.mark.parametrize("start", [0.0, 200.0])
def test_a_burst_beside_healthy_traffic_stops_nobody(burst: int, start: float) -> None:
    healthy = every(0.2, True, 600)
    bad = every(9 / burst, False, start + 9, start)
    stragglers = every(5, False, 600)
    assert stopped_at(DeadLetterLimit(20, 60), sorted(healthy + bad + stragglers)) is None


def test_a_burst_after_a_burst_stops_nobody_while_others_send() -> None:
    bursts = [each for start in range(0, 3000, 30) for each in every(0.01, False, start + 5, start)]
    assert stopped_at(DeadLetterLimit(20, 60), sorted(bursts + every(0.5, True, 3000))) is None


def test_a_burst_into_silence_stops_nobody_for_a_straggler() -> None:
    stragglers = [(3600.0, False), (7200.0, False)]
    assert stopped_at(DeadLetterLimit(20, 60), [*every(0.01, False, 5), *stragglers]) is None


def test_one_bad_record_in_five_is_borne_for_ever_and_one_in_four_a_minute() -> None:
    def share(one_in: int) -> Iterator[tuple[float, bool]]:
        return ((n / 50, n % one_in != 0) for n in range(30_000))

    assert stopped_at(DeadLetterLimit(20, 60), share(5)) is None
    assert stopped_at(DeadLetterLimit(20, 60), share(4)) == pytest.approx(60, abs=1)
    assert stopped_at(DeadLetterLimit(20, 10), share(4)) == pytest.approx(10, abs=1)


def test_at_a_hundred_there_is_no_limit_and_at_zero_every_one_counts() -> None:
    assert stopped_at(DeadLetterLimit(100, 1), every(0.01, False, 1000)) is None
    assert stopped_at(DeadLetterLimit(0, 6), [(float(n), n % 3 > 0) for n in range(60)]) is None
    assert stopped_at(DeadLetterLimit(0, 6), [(n / 4, n % 3 > 0) for n in range(60)]) is not None


def test_many_kinds_of_fault_are_counted_in_bounded_memory() -> None:
    limit = DeadLetterLimit(20, 60)
    words = ("".join(letters) for letters in product("abcdefghij", repeat=4))
    said = last_words(limit, 90, (("clicks", InvalidRecord("invalid", word)) for word in words))
    assert re.search(r"; 5,\d\d\d of them: clicks: invalid: ", said)
    assert len(said) < 600
    assert len(limit._causes._counts) <= 101


def turns(cap: RateCap, times: list[float], user: str = "anna") -> list[float]:
    return [at for at in times if not cap.wait(user, at)]


def test_a_user_who_rested_may_ask_at_once_and_then_waits_for_each_turn() -> None:
    cap = RateCap(4)
    assert turns(cap, [10.0] * 9) == [10.0] * 4
    wait = cap.wait("anna", 10.0)
    assert wait == pytest.approx(0.25)
    assert cap.wait("bob", 10.0) == 0
    assert cap.wait("anna", 10.0 + wait) == 0
    assert turns(cap, [12.0] * 9) == [12.0] * 4


@given(st.integers(1, 50), st.lists(st.floats(0, 0.2), min_size=1, max_size=200))
def test_no_second_holds_more_than_twice_the_rate_and_the_long_run_keeps_to_it(rate: int, steps: list[float]) -> None:
    cap, now, taken = RateCap(rate), 0.0, []
    for step in steps:
        now += step
        taken += turns(cap, [now])
    assert len(taken) <= rate * (now + 1) + 1
    assert all(sum(at <= other < at + 1 for other in taken) <= 2 * rate for at in taken)


def test_only_users_of_the_last_seconds_are_remembered_and_zero_is_no_cap() -> None:
    cap = RateCap(4)
    for n in range(100):
        cap.wait(f"user-{n}", 10.0)
    cap.forget(12.0)
    assert not cap._paid_until
    assert turns(RateCap(0), [1.0] * 50) == [1.0] * 50
