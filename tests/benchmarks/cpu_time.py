"""CPU time of a piece of work, robust against what else the machine does."""

from __future__ import annotations

import time

import numpy as np

REPEATS = 7


def seconds(work, repeats: int = REPEATS) -> tuple[float, object]:
    """Median CPU seconds, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return float(np.median(times)), result
