"""What holds for every test, and the options of the long ones."""

import signal

import pytest

# A shell that runs pytest in the background makes it ignore Ctrl-C, and children inherit that: those that are sent one would stay.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--events", type=int, default=4000, help="events of the restart test")
    parser.addoption("--restarts", type=int, default=3, help="how often its worker is stopped and started")
