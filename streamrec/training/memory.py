"""Memory that is free goes back to the system."""

import ctypes
import sys


def give_back() -> None:
    """Batches of many lengths leave glibc's heap in pieces: as much free between them as there is in use.

    It costs some milliseconds. Other C libraries have no such function, and nothing happens.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
