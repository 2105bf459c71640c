"""The command line: one module a group of verbs. A user's mistake is one line on stderr and exit code 2."""

import sys

from streamrec.core.errors import UserError


def main() -> None:
    """The entry point of ``streamrec``."""
    try:
        from streamrec.cli.verbs import app  # takes a second, in which somebody may think better of it

        app(standalone_mode=True)
    except UserError as error:
        print(f"streamrec: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
