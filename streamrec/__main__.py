"""``python -m streamrec`` is the command ``streamrec``."""

from streamrec.cli import main

main()
