"""Whether freed memory goes back to the system."""

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from streamrec.training.memory import give_back


def resident_mb() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library is not glibc: nothing to give back",
)
def test_what_is_free_between_pieces_in_use_is_given_back() -> None:
    pieces = [np.ones(8192) for _ in range(4000)]  # 64 KB each
    in_use = pieces[::50]
    held = resident_mb()
    del pieces
    give_back()
    assert held - resident_mb() > 200
    assert all(piece.sum() == 8192 for piece in in_use)
