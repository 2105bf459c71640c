"""What the admin tools decide before they reach a broker."""

import ssl
from pathlib import Path

import numpy as np
import pytest

from streamrec.admin.client import client_options
from streamrec.admin.produce import due_times
from streamrec.core.errors import UserError
from streamrec.settings import Settings

SASL = {"sasl_username": "ada", "sasl_password": "geheim"}
AT = np.array([1_000, 1_500, 1_500, 4_000])


def test_recorded_time_passes_at_the_speed_asked_for():
    assert list(due_times(AT, speed=2, rate=None)) == [0, 0.25, 0.25, 1.5]


def test_a_rate_spaces_events_evenly_whatever_their_time():
    assert list(due_times(AT, speed=None, rate=10)) == [0, 0.1, 0.2, 0.3]


def test_without_speed_and_rate_nothing_waits():
    assert list(due_times(AT, speed=None, rate=None)) == [0, 0, 0, 0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_sasl_without_tls_is_allowed_on_this_machine(host: str):
    options = client_options(Settings(broker=f"{host}:9092", security_protocol="SASL_PLAINTEXT", **SASL))
    assert options["ssl_context"] is None
    assert options["sasl_plain_password"] == "geheim"


@pytest.mark.parametrize(
    "broker", ["kafka.example:9092", "10.0.0.7:9092", "127.0.0.1:9092,kafka.example:9092", "localhost.example:9092"]
)
def test_sasl_without_tls_is_refused_to_another_machine_and_the_password_is_not_said(broker: str):
    with pytest.raises(UserError, match=r"SASL_PLAINTEXT.*in the open; set security_protocol to SASL_SSL") as refused:
        client_options(Settings(broker=broker, security_protocol="SASL_PLAINTEXT", **SASL))
    assert "geheim" not in str(refused.value)


def test_tls_checks_the_certificate_and_the_host():
    context = client_options(Settings(security_protocol="SASL_SSL", **SASL))["ssl_context"]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_ca_file_that_is_none_is_named(tmp_path: Path):
    for path, text in ((tmp_path / "absent.pem", None), (tmp_path / "empty.pem", "no certificate")):
        if text is not None:
            path.write_text(text)
        with pytest.raises(UserError, match=f"ssl_cafile: {path}"):
            client_options(Settings(security_protocol="SSL", ssl_cafile=path))
