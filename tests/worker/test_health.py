"""A worker that works off a backlog is live, however long a partition waits for its turn; one in which nothing moves is not."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from streamrec.worker import health
from streamrec.worker.health import Health

FIRST, SECOND = TopicPartition("clicks", 0), TopicPartition("clicks", 1)


def live_after(monkeypatch: pytest.MonkeyPatch, looks: list[dict[TopicPartition, int]], every: float = 10.0) -> list[str]:
    """What the probe says when the topics were looked at so often, the last time just now."""
    watched = Health([], patience=60.0)
    for number, late in enumerate(looks):
        watched._look("app", late, number * every)
    monkeypatch.setattr(health, "monotonic", lambda: (len(looks) - 1) * every)
    return asyncio.run(watched.not_live())


def test_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_after(monkeypatch, [{FIRST: 5}] * 7) == []
    assert live_after(monkeypatch, [{FIRST: 5}] * 8) == ["clicks[0]@5 has not been delivered for 70 s"]


@pytest.mark.parametrize("other", [lambda n: {SECOND: n}, lambda n: {SECOND: 3} if n % 2 else {}])
def test_a_partition_waits_while_another_is_worked_off(monkeypatch: pytest.MonkeyPatch, other) -> None:
    assert live_after(monkeypatch, [{FIRST: 5, **other(number)} for number in range(30)]) == []


def test_a_partition_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    said = live_after(monkeypatch, [{FIRST: 5, SECOND: number} for number in range(32)])
    assert said == ["clicks[0]@5 has not been delivered for 310 s"]


def test_what_was_delivered_meanwhile_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_after(monkeypatch, [{FIRST: 5}] * 6 + [{}] + [{FIRST: 5}] * 6) == []


def test_a_transaction_open_for_a_minute_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the notes, with its producer; it is no reason not to be ready. One that moves on is not named."""
    held_up = {FIRST: 7}
    intake = SimpleNamespace(held_up=lambda: held_up)
    watch = SimpleNamespace(producers={FIRST: "producer 12"}, held_up=(), not_ready=list)
    watched = Health([intake], watch=watch)  # type: ignore[list-item, arg-type]
    monkeypatch.setattr(watched, "_of_apps", lambda: iter(()))

    def notes_at(now: float) -> list[str]:
        monkeypatch.setattr(health, "monotonic", lambda: now)
        watched._look_for_open_transactions(now)
        return asyncio.run(watched.notes())

    assert notes_at(0.0) == notes_at(59.0) == []
    assert "clicks[0]: a transaction of producer 12, open at offset 7 for 61 s" in notes_at(61.0)[0]
    assert watch.held_up == [FIRST]
    assert asyncio.run(watched.not_ready()) == []
    held_up[FIRST] = 9
    assert notes_at(62.0) == []
