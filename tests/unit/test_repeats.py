"""Client libraries repeat themselves while a broker is away; a log keeps the first line and a count."""

import logging

import pytest

from streamrec.cli import repeats
from streamrec.cli.repeats import FewRepeats


def passed(monkeypatch: pytest.MonkeyPatch, lines: list[tuple[float, str, int, str, object]]) -> list[str]:
    """What gets through of (time, logger, level, message, value)."""
    few = FewRepeats(seconds=60)
    heard = []
    for at, name, level, message, value in lines:
        monkeypatch.setattr(repeats, "monotonic", lambda at=at: at)
        record = logging.LogRecord(name, level, "", 0, message, (value,), None)
        if few.filter(record):
            heard.append(record.getMessage())
    return heard


def test_the_same_line_passes_once_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(at, "aiokafka", logging.ERROR, "Unable connect to node %s", at) for at in (0.0, 1.0, 59.0, 60.0, 61.0)]
    assert passed(monkeypatch, lines) == ["Unable connect to node 0.0", "Unable connect to node 60.0 (and 2 more like it)"]


def test_other_loggers_levels_and_messages_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        (0.0, "aiokafka", logging.ERROR, "a %s", 1),
        (0.0, "aiokafka", logging.WARNING, "a %s", 2),
        (0.0, "aiokafka.conn", logging.ERROR, "a %s", 3),
        (0.0, "aiokafka", logging.ERROR, "b %s", 4),
    ]
    assert passed(monkeypatch, lines) == ["a 1", "a 2", "a 3", "b 4"]


@pytest.mark.parametrize(("name", "level"), [("streamrec.worker", logging.ERROR), ("mode.supervisors", logging.CRITICAL)])
def test_our_own_lines_and_last_words_are_never_held_back(monkeypatch: pytest.MonkeyPatch, name: str, level: int) -> None:
    assert len(passed(monkeypatch, [(0.0, name, level, "x %s", 1)] * 3)) == 3
