"""Arrays that a process keeps: handed out as they are, so nobody may write into them."""

from __future__ import annotations

from typing import Any

import numpy as np


def read_only(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the array itself, closed for writing."""
    array.setflags(write=False)
    return array
