"""Values of a cell: what a file may write for an id, a time, a number or a text, and what is read from it.

Whole floats have one rule in every format: a number without a fraction is a whole number. So 7.0 is 7 in JSON
and parquet, and the text "183000.0" is 183000 in a column of numbers (``ms_played``). An id is text, and the
text "7.0" is not "7" by itself: `ids` decides that for all of a column.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENT_TYPES = ("click", "listen", "impression")  # by code, in `Dataset.event_type`
CODES = {name: code for code, name in enumerate(EVENT_TYPES)}
LATEST_MS = 253_402_300_799_999  # the end of the year 9999, as in core.types
MAX_ID = 256  # characters, as in core.types
EXACT = 2**53  # a float holds every whole number up to here
# What str.strip takes off, and two more that nobody sees: the byte order mark and the zero-width space.
BLANKS = "".join(filter(str.isspace, map(chr, range(0x10000)))) + "\ufeff\u200b"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
LIKELY_SECONDS = (315_532_800, 4_102_444_800)  # 1980 to 2100


def count(number: int, what: str) -> str:
    """The number and the noun: ``1 row``, ``2 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Fault(ValueError):
    """A value that cannot be read. Its text says what is wrong with it."""


def quote(value: Any) -> str:
    """A value as an error shows it: on one line, and shortened."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def trim(text: str) -> str:
    """The text without blanks and invisible characters around it."""
    return text.strip(BLANKS)


def is_missing(value: Any) -> bool:
    """Whether a cell has no value: null, NaN (parquet) or blanks."""
    return value is None or value != value or (isinstance(value, str) and not trim(value))


def as_text(value: Any) -> str:
    """A text, or a number as text; raises Fault for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Fault(f"{quote(value)} is not text")
    number = whole_number(value)
    return str(value if number is None else number)


def as_id(value: Any) -> str:
    """An id as the file writes it, blanks included; raises Fault if it is none."""
    if isinstance(value, str):
        length = len(trim(value))
        if not length:
            raise Fault("is empty")
        if length > MAX_ID:
            raise Fault(f"has {length} characters; at most {MAX_ID} are allowed")
        return value
    if value is None or value != value:
        raise Fault("is missing")
    number = whole_number(value)
    if number is None:
        raise Fault(f"{quote(value)} is neither text nor a whole number")
    if isinstance(value, float) and abs(number) > EXACT:
        raise Fault(f"{quote(value)} is a float that has lost digits; write the column as integers or text")
    return str(number)


def whole_number(value: Any) -> int | None:
    """The whole number that a number or its text stands for (7, 7.0, "7", "7.0"), or None."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    with_fraction = value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            with_fraction = _as_float(value)
    try:
        number = int(with_fraction)
    except (ValueError, TypeError, ArithmeticError):
        return None
    return number if number == with_fraction else None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_times(values: Sequence[Any]) -> NDArray[np.int64]:
    """Milliseconds UTC. A number is seconds since 1970; other text is ISO 8601, UTC if it names no zone."""
    try:
        seconds = np.array(list(map(float, values)))
    except (ValueError, TypeError, ArithmeticError):
        seconds = np.array([_seconds(value) for value in values])
    times: NDArray[Any] = np.rint(seconds * 1000)
    if not np.all((times >= 0) & (times <= LATEST_MS)):  # a NaN is neither
        raise Fault(_out_of_range(values[0], float(seconds[0])))
    return times.astype(np.int64)


def _seconds(value: Any) -> float:
    if is_missing(value):
        raise Fault("is missing")
    try:
        return float(value)
    except (ValueError, TypeError, ArithmeticError):
        pass
    try:
        at = datetime.fromisoformat(trim(value).upper().removesuffix("UTC").rstrip())  # BigQuery writes UTC
        # One division, as of a number's text: a time becomes the same float in every format.
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) // datetime.resolution / 1e6
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        expected = "a number of seconds since 1970 (UTC) nor a time such as 2023-11-14T22:13:20Z"
        raise Fault(f"{quote(value)} is neither {expected}") from None


def _out_of_range(value: Any, seconds: float) -> str:
    first, last = LIKELY_SECONDS
    if seconds < 0:
        return f"{quote(value)} is before 1970"
    if unit := next((name for factor, name in UNITS.items() if first <= seconds / factor <= last), None):
        return f"{quote(value)} looks like {unit}; write seconds since 1970 (UTC)"
    return f"{quote(value)} is not between 1970 and 9999; a number is seconds since 1970 (UTC)"


def read_event_types(values: Sequence[Any]) -> NDArray[np.int8]:
    """Indexes into EVENT_TYPES."""
    try:
        return np.array([CODES[value] for value in values], np.int8)
    except (KeyError, TypeError):
        return np.array([_event_type(value) for value in values], np.int8)


def _event_type(value: Any) -> int:
    code = CODES.get(trim(value)) if isinstance(value, str) else None
    if code is None:
        raise Fault(f"{quote(value)} is none of {', '.join(EVENT_TYPES)}")
    return code


def read_optional_id(value: Any) -> str | None:
    """An id that an event need not have."""
    return None if is_missing(value) else trim(as_id(value))


def read_milliseconds(value: Any) -> int | None:
    """A length of time that an event need not have."""
    if value is None or is_missing(value):
        return None
    number = whole_number(value)
    if number is None or not 0 <= number <= EXACT:
        raise Fault(f"{quote(value)} is not a whole number of milliseconds")
    return number
