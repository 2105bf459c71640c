"""Finds in the output of a node that ended the line that says why."""

import re

_EXCEPTION = re.compile(r"^(Caused by: )?(?P<said>[\w.$]+(Exception|Error)\b.*)")
_TELLING = re.compile(r"ERROR|FATAL|[Ee]rror|Could not|Unrecognized")


def last_words(output: str) -> str:
    """The cause of the last exception, else the last line that speaks of an error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    exceptions = [found["said"] for line in lines if (found := _EXCEPTION.match(line))]
    telling = [line for line in lines if _TELLING.search(line)]
    for kind in (exceptions, telling, lines):
        if kind:
            return kind[-1][:400]
    return "it said nothing"
