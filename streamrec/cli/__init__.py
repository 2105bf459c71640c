"""The command line: one module a group of verbs. A user's mistake is one line on stderr and exit code 2."""

import sys

from streamrec.core.errors import UserError


def main() -> None:
    """The entry point of ``streamrec``."""
    from streamrec.cli.verbs import app

    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"streamrec: {error}", file=sys.stderr)
        sys.exit(2)
