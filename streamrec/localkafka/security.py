"""TLS and SCRAM-SHA-512 for a local Kafka's brokers, with ACLs: what production asks for, to test clients against.

The controllers' listener stays plain, on the loopback address.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamrec.core.errors import UserError

MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 8192
KEYSTORE, TRUSTSTORE = "server.pem", "authority.pem"  # beside server.properties


@dataclass(frozen=True)
class Security:
    """Who may come in, and what the brokers prove themselves with.

    Args:
        certificate: PEM with the private key (PKCS#8) and the chain; its names hold 127.0.0.1.
        authority: PEM of the authority that signed it.
        passwords: by user; a data folder keeps those that it was made with. Who is not ``superuser`` may do only what ACLs allow.
        superuser: the user that the brokers themselves are, and that may do everything.
    """

    certificate: Path
    authority: Path
    passwords: Mapping[str, str] = field(repr=False)
    superuser: str = "admin"

    def __post_init__(self) -> None:
        if self.superuser not in self.passwords:
            raise UserError(f"the local Kafka's superuser {self.superuser!r} has no password: add one to `passwords`")

    def client(self, user: str) -> dict[str, Any]:
        """The settings with which kafka-python comes in as ``user``."""
        return {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords[user],
            "ssl_cafile": str(self.authority),
        }

    def server_settings(self) -> dict[str, str]:
        """What server.properties says of it; one of the lines holds the superuser's password."""
        login = f'username="{_quoted(self.superuser)}" password="{_quoted(self.passwords[self.superuser])}"'
        return {
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": KEYSTORE,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": TRUSTSTORE,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS are the nodes to each other, on the controllers' plain listener.
            "super.users": f"User:{self.superuser};User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def format_words(self) -> list[str]:
        """The words that make ``StorageTool format`` know the users; salted, since anybody here can read a command line."""
        words = []
        for user, password in self.passwords.items():
            salt = secrets.token_bytes(24)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
            values = {"salt": base64.b64encode(salt).decode(), "saltedpassword": base64.b64encode(salted).decode()}
            quoted = ",".join(f'{name}="{value}"' for name, value in values.items())
            words += ["--add-scram", f'{MECHANISM}=[name="{user}",iterations={ITERATIONS},{quoted}]']
        return words

    def place(self, folder: Path) -> None:
        """Put the files that the settings name into a node's folder, readable for this user alone."""
        for name, source in ((KEYSTORE, self.certificate), (TRUSTSTORE, self.authority)):
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(source.read_bytes())


def _quoted(text: str) -> str:
    """For the inside of double quotes in a JAAS entry."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
