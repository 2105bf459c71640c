"""The README's figures, each against a limit that is measured in the same run."""
