"""The errors that streamrec raises on purpose.

StreamrecError
├── UserError          a setting, a file or a broker that its owner must mend: one line, exit code 2
├── InvalidRecord      bytes that break a topic's contract: to the dead letters, with the reason
└── GeneratorFailed    a model that could not answer: the next rung of the ladder answers, and it is counted
"""

# Of an InvalidRecord.
REASONS = ("unreadable", "invalid", "unknown_version", "too_large", "unknown_catalogue")


class StreamrecError(Exception):
    """What streamrec raises on purpose."""


class UserError(StreamrecError):
    """Something that whoever runs streamrec can mend. Its text is one line: what is wrong, where, what to do."""


class InvalidRecord(StreamrecError):
    """A record that breaks its topic's contract.

    Args:
        reason: one of REASONS, for metrics and headers.
        detail: what exactly is wrong; made one line of at most 300 characters, for it may quote the record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
        super().__init__(f"{reason}: {self.detail}")


class GeneratorFailed(StreamrecError):
    """A generator that could not propose anything, though it should have."""
