"""Settings: who wins over whom, and that a mistake is named in one line."""

import os
from pathlib import Path
from typing import Any

import pytest

from streamrec.core.errors import UserError
from streamrec.core.pipeline import SlateRules
from streamrec.core.session import SessionRules
from streamrec.settings import PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests are not ours."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def in_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        monkeypatch.setenv(PREFIX + "SETTINGS", str(path))
        return path

    return write


def fault(**options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_settings(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_needs_to_be_set() -> None:
    assert load_settings() == Settings()


def test_the_rules_are_by_default_the_cores_own() -> None:
    assert load_settings().session_rules == SessionRules()
    assert load_settings().slate_rules == SlateRules()


def test_rules_follow_their_settings() -> None:
    chosen = load_settings(max_history=7, session_gap_seconds=1.5, slate_size=3, candidates=9)
    assert chosen.session_rules == SessionRules(max_history=7, gap_ms=1500)
    rules = {"slate_size": 3, "candidates": 9, "repeats": "next-session", "relevance_threshold": 0.1}
    assert load_settings(**rules).slate_rules == SlateRules(**rules)  # type: ignore[arg-type]


def test_an_option_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch, in_file: Any) -> None:
    assert load_settings().slate_size == 10
    in_file("slate_size = 1")
    assert load_settings().slate_size == 1
    assert load_settings(slate_size=3).slate_size == 3
    monkeypatch.setenv("STREAMREC_SLATE_SIZE", "2")
    assert load_settings().slate_size == 2
    assert load_settings(slate_size=3).slate_size == 3
    assert load_settings(slate_size=None).slate_size == 2


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, in_file: Any) -> None:
    """A compose file passes `${BUNDLE:-}` on; it must not mean the current folder."""
    monkeypatch.setenv("STREAMREC_BUNDLE", "")
    assert load_settings().bundle is None
    in_file("bundle = 'there'")
    assert load_settings().bundle == Path("there")


def test_brokers_are_listed_without_spaces() -> None:
    assert load_settings(broker="a:1, [::1]:2").brokers == ["a:1", "[::1]:2"]


@pytest.mark.parametrize("broker", ["", "a", "a:", ":1", "a:x", "a:0", "a:65536", "a:1,", "a:²"])
def test_a_broker_that_is_no_host_and_port_is_named(broker: str) -> None:
    said = fault(broker=broker)
    assert said.startswith("setting broker: ")
    assert said.endswith("is not host:port; set STREAMREC_BROKER")


def test_a_wrong_setting_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_SLATE_SIZE", "0")
    assert fault() == "setting slate_size: Input should be greater than or equal to 1; set STREAMREC_SLATE_SIZE"


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_time_must_be_finite(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("STREAMREC_SESSION_GAP_SECONDS", value)
    assert fault().startswith("setting session_gap_seconds: ")


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_SLATESIZE", "3")
    assert fault() == "environment: STREAMREC_SLATESIZE is no setting; see `streamrec settings` for all of them"


def test_an_unknown_name_in_the_file_is_refused(in_file: Any) -> None:
    in_file("slatesize = 3")
    assert fault() == "slatesize is no setting; see `streamrec settings` for all of them"


@pytest.mark.parametrize("text", ["slate_size = ", "slate_size = 'x"])
def test_a_file_that_is_no_toml_is_named(in_file: Any, text: str) -> None:
    path = in_file(text)
    assert fault().startswith(f"settings file {path}: ")


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PREFIX + "SETTINGS", str(tmp_path / "nowhere.toml"))
    assert fault().startswith(f"settings file {tmp_path / 'nowhere.toml'}: ")


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_sasl_needs_a_user_and_a_password(protocol: str) -> None:
    assert "needs sasl_username and sasl_password_file" in fault(security_protocol=protocol)
    assert "needs sasl_username and sasl_password_file" in fault(security_protocol=protocol, sasl_username="u")
    assert load_settings(security_protocol=protocol, sasl_username="u", sasl_password="p").password == "p"


def test_a_password_file_wins_and_is_stripped(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("from the file\n")
    chosen = load_settings(security_protocol="SASL_SSL", sasl_username="u", sasl_password="p", sasl_password_file=path)
    assert chosen.password == "from the file"


def test_a_missing_or_empty_password_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    sasl = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password_file": path}
    assert str(path) in fault(**sasl)
    path.write_text("\n")
    assert "needs sasl_username and sasl_password_file" in fault(**sasl)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_SASL_PASSWORD", "geheim")
    assert "geheim" not in repr(load_settings()) + str(load_settings().model_dump())
    assert "geheim" not in fault(ops_port=-1) + fault(sasl_mechanism="NONE")


def test_every_number_has_a_bound() -> None:
    """A negative size or time is a mistake that must be named, not tried."""
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
    assert numbers
    for name in numbers:
        assert fault(**{name: -1}).startswith(f"setting {name}: ")
