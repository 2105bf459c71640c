"""The benchmarks still run; what they measure is theirs to say."""

import pytest

from benchmarks import latency, pipeline, recovery


def test_the_pipeline_is_held_against_the_bare_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "EVENTS", 40)
    found = pipeline.run()
    assert {figures["ms"] >= figures["bare model ms"] > 0 for figures in found.values()} == {True}


def test_the_worker_is_held_against_a_bare_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "RATES", (20,))
    monkeypatch.setattr(latency, "SECONDS", 3)
    monkeypatch.setattr(latency, "WARM_UP", 1)
    found = latency.run()
    assert found["20 events/s"]["streamrec ms"]["p50"] > found["20 events/s"]["bare aiokafka ms"]["p50"] > 0


def test_recovery_loads_every_session_and_is_held_against_a_bare_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "SIZES", (3_000,))
    found = recovery.run()["3,000 sessions"]
    assert found["record bytes"] > 900
    assert found["cpu seconds"] > 0
