"""What holds a role back: too many unreadable records, and a user who asks too often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec.core.deadletters import DeadLetterLimit
from streamrec.core.errors import UserError
from streamrec.worker.recommend import RateCap


def test_a_bad_deploy_is_stopped_and_told_in_one_line() -> None:
    limit = DeadLetterLimit(20)
    for n in range(100):
        limit.unreadable(f"clicks[0]@{n}")
    with pytest.raises(UserError, match=r"101 of the last 500 .* clicks\[0\]@100\. Stopped, acknowledging nothing") as stopped:
        limit.unreadable("clicks[0]@100")
    assert "\n" not in str(stopped.value)


def test_one_bad_record_in_five_is_borne_for_ever() -> None:
    limit = DeadLetterLimit(20)
    for _ in range(3000):
        for _ in range(4):
            limit.readable()
        limit.unreadable("x")


def test_at_a_hundred_there_is_no_limit_and_at_zero_no_patience() -> None:
    generous, strict = DeadLetterLimit(100), DeadLetterLimit(0)
    for _ in range(2000):
        generous.unreadable("x")
    with pytest.raises(UserError):
        strict.unreadable("x")


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
