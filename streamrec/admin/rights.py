"""Whether the broker lets this user do what a role needs, asked before it starts: a client that lacks a right waits in silence."""

from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from streamrec.admin.client import broker_errors, connect
from streamrec.core.errors import UserError
from streamrec.settings import Settings


def check_rights(settings: Settings, *, reads: Sequence[str], writes: Sequence[str], groups: Sequence[str]) -> None:
    """Returns where every right is there.

    Args:
        reads, writes: topics, without the deployment's prefix.
        groups: consumer groups, as on the broker.

    Raises:
        UserError: names every right that is missing, and for whom.
    """
    prefix = settings.topic_prefix
    with broker_errors(settings, "asking for rights"), connect(settings) as admin:
        missing = [*_of_topics(admin, [prefix + name for name in reads], [prefix + name for name in writes])]
        missing += [f"READ on group {group}" for group in groups if not _reads_group(admin, group)]
    if missing:
        who = f"user {settings.sasl_username!r}" if settings.sasl_username else "this client"
        raise UserError(f"broker {settings.broker}: {who} lacks {', '.join(missing)}; grant it by an ACL (docs/security.md)")


def _of_topics(admin: KafkaAdminClient, reads: Sequence[str], writes: Sequence[str]) -> Iterator[str]:
    found: dict[str, Any] = {each["name"]: each for each in admin.describe_topics(sorted({*reads, *writes}))}
    for wanted, topics in (("READ", reads), ("WRITE", writes)):
        for topic in topics:
            # where the topic may not even be seen the broker says so, or that it is not there
            if found.get(topic, {"error_code": 3})["error_code"] or wanted not in found[topic]["authorized_operations"]:
                yield f"{wanted} on topic {topic}"


def _reads_group(admin: KafkaAdminClient, group: str) -> bool:
    try:
        told = admin.describe_groups([group], include_authorized_operations=True)[group]
    except kafka_errors.GroupAuthorizationFailedError:
        return False
    allowed = told.get("authorized_operations")
    return "GroupAuthorization" not in str(told["error"]) and (not allowed or "READ" in allowed)
