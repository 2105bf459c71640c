"""Connections to the broker from settings, and one line that says why there is none.

kafka-python hides the cause of a failed connection: it logs it and in the end raises a timeout. So the way is tried first
(name, port, TLS), and what kafka-python logs while it connects is kept.
"""

import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors

from streamrec.core.errors import UserError
from streamrec.settings import Settings

PROBE_SECONDS = 2.0  # for all brokers together
BOOTSTRAP_MS = 2500
REQUEST_MS = 10_000
LOGIN_ERRORS = (kafka_errors.SaslAuthenticationFailedError, kafka_errors.UnsupportedSaslMechanismError)

C = TypeVar("C")


def connect(settings: Settings) -> KafkaAdminClient:
    """An admin client; close it after use.

    Raises:
        UserError: no broker can be reached; its address and the cause are named, within about five seconds.
    """
    return _open(KafkaAdminClient, settings, request_timeout_ms=REQUEST_MS)


def connect_producer(settings: Settings, **options: Any) -> KafkaProducer:
    """A producer that waits for every replica; see `connect`. Its partitioner is murmur2 of the key."""
    return _open(KafkaProducer, settings, acks="all", allow_auto_create_topics=False, **options)


def connect_consumer(settings: Settings, **options: Any) -> KafkaConsumer:
    """A consumer without a group, so that looking changes nothing; see `connect`.

    It sees what a worker sees: nothing of open or aborted transactions, and a partition ends at its last stable offset.
    """
    options = {"group_id": None, "allow_auto_create_topics": False, "isolation_level": "read_committed"} | options
    return _open(KafkaConsumer, settings, **options)


def client_options(settings: Settings) -> dict[str, Any]:
    """The arguments by which kafka-python's clients find the broker and prove who they are.

    Raises:
        UserError: a password would cross a network in the open, or the CA file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.brokers,
        "client_id": "streamrec",
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.password
    return options


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS as the settings ask for it; None for none.

    Raises:
        UserError: SASL without TLS to another machine, or a CA file that cannot be read.
    """
    if settings.security_protocol == "SASL_PLAINTEXT":
        for host, _ in map(_address, settings.brokers):
            if not _is_loopback(host):
                raise UserError(f"SASL_PLAINTEXT would send the password to {host} in the open; set security_protocol to SASL_SSL")
    if "SSL" not in settings.security_protocol:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"setting ssl_cafile: {settings.ssl_cafile} is no readable PEM file ({_words(error)})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def broker_errors(settings: Settings, doing: str) -> Iterator[None]:
    """What the broker refuses or fails in this block becomes a UserError that says what was being done."""
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise UserError(f"broker {settings.broker}: {doing}: {_explain(error, settings)}") from None


def _open(client: Callable[..., C], settings: Settings, **options: Any) -> C:
    options = client_options(settings) | options
    _probe(settings, options["ssl_context"])
    with _causes() as causes:
        try:
            return client(bootstrap_timeout_ms=BOOTSTRAP_MS, **options)
        except kafka_errors.KafkaError as error:
            # A refused login may be logged only once among many lost connections; the last ones are its own time-outs.
            cause = next((each for each in causes if isinstance(each, LOGIN_ERRORS)), causes[0] if causes else error)
            raise UserError(f"broker {settings.broker}: {_explain(cause, settings)}") from None


def _probe(settings: Settings, context: ssl.SSLContext | None) -> None:
    """Returns when one of the brokers answers; a fault that is none of the network's is left to the client to find."""
    faults = []
    for server in settings.brokers:
        host, port = _address(server)
        try:
            with socket.create_connection((host, port), timeout=PROBE_SECONDS / len(settings.brokers)) as plain:
                if context is not None:
                    context.wrap_socket(plain, server_hostname=host).close()
                return
        except ssl.SSLCertVerificationError as error:
            faults.append(f"broker {server}: its certificate is refused ({error.verify_message}); set ssl_cafile to its CA")
        except ssl.SSLError:
            faults.append(f"broker {server}: no TLS there; check the port and security_protocol {settings.security_protocol}")
        except socket.gaierror as error:
            faults.append(f"broker {server}: unknown host ({_words(error)}); check the name")
        except TimeoutError:
            faults.append(f"broker {server}: no answer; check the address and the firewall")
        except OSError as error:
            faults.append(f"broker {server}: {_words(error).lower()}; start it, or name another with --broker")
    raise UserError(" | ".join(faults))


def _explain(error: Exception, settings: Settings) -> str:
    match error:
        case kafka_errors.UnsupportedSaslMechanismError():
            return f"it knows no {settings.sasl_mechanism}; set sasl_mechanism to one that it has"
        case kafka_errors.SaslAuthenticationFailedError():
            return f"{settings.sasl_mechanism} login of {settings.sasl_username!r} refused; check sasl_username and its password"
        case kafka_errors.AuthorizationError():
            return f"{settings.sasl_username or 'an anonymous user'} is not allowed to ({_words(error)}); grant it by an ACL"
        case kafka_errors.IllegalSaslStateError():
            return f"no SASL there; check the port and security_protocol {settings.security_protocol}"
        case kafka_errors.IncompatibleBrokerVersion():
            return "it answers, but not as a broker does; is this a controller's port?"
        case kafka_errors.UnknownTopicOrPartitionError():
            return "no such topic; run `streamrec topics apply`"
        case kafka_errors.MessageSizeTooLargeError():
            return "a record is larger than its topic's max.message.bytes"
        case kafka_errors.KafkaConnectionError() if settings.security_protocol.startswith("SASL"):  # its answer may be lost
            login = f"{settings.sasl_mechanism} login of {settings.sasl_username!r}"
            return f"it closes the connection at the {login}; check user, password, sasl_mechanism and security_protocol"
        case kafka_errors.KafkaConnectionError() | kafka_errors.InvalidReceiveError():
            return f"it closes the connection ({_words(error)}); is it a Kafka that speaks {settings.security_protocol}?"
        case kafka_errors.KafkaTimeoutError() | kafka_errors.RequestTimedOutError():
            return f"no answer in time; is it a Kafka that speaks {settings.security_protocol}?"
    return _words(error)


@contextmanager
def _causes() -> Iterator[list[Exception]]:
    """Collects the exceptions that kafka-python logs, and keeps its lines off the terminal meanwhile."""
    causes: list[Exception] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            causes.extend(arg for arg in record.args or () if isinstance(arg, Exception))

    logger, collector = logging.getLogger("kafka"), Collector()
    before = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield causes
    finally:
        logger.removeHandler(collector)
        logger.propagate, logger.level = before


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _words(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.removeprefix(f"{type(error).__name__}: ").removesuffix(": None").split())[:200]
