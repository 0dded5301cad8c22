"""How numbers over training seeds are said."""

from __future__ import annotations

import numpy as np

from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.parts import estimate

LOWEST = -10.0
"""An R² below this says that the law does not apply; how far below says nothing."""


def seeds(values: np.ndarray, digits: int = 3) -> str:
    """Return "R² 0.94 [0.92, 0.96] over 3 seeds (0.93, 0.94, 0.95)", or the value of the only one."""
    if values.min() < LOWEST:
        return f"R² below {LOWEST:g} ({counted(len(values))})"
    if len(values) == 1:
        return f"R² {values[0]:.{digits}f} (one seed)"
    mean = seed_mean(values)
    listed = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"R² {estimate(mean, digits)} over {len(values)} seeds ({listed})"


def counted(n: int) -> str:
    """Return "one seed" or "3 seeds"."""
    return "one seed" if n == 1 else f"{n} seeds"


def lower(differences: np.ndarray) -> float:
    """Return the lower end of the interval over seeds of paired differences.

    Of one seed it is the difference itself: an expectation over all words, which leaves no sample to vary but says nothing of
    other seeds.
    """
    return float(differences[0] if len(differences) == 1 else seed_mean(differences).low)
