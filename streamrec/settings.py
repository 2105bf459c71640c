"""Every setting, with its meaning. The only reader of the environment and of the settings file.

A setting is named ``STREAMREC_…`` in the environment, and by its field's name in the file (TOML) that ``STREAMREC_SETTINGS``
names. The environment wins over the file (an empty variable is as good as none), an option of the command line over both.
"""

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamrec.core.errors import UserError
from streamrec.core.pipeline import SlateRules
from streamrec.core.session import SessionRules

PREFIX = "STREAMREC_"
GONE = {PREFIX + "ALLOWED_LATENESS_SECONDS": "no valid event is left out for its age"}


class Settings(BaseSettings):
    """What an operator can choose. Times are in the unit that their name says."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False)

    broker: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port, separated by commas")
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]*$", description="put before every topic's and group's name")
    topics_dir: Path | None = Field(None, description="the topic contracts; the ones shipped with streamrec where unset")
    bundle: Path | None = Field(None, description="folder of the trained bundle; the demo's where unset")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: pretty on a terminal, else JSON")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    output_format: Literal["msgpack", "json"] = Field("msgpack", description="how recommendations and explanations are written")
    slate_size: int = Field(10, ge=1, le=100, description="items in a recommendation, at most")
    candidates: int = Field(100, ge=1, le=1000, description="items judged for each recommendation")
    repeats: Literal["never", "next-session"] = Field("never", description="when an item that the user had may come again")
    diversity: float = Field(0.5, ge=0, le=1, description="of slates, where the bundle is tuned Next-K; 0: accuracy alone")
    relevance_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="least relevance of slots after the third; 0 fills the slate; the bundle's where unset",
    )
    max_history: int = Field(100, ge=1, le=100, description="interactions kept for each user")
    session_gap_seconds: float = Field(1800, gt=0, description="a longer pause starts a new session")
    order_wait_ms: int = Field(500, ge=0, description="longest wait for the other topic's records, so that events go by time")

    ops_host: str = Field("127.0.0.1", description="where /livez, /readyz and /metrics are served")
    ops_port: int = Field(6066, ge=0, le=65535, description="0 takes any free port")
    session_timeout_seconds: float = Field(10, ge=6, description="a silent worker is taken for dead after this time")
    commit_interval_seconds: float = Field(0.5, gt=0, description="how often progress is committed")
    linger_ms: int = Field(1, ge=0, description="how long a record waits for others to be sent with it")
    max_in_flight: int = Field(1000, ge=1, description="events taken in, per role, before their outputs are confirmed")
    user_rate: int = Field(10, ge=0, description="recommendations a second for one user; more wait and are superseded; 0: no cap")
    dead_letter_limit_percent: int = Field(
        20, ge=0, le=100, description="stop if more of a role's records are unreadable for long; 100: never"
    )
    dead_letter_limit_seconds: float = Field(
        60, ge=1, description="how long: more than one producer's burst, less than a bad deploy"
    )
    max_batch: int = Field(32, ge=1, description="sessions in one run of the model")
    inference_threads: int = Field(1, ge=1, description="threads of one run of the model; changes no answer")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    ssl_cafile: Path | None = None
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = Field(None, description="wins over sasl_password; re-read at each start")

    @field_validator("broker")
    @classmethod
    def _host_and_port(cls, broker: str) -> str:
        for server in broker.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{server.strip()!r} is not host:port")
        return ",".join(server.strip() for server in broker.split(","))

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> "Settings":
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.password):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password_file")
        return self

    @property
    def brokers(self) -> list[str]:
        return self.broker.split(",")

    @property
    def password(self) -> str | None:
        if self.sasl_password_file is not None:
            return self.sasl_password_file.read_text().strip()
        return self.sasl_password.get_secret_value() if self.sasl_password else None

    @property
    def slate_rules(self) -> SlateRules:
        return SlateRules(
            slate_size=self.slate_size,
            candidates=self.candidates,
            repeats=self.repeats,
            diversity=self.diversity,
            relevance_threshold=self.relevance_threshold,
        )

    @property
    def session_rules(self) -> SessionRules:
        return SessionRules(
            max_history=self.max_history,
            gap_ms=round(self.session_gap_seconds * 1000),
        )


def load_settings(**options: Any) -> Settings:
    """The settings of this process; options that are not None win over the environment, and that over the file.

    Raises:
        UserError: the file cannot be read, or a setting is unknown or wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    in_file = _read_file(os.environ.get(PREFIX + "SETTINGS"))
    _refuse_unknown(os.environ)
    in_file = {name: value for name, value in in_file.items() if not os.environ.get(PREFIX + name.upper())}
    try:
        return Settings(**{**in_file, **given})
    except ValidationError as error:
        raise UserError(_first_fault(error)) from None
    except OSError as error:
        raise UserError(f"setting sasl_password_file: {error.strerror} {error.filename!r}; name a readable file") from None


def _read_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"settings file {path}: {error}; mend it or unset {PREFIX}SETTINGS") from None


def _refuse_unknown(environment: Iterable[str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + "SETTINGS"}
    for name in environment:
        if reason := GONE.get(name):
            raise UserError(f"environment: {name} is gone: {reason}; unset it")
        if name.startswith(PREFIX) and name not in known:
            raise UserError(f"environment: {name} is no setting; see `streamrec settings` for all of them")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name} is no setting; see `streamrec settings` for all of them"
    message = fault["msg"].removeprefix("Value error, ")
    return f"setting {name}: {message}; set {PREFIX}{name.upper()}" if name else f"settings: {message}"
